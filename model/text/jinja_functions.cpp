// Global functions: Jinja2's own and those Hugging Face adds for chat templates.
#include <algorithm>
#include <array>
#include <ctime>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_print.h"

namespace troupe::jinja {

namespace {

constexpr int64_t kRangeMax = 100'000;  // Jinja2's sandbox has the same bound

Value make_range(Meter& meter, const Arguments& arguments, int64_t) {
  if (!arguments.named.empty()) give_up("range() takes no keyword arguments");
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3) give_up("range() takes 1 to 3 arguments");
  const auto number = [&](size_t i) { return to_integer(given[i], "an argument of range()"); };
  const int64_t start = given.size() > 1 ? number(0) : 0;
  const int64_t stop = number(given.size() > 1 ? 1 : 0);
  const int64_t step = given.size() > 2 ? number(2) : 1;
  if (step == 0) give_up("range() step must not be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == kRangeMax) {
      give_up("range() of more than " + std::to_string(kRangeMax) + " items");
    }
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  std::string label = "range(" + std::to_string(start) + ", " + std::to_string(stop);
  label += step == 1 ? ")" : ", " + std::to_string(step) + ")";
  return meter.sequence(Kind::range, std::move(items), std::move(label));
}

// dict(mapping or pairs, name=value, ...), as dict() and namespace() take them.
Dict dict_of(Meter& meter, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) give_up("expected at most 1 positional argument");
  for (const Value& given : arguments.positional) {
    if (given.is(Kind::dict)) {
      for (const auto& [key, value] : given.dict().entries) dict.set(key, value);
      continue;
    }
    for (const Value& pair : items_of(meter, given)) {
      std::vector<Value> two = items_of(meter, pair);
      if (two.size() != 2) give_up("a dictionary is made of pairs");
      dict.set(std::move(two[0]), std::move(two[1]));
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value::string(name), value);
  return dict;
}

Value make_namespace(Meter& meter, const Arguments& arguments, int64_t) {
  Namespace* space = meter.name_space();
  for (auto& [key, value] : dict_of(meter, arguments).entries) {
    if (key.is_string()) space->set(key.text(), std::move(value));
  }
  return Value::name_space(space);
}

Value make_dict(Meter& meter, const Arguments& arguments, int64_t) {
  return meter.dict(dict_of(meter, arguments));
}

Value raise_exception(Meter& meter, const Arguments& arguments, int64_t) {
  const auto [message] = bind<1>("raise_exception()", arguments, {"message"});
  give_up("the chat template refuses this conversation: " +
          (message != nullptr ? to_str(meter, *message) : std::string("no reason given")));
}

Value strftime_now(Meter& meter, const Arguments& arguments, int64_t now) {
  const auto [format] = bind<1>("strftime_now()", arguments, {"format"});
  if (format == nullptr || !format->is_string()) give_up("strftime_now() needs a format");
  std::tm fields{};
  const auto seconds = static_cast<std::time_t>(now);
  gmtime_r(&seconds, &fields);
  std::array<char, 512> text;  // longer dates are cut to nothing by strftime
  const std::string pattern(format->text().c_str());
  return meter.text(
      std::string(text.data(), std::strftime(text.data(), text.size(), pattern.c_str(), &fields)));
}

struct Function {
  std::string_view name;
  Value (*call)(Meter& meter, const Arguments& arguments, int64_t now);
};

constexpr std::array<Function, 5> kFunctions = {{{"range", make_range},
                                                 {"namespace", make_namespace},
                                                 {"dict", make_dict},
                                                 {"raise_exception", raise_exception},
                                                 {"strftime_now", strftime_now}}};

}  // namespace

int find_function(std::string_view name) {
  const auto* found = std::ranges::find(kFunctions, name, &Function::name);
  return found == kFunctions.end() ? -1 : static_cast<int>(found - kFunctions.begin());
}

Value call_function(Meter& meter, int id, const Arguments& arguments, int64_t now) {
  return kFunctions[static_cast<size_t>(id)].call(meter, arguments, now);
}

bool is_missing_function(std::string_view name) {
  return name == "lipsum" || name == "cycler" || name == "joiner";
}

}  // namespace troupe::jinja
