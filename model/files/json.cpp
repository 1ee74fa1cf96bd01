#include "model/files/json.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/limits.h"

namespace troupe {

Result<JsonDocument> JsonDocument::parse(std::string_view text, const std::string& name) {
  if (text.size() > static_cast<size_t>(kJsonFileBytesMax))
    return fail(ErrorCode::too_large, fmt::format("{}: the JSON has {} bytes, the limit is {}.",
                                                  name, text.size(), kJsonFileBytesMax));
  JsonDocument document;
  document.parser_ = std::make_unique<simdjson::dom::parser>();
  constexpr size_t kCapacityMin = 64;
  simdjson::error_code error = document.parser_->allocate(std::max(text.size(), kCapacityMin),
                                                          static_cast<size_t>(kJsonDepthMax));
  if (!error) error = document.parser_->parse(text.data(), text.size()).get(document.root_);
  if (error)
    return fail(ErrorCode::data_loss,
                fmt::format("{}: this is not valid JSON ({}); fetch the file again.", name,
                            simdjson::error_message(error)));
  return document;
}

std::optional<JsonElement> json_member(JsonElement object, std::string_view key) {
  JsonElement member;
  if (object.at_key(key).get(member) != simdjson::SUCCESS || member.is_null()) return std::nullopt;
  return member;
}

std::string_view json_text(JsonElement object, std::string_view key) {
  return json_get<std::string_view>(object, key).value_or(std::string_view());
}

}  // namespace troupe
