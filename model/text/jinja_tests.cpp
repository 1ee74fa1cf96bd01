// `value is test`, as jinja2.tests defines them.
#include <algorithm>
#include <array>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

const Value& operand(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty()) {
    give_up("the test takes exactly one argument");
  }
  return arguments.positional[0];
}

bool is_callable(const Value& value) {
  return value.is_undefined() || value.is(Kind::macro) || value.is(Kind::function) ||
         value.is(Kind::method);
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_sequence() ||
         value.is(Kind::generator) || value.is(Kind::dict) || value.is(Kind::loop);
}

bool is_indexed(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is(Kind::dict) ||
         (value.is_sequence() && !value.is(Kind::view));
}

int64_t remainder(const Value& value, int64_t by) {
  if (by == 0) give_up("division by zero");
  const int64_t number = to_integer(value, "the tested value");
  return by == -1 ? 0 : number % by;
}

// Whether all cased characters are of one case, and there is one.
template <class Wanted, class Other>
bool all_cased(Meter& meter, const Value& value, Wanted wanted, Other other) {
  if (!value.is_string()) return false;
  meter.bytes(value.text().size());
  bool any = false;
  const std::string& text = value.text();
  for (size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) {
    const int32_t c = code_point_at(text, at).value;
    if (other(c)) return false;
    any = any || wanted(c);
  }
  return any;
}

constexpr auto kEqual = [](Meter& meter, const Value& value, const Arguments& arguments) {
  return compare_equal(meter, value, operand(arguments));
};
constexpr auto kNotEqual = [](Meter& meter, const Value& value, const Arguments& arguments) {
  return !compare_equal(meter, value, operand(arguments));
};
constexpr auto kLess = [](Meter& meter, const Value& value, const Arguments& arguments) {
  return compare_less(meter, value, operand(arguments));
};
constexpr auto kGreater = [](Meter& meter, const Value& value, const Arguments& arguments) {
  return compare_less(meter, operand(arguments), value);
};
constexpr auto kLessEqual = [](Meter& meter, const Value& value, const Arguments& arguments) {
  return compare_less(meter, value, operand(arguments)) ||
         compare_equal(meter, value, operand(arguments));
};
constexpr auto kGreaterEqual = [](Meter& meter, const Value& value, const Arguments& arguments) {
  return compare_less(meter, operand(arguments), value) ||
         compare_equal(meter, value, operand(arguments));
};

// A test of the value alone.
template <bool (*Holds)(const Value&)>
bool alone(Meter&, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty()) {
    give_up("the test takes no argument");
  }
  return Holds(value);
}

constexpr Test kTests[] = {
    {"defined", alone<[](const Value& v) { return !v.is_undefined(); }>},
    {"undefined", alone<[](const Value& v) { return v.is_undefined(); }>},
    {"none", alone<[](const Value& v) { return v.is_none(); }>},
    {"boolean", alone<[](const Value& v) { return v.is(Kind::boolean); }>},
    {"true", alone<[](const Value& v) { return v.is(Kind::boolean) && v.as_boolean(); }>},
    {"false", alone<[](const Value& v) { return v.is(Kind::boolean) && !v.as_boolean(); }>},
    {"integer",
     alone<[](const Value& v) { return v.is(Kind::integer) || v.is(Kind::big_integer); }>},
    {"float", alone<[](const Value& v) { return v.is(Kind::real); }>},
    {"number", alone<[](const Value& v) { return v.is_number(); }>},
    {"string", alone<[](const Value& v) { return v.is_string(); }>},
    {"mapping", alone<[](const Value& v) { return v.is(Kind::dict); }>},
    {"iterable", alone<is_iterable>},
    {"sequence", alone<is_indexed>},
    {"callable", alone<is_callable>},
    {"escaped", alone<[](const Value& v) { return v.is_safe(); }>},
    {"odd", alone<[](const Value& v) { return remainder(v, 2) != 0; }>},
    {"even", alone<[](const Value& v) { return remainder(v, 2) == 0; }>},
    {"divisibleby",
     [](Meter&, const Value& value, const Arguments& arguments) {
       return remainder(value, to_integer(operand(arguments), "the divisor")) == 0;
     }},
    {"lower", [](Meter& meter, const Value& value,
                 const Arguments&) { return all_cased(meter, value, is_lower, is_upper); }},
    {"upper", [](Meter& meter, const Value& value,
                 const Arguments&) { return all_cased(meter, value, is_upper, is_lower); }},
    {"sameas", [](Meter&, const Value& value,
                  const Arguments& arguments) { return identical(value, operand(arguments)); }},
    {"in", [](Meter& meter, const Value& value,
              const Arguments& arguments) { return contains(meter, operand(arguments), value); }},
    {"filter",
     [](Meter&, const Value& value, const Arguments&) {
       return value.is_string() && find_filter(value.text()) != nullptr;
     }},
    {"test",
     [](Meter&, const Value& value, const Arguments&) {
       return value.is_string() && find_test(value.text()) != nullptr;
     }},
    {"==", kEqual},
    {"eq", kEqual},
    {"equalto", kEqual},
    {"!=", kNotEqual},
    {"ne", kNotEqual},
    {">", kGreater},
    {"gt", kGreater},
    {"greaterthan", kGreater},
    {">=", kGreaterEqual},
    {"ge", kGreaterEqual},
    {"<", kLess},
    {"lt", kLess},
    {"lessthan", kLess},
    {"<=", kLessEqual},
    {"le", kLessEqual},
};

}  // namespace

const Test* find_test(std::string_view name) {
  const auto* found = std::ranges::find(kTests, name, &Test::name);
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace troupe::jinja
