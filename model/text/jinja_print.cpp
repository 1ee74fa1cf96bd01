#include "model/text/jinja_print.h"

#include <array>
#include <charconv>
#include <cmath>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

void append_escape(std::string& out, char letter, uint32_t value, int digits) {
  out += '\\';
  out += letter;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[(value >> shift) & 15];
  }
}

void append_quoted(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (c.value == quote || c.value == '\\') {
      out += '\\';
      out += static_cast<char>(c.value);
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (is_printable(c.value)) {
      out += text.substr(at, c.bytes);
    } else if (c.value < 0x100) {
      append_escape(out, 'x', static_cast<uint32_t>(c.value), 2);
    } else if (c.value < 0x10000) {
      append_escape(out, 'u', static_cast<uint32_t>(c.value), 4);
    } else {
      append_escape(out, 'U', static_cast<uint32_t>(c.value), 8);
    }
    at += c.bytes;
  }
  out += quote;
}

void append_items(Meter& meter, std::string& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(meter, out, items[i]);
  }
}

void append_integer(std::string& out, int64_t value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

}  // namespace

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                        std::chars_format::scientific);
  std::string text(buffer.data(), scientific.ptr);
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return text;
  std::array<char, 40> plain;
  const auto fixed =
      std::to_chars(plain.data(), plain.data() + plain.size(), value, std::chars_format::fixed);
  text.assign(plain.data(), fixed.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

void append_str(Meter& meter, std::string& out, const Value& value) {
  if (value.is_string()) {
    out += value.text();
  } else if (!value.is_undefined()) {
    append_repr(meter, out, value);
  }
}

void append_repr(Meter& meter, std::string& out, const Value& value) {
  meter.step();
  if (out.size() > kTemplateOutputBytesMax) meter.bytes(out.size());
  switch (value.kind()) {
    case Kind::undefined:
      out += "Undefined";
      return;
    case Kind::none:
      out += "None";
      return;
    case Kind::boolean:
      out += value.as_boolean() ? "True" : "False";
      return;
    case Kind::integer:
      append_integer(out, value.as_integer());
      return;
    case Kind::big_integer:
      out += value.text();
      return;
    case Kind::real:
      out += format_real(value.as_real());
      return;
    case Kind::string:
      if (value.is_safe()) out += "Markup(";
      append_quoted(out, value.text());
      if (value.is_safe()) out += ')';
      return;
    case Kind::list:
      out += '[';
      append_items(meter, out, value.items().items);
      out += ']';
      return;
    case Kind::tuple:
      out += '(';
      append_items(meter, out, value.items().items);
      out += value.items().items.size() == 1 ? ",)" : ")";
      return;
    case Kind::range:
      out += value.items().label;
      return;
    case Kind::view:
      out += value.items().label;
      out += "([";
      append_items(meter, out, value.items().items);
      out += "])";
      return;
    case Kind::dict: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.dict().entries) {
        if (!first) out += ", ";
        first = false;
        append_repr(meter, out, key);
        out += ": ";
        append_repr(meter, out, item);
      }
      out += '}';
      return;
    }
    default:
      // Python would print an address here, which no template can mean.
      give_up("prints a " + std::string(type_name(value)) + ", which has no text");
  }
}

std::string to_str(Meter& meter, const Value& value) {
  std::string out;
  append_str(meter, out, value);
  meter.bytes(out.size());
  return out;
}

}  // namespace troupe::jinja
