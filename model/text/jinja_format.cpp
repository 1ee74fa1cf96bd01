// "%s of %d" % (a, b) and "{} of {}".format(a, b). Field widths and the like are refused when they
// are met: no chat template is known to use them.
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_print.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

constexpr int kPrecisionMax = 40;

std::string format_fixed(const Value& value, int precision) {
  if (!value.is_number()) {
    if (value.is_undefined()) fail_undefined(value);
    give_up("must be real number, not " + std::string(type_name(value)));
  }
  std::array<char, 400> text;  // the longest double has 309 digits before the point
  const int size = std::snprintf(text.data(), text.size(), "%.*f", precision, value.to_double());
  return {text.data(), static_cast<size_t>(size)};
}

std::string format_whole(const Value& value) {
  if (value.is(Kind::big_integer)) return value.text();
  if (value.is(Kind::real)) {
    if (!std::isfinite(value.as_real())) give_up("cannot convert float infinity or NaN to integer");
    std::string digits = format_fixed(value, 6);
    return digits.substr(0, digits.find('.'));
  }
  return std::to_string(to_integer(value, "%d"));
}

// The number after '.' at `at`, moving `at` behind it; 6 if there is none.
int read_precision(std::string_view format, size_t& at) {
  if (at >= format.size() || format[at] != '.') return 6;
  int precision = 0;
  const char* begin = format.data() + at + 1;
  const auto [end, error] = std::from_chars(begin, format.data() + format.size(), precision);
  if (error != std::errc{} || precision < 0 || precision > kPrecisionMax) {
    give_up_unsupported("this precision in a format");
  }
  at = static_cast<size_t>(end - format.data());
  return precision;
}

// `a.b[0]` after the first name of a replacement field.
Value follow(Meter& meter, Value value, std::string_view path) {
  while (!path.empty()) {
    const bool is_item = path[0] == '[';
    const size_t end = is_item ? path.find(']') : path.find_first_of(".[", 1);
    if (is_item && end == std::string_view::npos) give_up("expected ']' in a format");
    const std::string name(path.substr(1, end == std::string_view::npos ? end : end - 1));
    int64_t index = 0;
    const bool is_index =
        !name.empty() && std::from_chars(name.data(), name.data() + name.size(), index).ptr ==
                             name.data() + name.size();
    value =
        get_item(meter, value, is_item && is_index ? Value::integer(index) : Value::string(name));
    path =
        end == std::string_view::npos ? std::string_view{} : path.substr(end + (is_item ? 1 : 0));
  }
  return value;
}

}  // namespace

Value percent_format(Meter& meter, const Value& format, const std::vector<Value>& values) {
  const std::string& pattern = format.text();
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '%') {
      out += pattern[at++];
      continue;
    }
    if (++at >= pattern.size()) give_up("incomplete format");
    if (pattern[at] == '%') {
      out += pattern[at++];
      continue;
    }
    const int precision = read_precision(pattern, at);
    if (at >= pattern.size()) give_up("incomplete format");
    if (next >= values.size()) give_up("not enough arguments for format string");
    const Value& value = values[next++];
    switch (pattern[at++]) {
      case 's':
        append_str(meter, out, value);
        break;
      case 'r':
        append_repr(meter, out, value);
        break;
      case 'd':
      case 'i':
        out += format_whole(value);
        break;
      case 'f':
        out += format_fixed(value, precision);
        break;
      default:
        give_up_unsupported(std::string("the format '%") + pattern[at - 1] + "'");
    }
    if (out.size() > kTemplateOutputBytesMax) meter.bytes(out.size());
  }
  if (next < values.size() && !(values.size() == 1 && values[0].is(Kind::dict))) {
    give_up("not all arguments converted during string formatting");
  }
  return meter.text(std::move(out), format.is_safe());
}

Value brace_format(Meter& meter, const Value& format, const Arguments& arguments) {
  const std::string_view pattern = format.text();
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (at + 1 < pattern.size() && pattern[at + 1] == c) {
      out += c;
      ++at;
      continue;
    }
    const size_t close = pattern.find('}', at);
    if (c == '}' || close == std::string_view::npos)
      give_up("single '" + std::string(1, c) + "' in a format");
    const std::string_view field = pattern.substr(at + 1, close - at - 1);
    if (field.find_first_of("!:{") != std::string_view::npos) {
      give_up_unsupported("conversions and widths in .format()");
    }
    const size_t path = std::min(field.find_first_of(".["), field.size());
    const std::string_view first = field.substr(0, path);
    size_t index = next;
    const Value* value = nullptr;
    if (first.empty()) {
      ++next;
    } else if (std::from_chars(first.data(), first.data() + first.size(), index).ec !=
               std::errc{}) {
      index = SIZE_MAX;
      for (const auto& [name, given] : arguments.named) value = name == first ? &given : value;
    }
    if (value == nullptr && index < arguments.positional.size())
      value = &arguments.positional[index];
    if (value == nullptr) give_up("no value for '{" + std::string(field) + "}' in a format");
    append_str(meter, out, follow(meter, *value, field.substr(path)));
    if (out.size() > kTemplateOutputBytesMax) meter.bytes(out.size());
    at = close;
  }
  return meter.text(std::move(out), format.is_safe());
}

}  // namespace troupe::jinja
