// The filters, tests, methods and global functions templates can use: tables from names to
// functions.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/text/jinja_meter.h"
#include "model/text/jinja_value.h"

namespace troupe::jinja {

/// What a call was given, without the value it is applied to.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// The arguments in the order of `names`, null where not given. Gives up on too many and on unknown
/// names.
template <size_t N>
using Bound = std::array<const Value*, N>;
void bind_arguments(std::string_view callee, const Arguments& arguments,
                    const std::string_view* names, const Value** bound, size_t count);
template <size_t N>
Bound<N> bind(std::string_view callee, const Arguments& arguments,
              const std::array<std::string_view, N>& names) {
  Bound<N> bound{};
  bind_arguments(callee, arguments, names.data(), bound.data(), N);
  return bound;
}

struct Filter {
  std::string_view name;
  Value (*apply)(Meter& meter, const Value& input, const Arguments& arguments);
};
struct Test {
  std::string_view name;
  bool (*holds)(Meter& meter, const Value& input, const Arguments& arguments);
};

const Filter* find_filter(std::string_view name);  ///< null if there is none
const Test* find_test(std::string_view name);

/// Whether values of this kind have the method, as in Python; calling it may still be refused
/// (`append`).
bool has_method(const Value& receiver, std::string_view name);
/// A method that would change the value.
bool is_refused_method(const Value& receiver, std::string_view name);
Value call_method(Meter& meter, const Value& receiver, std::string_view name,
                  const Arguments& arguments);
/// A method of Python's str, dict or list that this subset has not.
bool is_missing_method(std::string_view name);

/// `now`: seconds since 1970, for strftime_now.
int find_function(std::string_view name);  ///< -1 if there is none
Value call_function(Meter& meter, int id, const Arguments& arguments, int64_t now);
/// A function of Jinja2 that this subset has not.
bool is_missing_function(std::string_view name);

/// `object.name` and `object[key]` as Jinja2's sandbox looks them up.
Value get_attribute(Meter& meter, const Value& object, const std::string& name);
Value get_item(Meter& meter, const Value& object, const Value& key);
Value get_slice(Meter& meter, const Value& object, const Value& start, const Value& stop,
                const Value& step);

/// The items a for statement walks over; empties a generator. Gives up on what cannot be walked.
std::vector<Value> items_of(Meter& meter, const Value& value);
/// Length as len() counts it.
int64_t length_of(const Value& value);
/// Python's `in`.
bool contains(Meter& meter, const Value& container, const Value& value);

int64_t to_integer(const Value& value, std::string_view what);
bool compare_less(Meter& meter, const Value& a, const Value& b);
bool compare_equal(Meter& meter, const Value& a, const Value& b);
/// Whether two names mean the same value, as Python's `is`.
bool identical(const Value& a, const Value& b);
/// `"%s" % values`, also the format filter.
Value percent_format(Meter& meter, const Value& format, const std::vector<Value>& values);
/// str.format.
Value brace_format(Meter& meter, const Value& format, const Arguments& arguments);
/// Gives up as using an undefined value does.
[[noreturn]] void fail_undefined(const Value& value);

}  // namespace troupe::jinja
