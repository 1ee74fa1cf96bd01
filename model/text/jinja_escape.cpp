// String literals of templates: the escapes of Python's string literals, for jinja_lexer.cpp.
#include <string>
#include <string_view>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

std::string unescape(std::string_view text, int line);

namespace {

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// Reads up to `most` digits from `at`; returns how many there were.
size_t read_digits(std::string_view text, size_t at, size_t most, int base, int64_t& value) {
  size_t count = 0;
  value = 0;
  while (count < most && at + count < text.size() && digit_value(text[at + count]) < base) {
    value = value * base + digit_value(text[at + count]);
    ++count;
  }
  return count;
}

void append_checked(std::string& out, int64_t value, int line) {
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
    give_up("a string escape is not a character", line);
  }
  append_code_point(out, static_cast<int32_t>(value));
}

// After the backslash at `at - 1`; returns where to go on.
size_t append_escaped(std::string& out, std::string_view text, size_t at, int line) {
  static constexpr std::string_view kNames = "\\'\"abfnrtv", kValues = "\\'\"\a\b\f\n\r\t\v";
  const char c = text[at];
  if (c == '\n') return at + 1;  // a continued line
  if (const size_t simple = kNames.find(c); simple != std::string_view::npos) {
    out += kValues[simple];
    return at + 1;
  }
  int64_t value = 0;
  if (c == 'x' || c == 'u' || c == 'U') {
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    if (read_digits(text, at + 1, digits, 16, value) != digits) {
      give_up("a string escape has too few digits", line);
    }
    append_checked(out, value, line);
    return at + 1 + digits;
  }
  if (const size_t digits = read_digits(text, at, 3, 8, value); digits > 0) {
    append_checked(out, value, line);
    return at + digits;
  }
  if (c == 'N') give_up_unsupported("a character name in a string", line);
  out += '\\';
  return at;  // Python keeps what it does not know
}

}  // namespace

std::string unescape(std::string_view text, int line) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\\' && at + 1 < text.size()) {
      at = append_escaped(out, text, at + 1, line);
    } else {
      out += text[at++];
    }
  }
  return out;
}

}  // namespace troupe::jinja
