// Any bytes as a chat template: parsing and rendering give a text or an error, never a crash, and
// the same each time.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "config/check.h"
#include "config/limits.h"
#include "model/chat_template.h"
#include "model/text/json_value.h"

namespace {

using troupe::TemplateMember;
using troupe::TemplateValue;

std::vector<TemplateMember> conversation() {
  const auto parsed = troupe::template_value_from_json(R"({
    "messages": [{"role": "system", "content": "Be brief."},
                 {"role": "user", "content": [{"type": "text", "text": "H\u00e9llo \ud83c\udf89"}]},
                 {"role": "assistant", "content": null,
                  "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1.5}}}]},
                 {"role": "tool", "tool_call_id": "c1", "content": "{\"r\": [1, 2]}"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}],
    "bos_token": "<s>", "add_generation_prompt": true, "n": -3, "x": 2.5, "none": null})");
  TROUPE_CHECK(parsed.has_value());
  return parsed->object;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<TemplateMember> kGlobals = conversation();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto chat = troupe::ChatTemplate::parse(source);
  if (!chat) {
    TROUPE_CHECK(!chat.error().message.empty());
    return 0;
  }
  const std::chrono::sys_seconds now{std::chrono::seconds{1'741'529'106}};
  const auto text = chat->render(kGlobals, now);
  if (text) {
    TROUPE_CHECK(text->size() <= troupe::kTemplateOutputBytesMax);
  } else {
    TROUPE_CHECK(!text.error().message.empty());
    if (text.error().code == troupe::ErrorCode::too_large) return 0;  // slow, so once is enough
  }
  TROUPE_CHECK(chat->render(kGlobals, now) == text);
  return 0;
}
