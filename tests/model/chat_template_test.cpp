// Real templates against PyPI jinja2: every template of the llama.cpp sources with every
// conversation of tests/golden/templates gives the same bytes, or an error where jinja2 has one.
#include "model/chat_template.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "config/digest.h"
#include "model/text/json_value.h"

using namespace troupe;

namespace chat_template_test {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTemplatesMin = 60;
// What the oracle's strftime_now() is given: 2025-03-09 14:05:06.
constexpr std::chrono::sys_seconds kNow{std::chrono::seconds{1'741'529'106}};

const fs::path kGolden = fs::path(TROUPE_SOURCE_DIR) / "tests/golden/templates";
const fs::path kTemplates = fs::path(TROUPE_DEPS_DIR) / "llama/vendor/llama.cpp/models/templates";

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path.string(), " is missing: run scripts/setup");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TemplateValue read_json(const fs::path& path) {
  auto value = template_value_from_json(read(path));
  REQUIRE_MESSAGE(value.has_value(), path.string());
  return *std::move(value);
}

const TemplateValue& member(const TemplateValue& object, std::string_view name) {
  for (const TemplateMember& entry : object.object) {
    if (entry.name == name) return entry.value;
  }
  FAIL("no member ", name);
  return object;
}

std::string sha256_hex(std::string_view text) { return to_hex(sha256(text)); }

// Empty if the rendering is what jinja2 made; else what differs.
std::string difference(const ChatTemplate& chat, const TemplateValue& conversation,
                       const TemplateValue& expected) {
  const auto text = chat.render(member(conversation, "globals").object, kNow);
  const TemplateValue& first = expected.array[0];
  const std::string& second = expected.array[1].string;
  if (first.kind == TemplateValue::Kind::integer) {
    if (!text) return "error: " + text.error().message;
    if (sha256_hex(*text) == second) return "";
    return fmt::format("{} bytes instead of {}, or other ones", text->size(), first.integer);
  }
  if (text) return fmt::format("{} bytes, but jinja2 gives {}", text->size(), second);
  // Where Python runs out of stack, our bound of macro calls ends the rendering.
  const bool endless = second == "RecursionError";
  if (text.error().code != (endless ? ErrorCode::too_large : ErrorCode::invalid_argument)) {
    return "wrong code: " + text.error().message;
  }
  if (first.string != "refused") return "";
  const std::string marker = "refuses this conversation: ";
  const size_t reason = text.error().message.find(marker);
  if (reason == std::string::npos) return "should be refused: " + text.error().message;
  return sha256_hex(text.error().message.substr(reason + marker.size())) == second
             ? ""
             : "another reason: " + text.error().message;
}

}  // namespace

TEST_CASE("chat template: real templates render byte for byte as jinja2 does") {
  const TemplateValue conversations = read_json(kGolden / "conversations.json");
  const TemplateValue expected = read_json(kGolden / "expected.json");
  size_t equal = 0;
  std::string table;
  for (const TemplateMember& entry : expected.object) {
    REQUIRE(entry.value.array.size() == conversations.array.size());
    const auto chat = ChatTemplate::parse(read(kTemplates / entry.name));
    size_t differing = conversations.array.size();
    std::string first;
    if (!chat) {
      first = chat.error().message;
    } else {
      differing = 0;
      for (size_t i = 0; i < conversations.array.size(); ++i) {
        const std::string what = difference(*chat, conversations.array[i], entry.value.array[i]);
        if (!what.empty() && differing++ == 0) first = fmt::format("conversation {}: {}", i, what);
      }
    }
    equal += differing == 0 ? 1 : 0;
    if (differing > 0)
      table += fmt::format("  {} differs in {}: {}\n", entry.name, differing, first);
  }
  MESSAGE(fmt::format("{} of {} templates render all {} conversations as jinja2 does\n{}", equal,
                      expected.object.size(), conversations.array.size(), table));
  CHECK(equal >= kTemplatesMin);
}

}  // namespace chat_template_test
