// Writes compact JSON into a string. Pure; the caller keeps begin/end in balance and gives valid
// UTF-8 (the router delivers nothing else); NaN and infinities become null, which JSON has no other
// word for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// Appends `text` with quotes, backslashes and control characters escaped, without surrounding
/// quotes.
void append_json_escaped(std::string& out, std::string_view text);

class JsonWriter {
 public:
  /// Appends to `out`, which must outlive the writer.
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& string(std::string_view text);
  JsonWriter& integer(int64_t number);
  JsonWriter& real(double number);
  JsonWriter& boolean(bool value) { return raw(value ? "true" : "false"); }
  JsonWriter& null() { return raw("null"); }
  /// JSON made elsewhere, taken as one value.
  JsonWriter& raw(std::string_view json);

  // The commonest pairs.
  JsonWriter& field(std::string_view name, std::string_view text) { return key(name).string(text); }
  JsonWriter& field(std::string_view name, const char* text) { return key(name).string(text); }
  JsonWriter& field(std::string_view name, int64_t number) { return key(name).integer(number); }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();

  std::string& out_;
  bool comma_ = false;  ///< the next value or key needs one before it
};

}  // namespace troupe
