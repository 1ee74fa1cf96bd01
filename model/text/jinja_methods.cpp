// Methods of str, dict, list and tuple. What changes a value (append, update, ...) exists but is
// refused, as in Jinja2's immutable sandbox.
#include <algorithm>
#include <array>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_string_methods.h"

namespace troupe::jinja {

namespace {

using Given = const Arguments&;

struct ContainerMethod {
  std::string_view name;
  Value (*call)(Meter& meter, const Value& receiver,
                Given given);  ///< null: refused, it would change the value
};

void expect_none(std::string_view name, Given given) {
  if (!given.positional.empty() || !given.named.empty()) {
    give_up("." + std::string(name) + "() takes no arguments");
  }
}

Value dict_get(Meter&, const Value& receiver, Given given) {
  const auto [key, fallback] = bind<2>(".get()", given, {"key", "default"});
  if (key == nullptr) give_up(".get() needs a key");
  if (key->is(Kind::list) || key->is(Kind::dict)) {
    give_up("unhashable type: '" + std::string(type_name(*key)) + "'");
  }
  if (const Value* found = receiver.dict().find(*key)) return *found;
  return fallback != nullptr ? *fallback : Value::none();
}

Value dict_items(Meter& meter, const Value& receiver, Given given) {
  expect_none("items", given);
  std::vector<Value> items;
  for (const auto& [key, value] : receiver.dict().entries) {
    items.push_back(meter.sequence(Kind::tuple, {key, value}));
  }
  return meter.sequence(Kind::view, std::move(items), "dict_items");
}

Value dict_keys(Meter& meter, const Value& receiver, Given given) {
  expect_none("keys", given);
  return meter.sequence(Kind::view, items_of(meter, receiver), "dict_keys");
}

Value dict_values(Meter& meter, const Value& receiver, Given given) {
  expect_none("values", given);
  std::vector<Value> values;
  for (const auto& [key, value] : receiver.dict().entries) values.push_back(value);
  return meter.sequence(Kind::view, std::move(values), "dict_values");
}

Value same(Meter&, const Value& receiver, Given given) {
  expect_none("copy", given);
  return receiver;  // values never change, so a copy cannot be told apart
}

Value list_index(Meter& meter, const Value& receiver, Given given) {
  const auto [wanted] = bind<1>(".index()", given, {"value"});
  if (wanted == nullptr) give_up(".index() needs a value");
  const auto& items = receiver.items().items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (compare_equal(meter, items[i], *wanted)) return Value::integer(static_cast<int64_t>(i));
  }
  give_up("the value is not in the list");
}

Value list_count(Meter& meter, const Value& receiver, Given given) {
  const auto [wanted] = bind<1>(".count()", given, {"value"});
  if (wanted == nullptr) give_up(".count() needs a value");
  int64_t count = 0;
  for (const Value& item : receiver.items().items)
    count += compare_equal(meter, item, *wanted) ? 1 : 0;
  return Value::integer(count);
}

constexpr std::array<ContainerMethod, 10> kDictMethods = {{{"get", dict_get},
                                                           {"items", dict_items},
                                                           {"keys", dict_keys},
                                                           {"values", dict_values},
                                                           {"copy", same},
                                                           {"pop", nullptr},
                                                           {"popitem", nullptr},
                                                           {"setdefault", nullptr},
                                                           {"update", nullptr},
                                                           {"clear", nullptr}}};

constexpr std::array<ContainerMethod, 11> kListMethods = {{{"index", list_index},
                                                           {"count", list_count},
                                                           {"copy", same},
                                                           {"append", nullptr},
                                                           {"pop", nullptr},
                                                           {"extend", nullptr},
                                                           {"insert", nullptr},
                                                           {"remove", nullptr},
                                                           {"reverse", nullptr},
                                                           {"sort", nullptr},
                                                           {"clear", nullptr}}};

const ContainerMethod* find_container_method(const Value& receiver, std::string_view name) {
  if (receiver.is(Kind::dict)) {
    const auto* found = std::ranges::find(kDictMethods, name, &ContainerMethod::name);
    return found == kDictMethods.end() ? nullptr : found;
  }
  const bool is_list = receiver.is(Kind::list);
  if (!is_list && !receiver.is(Kind::tuple) && !receiver.is(Kind::range)) return nullptr;
  const auto* end = is_list ? kListMethods.end() : kListMethods.begin() + 2;
  const auto* found = std::find_if(kListMethods.begin(), end, [&](const ContainerMethod& method) {
    return method.name == name;
  });
  return found == end ? nullptr : found;
}

Value loop_cycle(const LoopState& loop, Given given) {
  if (given.positional.empty()) give_up("no items for cycling given");
  return given.positional[loop.index0 % given.positional.size()];
}

}  // namespace

bool has_method(const Value& receiver, std::string_view name) {
  if (receiver.is_string()) return find_string_method(name) != nullptr;
  if (receiver.is(Kind::loop)) return name == "cycle";
  return find_container_method(receiver, name) != nullptr;
}

bool is_refused_method(const Value& receiver, std::string_view name) {
  const ContainerMethod* method = find_container_method(receiver, name);
  return method != nullptr && method->call == nullptr;
}

Value call_method(Meter& meter, const Value& receiver, std::string_view name, Given given) {
  if (receiver.is_string()) return find_string_method(name)->call(meter, receiver, given);
  if (receiver.is(Kind::loop)) return loop_cycle(receiver.loop(), given);
  const ContainerMethod* method = find_container_method(receiver, name);
  if (method->call == nullptr) {
    give_up("." + std::string(name) + "() would change a value, which templates may not do");
  }
  return method->call(meter, receiver, given);
}

bool is_missing_method(std::string_view name) {
  static constexpr std::array<std::string_view, 16> kMissing = {
      "encode",    "expandtabs", "format_map", "isascii",   "isdecimal", "isidentifier",
      "isnumeric", "istitle",    "maketrans",  "translate", "rindex",    "fromkeys",
      "changed",   "hex",        "bit_length", "is_integer"};
  return std::ranges::find(kMissing, name) != kMissing.end();
}

}  // namespace troupe::jinja
