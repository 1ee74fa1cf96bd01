// Filters that make numbers, and find_filter().
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_filters.h"
#include "model/text/jinja_interpreter.h"
#include "model/text/jinja_print.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

using Given = const Arguments&;

// int("...") of Python: blanks around and single underscores between digits are fine.
std::optional<int64_t> parse_integer(std::string_view text, int base) {
  std::string digits(strip(text, std::nullopt, Side::both));
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  std::string plain;
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] != '_') {
      plain += rest[i];
    } else if (i == 0 || i + 1 == rest.size() || rest[i + 1] == '_') {
      return std::nullopt;
    }
  }
  if (base == 16 && (plain.starts_with("0x") || plain.starts_with("0X"))) plain.erase(0, 2);
  if (plain.empty()) return std::nullopt;
  uint64_t magnitude = 0;
  const auto [end, error] =
      std::from_chars(plain.data(), plain.data() + plain.size(), magnitude, base);
  if (end != plain.data() + plain.size()) return std::nullopt;
  if (error != std::errc{} || magnitude > static_cast<uint64_t>(INT64_MAX)) {
    give_up("an integer beyond 64 bits");
  }
  return negative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
}

std::optional<double> parse_real(std::string_view text) {
  std::string digits(strip(text, std::nullopt, Side::both));
  std::erase(digits, '_');
  if (digits.empty() || digits.find_first_of("xX") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(digits.c_str(), &end);
  if (end != digits.c_str() + digits.size()) return std::nullopt;
  return value;
}

std::optional<Value> whole(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::fabs(value) >= 9.2e18) give_up("an integer beyond 64 bits");
  return Value::integer(static_cast<int64_t>(value));
}

Value int_filter(Meter&, const Value& input, Given given) {
  const auto [fallback, base] = bind<2>("int", given, {"default", "base"});
  const Value otherwise = fallback != nullptr ? *fallback : Value::integer(0);
  if (input.is_undefined()) fail_undefined(input);
  if (input.is_integral()) return Value::integer(input.as_integer());
  if (input.is(Kind::big_integer)) return input;
  if (input.is(Kind::real)) return whole(input.as_real()).value_or(otherwise);
  if (!input.is_string()) return otherwise;
  const int64_t radix = base != nullptr ? to_integer(*base, "base") : 10;
  if (radix < 2 || radix > 36) give_up("int() base must be 2 to 36");
  if (const auto number = parse_integer(input.text(), static_cast<int>(radix)))
    return Value::integer(*number);
  if (const auto number = parse_real(input.text())) return whole(*number).value_or(otherwise);
  return otherwise;
}

Value float_filter(Meter&, const Value& input, Given given) {
  const auto [fallback] = bind<1>("float", given, {"default"});
  if (input.is_undefined()) fail_undefined(input);
  if (input.is_number()) return Value::real(input.to_double());
  if (input.is_string()) {
    if (const auto number = parse_real(input.text())) return Value::real(*number);
  }
  return fallback != nullptr ? *fallback : Value::real(0);
}

Value abs_filter(Meter&, const Value& input, Given given) {
  bind<0>("abs", given, {});
  if (input.is_integral())
    return input.as_integer() < 0 ? negate(input) : Value::integer(input.as_integer());
  if (input.is(Kind::real)) return Value::real(std::fabs(input.as_real()));
  if (input.is_undefined()) fail_undefined(input);
  give_up("bad operand type for abs(): '" + std::string(type_name(input)) + "'");
}

// Python rounds the exact binary value, ties to even, which is what printf does as well.
double round_common(double value, int digits) {
  if (digits < 0) {
    const double scale = std::pow(10.0, -digits);
    return std::nearbyint(value / scale) * scale;
  }
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return std::strtod(text, nullptr);
}

Value round_filter(Meter& meter, const Value& input, Given given) {
  const auto [precision, method] = bind<2>("round", given, {"precision", "method"});
  const int64_t digits = precision != nullptr ? to_integer(*precision, "precision") : 0;
  const std::string how = method != nullptr ? to_str(meter, *method) : "common";
  if (how != "common" && how != "ceil" && how != "floor")
    give_up("method must be common, ceil or floor");
  if (digits < -20 || digits > 40) give_up_unsupported("this precision of round");
  if (input.is_undefined()) fail_undefined(input);
  if (!input.is_number()) give_up("round takes a number, not " + std::string(type_name(input)));
  if (input.is_integral() && how == "common" && digits >= 0)
    return Value::integer(input.as_integer());
  const double value = input.to_double();
  if (how == "common") return Value::real(round_common(value, static_cast<int>(digits)));
  const double scale = std::pow(10.0, static_cast<double>(digits));
  return Value::real((how == "ceil" ? std::ceil(value * scale) : std::floor(value * scale)) /
                     scale);
}

Value length_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("length", given, {});
  if (input.is_string()) meter.bytes(input.text().size());
  return Value::integer(length_of(input));
}

Value wordcount_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("wordcount", given, {});
  const std::string text = to_str(meter, input);
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const bool in_word = is_letter(c.value) || is_digit(c.value) || c.value == '_';
    words += in_word && !inside ? 1 : 0;
    inside = in_word;
    at += c.bytes;
  }
  return Value::integer(words);
}

Value sum_filter(Meter& meter, const Value& input, Given given) {
  const auto [attribute, start] = bind<2>("sum", given, {"attribute", "start"});
  Value total = start != nullptr ? *start : Value::integer(0);
  for (const Value& item : items_of(meter, input)) {
    const bool follows = attribute != nullptr && !attribute->is_none();
    const Value part = follows ? follow_attribute(meter, item, *attribute) : item;
    if (total.is_string() || part.is_string()) give_up("sum does not add strings");
    total = calculate(meter, Expr::Op::add, total, part);
  }
  return total;
}

constexpr Filter kNumberFilters[] = {
    {"int", int_filter},     {"float", float_filter},         {"abs", abs_filter},
    {"round", round_filter}, {"length", length_filter},       {"count", length_filter},
    {"sum", sum_filter},     {"wordcount", wordcount_filter},
};

}  // namespace

std::span<const Filter> number_filters() { return kNumberFilters; }

const Filter* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), item_filters(), choice_filters(), number_filters()}) {
    const auto found = std::ranges::find(table, name, &Filter::name);
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

}  // namespace troupe::jinja
