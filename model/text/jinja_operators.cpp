// Arithmetic as Python's int, float, str, list and tuple do it. Integers beyond 64 bits are
// refused, not wrapped.
#include <cmath>
#include <optional>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_interpreter.h"
#include "model/text/jinja_print.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

using Op = Expr::Op;

std::string_view symbol_of(Op op) {
  switch (op) {
    case Op::add:
      return "+";
    case Op::sub:
      return "-";
    case Op::mul:
      return "*";
    case Op::div:
      return "/";
    case Op::floor_div:
      return "//";
    case Op::mod:
      return "%";
    default:
      return "**";
  }
}

[[noreturn]] void too_big() { give_up("calculates an integer beyond 64 bits"); }

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) give_up("0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) too_big();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) too_big();
  }
  return Value::integer(result);
}

Value on_integers(Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (b == 0 && (op == Op::div || op == Op::floor_div || op == Op::mod))
    give_up("division by zero");
  switch (op) {
    case Op::add:
      if (__builtin_add_overflow(a, b, &result)) too_big();
      return Value::integer(result);
    case Op::sub:
      if (__builtin_sub_overflow(a, b, &result)) too_big();
      return Value::integer(result);
    case Op::mul:
      if (__builtin_mul_overflow(a, b, &result)) too_big();
      return Value::integer(result);
    case Op::div:
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Op::floor_div:
    case Op::mod: {
      if (b == -1) return op == Op::mod ? Value::integer(0) : on_integers(Op::sub, 0, a);
      // Python rounds to minus infinity; the remainder has the sign of b.
      const int64_t shift = a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0;
      return Value::integer(op == Op::mod ? a % b + shift * b : a / b - shift);
    }
    default:
      return power(a, b);
  }
}

Value on_reals(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return Value::real(a + b);
    case Op::sub:
      return Value::real(a - b);
    case Op::mul:
      return Value::real(a * b);
    case Op::pow:
      return Value::real(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) give_up("division by zero");
  if (op == Op::div) return Value::real(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == Op::mod) return Value::real(remainder);
  return Value::real(std::floor((a - remainder) / b + 0.5));
}

Value add_texts(Meter& meter, const Value& a, const Value& b) {
  meter.bytes(a.text().size() + b.text().size());
  if (a.is_safe() || b.is_safe()) {
    return meter.text((a.is_safe() ? a.text() : escape_html(a.text())) +
                          (b.is_safe() ? b.text() : escape_html(b.text())),
                      true);
  }
  std::string text;
  text.reserve(a.text().size() + b.text().size());
  text.append(a.text()).append(b.text());
  return Value::string(std::move(text));
}

Value repeat(Meter& meter, const Value& value, int64_t count) {
  const size_t size = value.is_string() ? value.text().size() : value.items().items.size();
  const size_t times = count < 0 ? 0 : static_cast<size_t>(count);
  size_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = SIZE_MAX;
  meter.bytes(total);
  if (value.is_string()) {
    std::string text;
    text.reserve(total);
    for (size_t i = 0; i < times && size > 0; ++i) text += value.text();
    return Value::string(std::move(text), value.is_safe());
  }
  meter.items(total);
  std::vector<Value> items;
  items.reserve(total);
  for (size_t i = 0; i < times && size > 0; ++i) {
    items.insert(items.end(), value.items().items.begin(), value.items().items.end());
  }
  return meter.sequence(value.kind(), std::move(items));
}

bool can_repeat(const Value& value) {
  return value.is_string() || value.is(Kind::list) || value.is(Kind::tuple);
}

}  // namespace

Value calculate(Meter& meter, Op op, const Value& a, const Value& b) {
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined() && !(op == Op::mod && a.is_string())) fail_undefined(b);
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return on_integers(op, a.as_integer(), b.as_integer());
    if (a.is(Kind::big_integer) || b.is(Kind::big_integer)) too_big();
    return on_reals(op, a.to_double(), b.to_double());
  }
  if (op == Op::add) {
    if (a.is_string() && b.is_string()) return add_texts(meter, a, b);
    if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
      const auto& left = a.items().items;
      const auto& right = b.items().items;
      meter.items(left.size() + right.size());
      std::vector<Value> items;
      items.reserve(left.size() + right.size());
      items.insert(items.end(), left.begin(), left.end());
      items.insert(items.end(), right.begin(), right.end());
      return meter.sequence(a.kind(), std::move(items));
    }
  }
  if (op == Op::mul && can_repeat(a) && b.is_integral()) return repeat(meter, a, b.as_integer());
  if (op == Op::mul && can_repeat(b) && a.is_integral()) return repeat(meter, b, a.as_integer());
  if (op == Op::mod && a.is_string()) {
    return percent_format(meter, a, b.is(Kind::tuple) ? b.items().items : std::vector<Value>{b});
  }
  give_up("unsupported operand types for " + std::string(symbol_of(op)) + ": '" +
          std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

Value negate(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_integral()) return on_integers(Op::sub, 0, value.as_integer());
  if (value.is(Kind::real)) return Value::real(-value.as_real());
  give_up("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
}

}  // namespace troupe::jinja
