// Filters that apply another filter or test to each item: map, select, reject, selectattr,
// rejectattr.
#include "model/text/jinja_failure.h"
#include "model/text/jinja_filters.h"

namespace troupe::jinja {

namespace {

using Given = const Arguments&;

const std::string& name_at(const std::vector<Value>& arguments, size_t index,
                           std::string_view what) {
  if (index >= arguments.size() || !arguments[index].is_string()) {
    give_up("the name of a " + std::string(what) + " is needed");
  }
  return arguments[index].text();
}

Arguments without_first(Given given, size_t count) {
  Arguments rest;
  rest.positional.assign(given.positional.begin() + static_cast<int64_t>(count),
                         given.positional.end());
  rest.named = given.named;
  return rest;
}

Value map_attribute(Meter& meter, const Value& input, Given given) {
  const auto [attribute, fallback] = bind<2>("map", given, {"attribute", "default"});
  std::vector<Value> out;
  for (const Value& item : items_of(meter, input)) {
    Value found = follow_attribute(meter, item, *attribute);
    if (found.is_undefined() && fallback != nullptr && !fallback->is_none()) found = *fallback;
    out.push_back(std::move(found));
  }
  return meter.generator(std::move(out));
}

Value map_filter(Meter& meter, const Value& input, Given given) {
  if (given.positional.empty() && !given.named.empty()) {
    for (const auto& [name, value] : given.named) {
      if (name == "attribute") return map_attribute(meter, input, given);
    }
  }
  const std::string& name = name_at(given.positional, 0, "filter");
  const Filter* filter = find_filter(name);
  if (filter == nullptr) give_up_unsupported("the filter '" + name + "'");
  const Arguments rest = without_first(given, 1);
  std::vector<Value> out;
  for (const Value& item : items_of(meter, input)) {
    meter.step();
    out.push_back(filter->apply(meter, item, rest));
  }
  return meter.generator(std::move(out));
}

enum class Keep : uint8_t { matching, others };
enum class Look : uint8_t { at_item, at_attribute };

template <Keep keep, Look look>
Value choose(Meter& meter, const Value& input, Given given) {
  constexpr size_t kOffset = look == Look::at_attribute ? 1 : 0;
  std::vector<Value> out;
  if (!truthy(input)) return meter.generator({});
  if (kOffset > given.positional.size()) give_up("the name of an attribute is needed");
  const Test* test = nullptr;
  Arguments rest;
  if (given.positional.size() > kOffset) {
    const std::string& name = name_at(given.positional, kOffset, "test");
    test = find_test(name);
    if (test == nullptr) give_up_unsupported("the test '" + name + "'");
    rest = without_first(given, kOffset + 1);
  }
  for (const Value& item : items_of(meter, input)) {
    meter.step();
    const Value looked_at =
        look == Look::at_attribute ? follow_attribute(meter, item, given.positional[0]) : item;
    const bool matches = test != nullptr ? test->holds(meter, looked_at, rest) : truthy(looked_at);
    if (matches == (keep == Keep::matching)) out.push_back(item);
  }
  return meter.generator(std::move(out));
}

constexpr Filter kChoiceFilters[] = {
    {"map", map_filter},
    {"select", choose<Keep::matching, Look::at_item>},
    {"reject", choose<Keep::others, Look::at_item>},
    {"selectattr", choose<Keep::matching, Look::at_attribute>},
    {"rejectattr", choose<Keep::others, Look::at_attribute>},
};

}  // namespace

std::span<const Filter> choice_filters() { return kChoiceFilters; }

}  // namespace troupe::jinja
