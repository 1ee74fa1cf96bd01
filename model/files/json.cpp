#include "model/files/json.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/limits.h"

namespace troupe {

namespace {

/// Integers of more than 18 digits written as reals: tokenizer_config.json files say
/// "model_max_length": 1000000000000000019884624838656, which is valid JSON but more than simdjson
/// takes for an integer.
std::string with_real_numbers(std::string_view text) {
  constexpr size_t kSafeDigits = 18;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  out.reserve(text.size() + 16);
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    out.push_back(c);
    if (in_string && c == '\\' && i + 1 < text.size()) {
      out.push_back(text[++i]);
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && is_digit(c)) {
      const size_t begin = i;
      while (i + 1 < text.size() && is_digit(text[i + 1])) out.push_back(text[++i]);
      const char next = i + 1 < text.size() ? text[i + 1] : ' ';
      const char before = begin > 0 ? text[begin - 1] : ' ';
      const bool is_part = next == '.' || next == 'e' || next == 'E' || before == '.' ||
                           before == 'e' || before == 'E' || before == '+';
      if (i + 1 - begin > kSafeDigits && !is_part) out += "e0";
    }
  }
  return out;
}

}  // namespace

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
  if (error == simdjson::NUMBER_ERROR) {
    const std::string rewritten = with_real_numbers(text);
    error = document.parser_->allocate(std::max(rewritten.size(), kCapacityMin),
                                       static_cast<size_t>(kJsonDepthMax));
    if (!error)
      error = document.parser_->parse(rewritten.data(), rewritten.size()).get(document.root_);
  }
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
