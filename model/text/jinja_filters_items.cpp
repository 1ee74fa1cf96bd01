// Filters over lists and dicts that keep, order or count what is there.
#include <algorithm>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_filters.h"
#include "model/text/jinja_print.h"
#include "model/text/jinja_sort.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

using Given = const Arguments&;

bool is_true(const Value* value) { return value != nullptr && truthy(*value); }
bool is_given(const Value* value) { return value != nullptr && !value->is_none(); }

Value default_filter(Meter&, const Value& input, Given given) {
  const auto [fallback, boolean] = bind<2>("default", given, {"default_value", "boolean"});
  if (!input.is_undefined() && !(is_true(boolean) && !truthy(input))) return input;
  return fallback != nullptr ? *fallback : Value::string("");
}

Value list_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("list", given, {});
  return meter.list(items_of(meter, input));
}

Value first_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("first", given, {});
  if (input.is(Kind::generator)) {
    Generator& generator = input.generator_items();
    if (generator.next == generator.items.size()) return Value::undefined(nullptr);
    return generator.items[generator.next++];
  }
  if (input.is_string()) {
    return input.text().empty() ? Value::undefined(nullptr)
                                : get_item(meter, input, Value::integer(0));
  }
  const std::vector<Value> items = items_of(meter, input);
  return items.empty() ? Value::undefined(nullptr) : items.front();
}

Value last_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("last", given, {});
  if (input.is(Kind::generator)) give_up("'generator' object is not reversible");
  if (input.is_string()) return get_item(meter, input, Value::integer(-1));
  const std::vector<Value> items = items_of(meter, input);
  return items.empty() ? Value::undefined(nullptr) : items.back();
}

Value join_filter(Meter& meter, const Value& input, Given given) {
  const auto [separator, attribute] = bind<2>("join", given, {"d", "attribute"});
  const std::string between = separator != nullptr ? to_str(meter, *separator) : "";
  std::string out;
  bool first = true;
  for (const Value& item : items_of(meter, input)) {
    if (!first) out += between;
    first = false;
    append_str(meter, out, is_given(attribute) ? follow_attribute(meter, item, *attribute) : item);
    if (out.size() > kTemplateOutputBytesMax) meter.bytes(out.size());
  }
  return meter.text(std::move(out));
}

Value items_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("items", given, {});
  if (input.is_undefined()) return meter.generator({});
  if (!input.is(Kind::dict)) give_up("can only get item pairs from a mapping");
  std::vector<Value> pairs;
  for (const auto& [key, value] : input.dict().entries) {
    pairs.push_back(meter.sequence(Kind::tuple, {key, value}));
  }
  return meter.generator(std::move(pairs));
}

Value dictsort_filter(Meter& meter, const Value& input, Given given) {
  const auto [sensitive, by, reverse] =
      bind<3>("dictsort", given, {"case_sensitive", "by", "reverse"});
  if (input.is_undefined()) fail_undefined(input);
  if (!input.is(Kind::dict))
    give_up("dictsort takes a mapping, not " + std::string(type_name(input)));
  const std::string which = by != nullptr ? to_str(meter, *by) : "key";
  if (which != "key" && which != "value") give_up("dictsort sorts by 'key' or 'value'");
  const auto& entries = input.dict().entries;
  std::vector<Value> keys;
  for (const auto& [key, value] : entries) {
    keys.push_back(sort_key(meter, which == "key" ? key : value, sensitive));
  }
  std::vector<Value> out;
  for (const size_t i : stable_order(keys.size(), [&](size_t a, size_t b) {
         return is_true(reverse) ? compare_less(meter, keys[b], keys[a])
                                 : compare_less(meter, keys[a], keys[b]);
       })) {
    out.push_back(meter.sequence(Kind::tuple, {entries[i].first, entries[i].second}));
  }
  return meter.list(std::move(out));
}

// What sort compares: the value, its attribute, or a list of attributes ("a,b").
Value key_of(Meter& meter, const Value& item, const Value* sensitive, const Value* attribute) {
  if (!is_given(attribute)) return sort_key(meter, item, sensitive);
  std::vector<Value> keys;
  if (!attribute->is_string()) {
    keys.push_back(sort_key(meter, follow_attribute(meter, item, *attribute), sensitive));
    return meter.list(std::move(keys));
  }
  for (const std::string_view path : split(attribute->text(), ",", -1)) {
    const Value found = follow_attribute(meter, item, Value::string(std::string(path)));
    keys.push_back(sort_key(meter, found, sensitive));
  }
  return meter.list(std::move(keys));
}

Value sort_filter(Meter& meter, const Value& input, Given given) {
  const auto [reverse, sensitive, attribute] =
      bind<3>("sort", given, {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> items = items_of(meter, input);
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(key_of(meter, item, sensitive, attribute));
  std::vector<Value> out;
  for (const size_t i : stable_order(keys.size(), [&](size_t a, size_t b) {
         return is_true(reverse) ? compare_less(meter, keys[b], keys[a])
                                 : compare_less(meter, keys[a], keys[b]);
       })) {
    out.push_back(items[i]);
  }
  return meter.list(std::move(out));
}

Value unique_filter(Meter& meter, const Value& input, Given given) {
  const auto [sensitive, attribute] = bind<2>("unique", given, {"case_sensitive", "attribute"});
  std::vector<Value> out;
  Dict seen;
  for (const Value& item : items_of(meter, input)) {
    const Value found = is_given(attribute) ? follow_attribute(meter, item, *attribute) : item;
    const Value key = sort_key(meter, found, sensitive);
    if (key.is(Kind::list) || key.is(Kind::dict)) {
      give_up("unhashable type: '" + std::string(type_name(key)) + "'");
    }
    if (!key.is_string()) meter.items(seen.entries.size());
    if (seen.find(key) != nullptr) continue;
    seen.set(key, Value::none());
    out.push_back(item);
  }
  return meter.generator(std::move(out));
}

enum class Extreme : uint8_t { smallest, largest };
template <Extreme extreme>
Value extreme_filter(Meter& meter, const Value& input, Given given) {
  const auto [sensitive, attribute] = bind<2>("min/max", given, {"case_sensitive", "attribute"});
  const std::vector<Value> items = items_of(meter, input);
  if (items.empty()) return Value::undefined(nullptr);
  size_t best = 0;
  std::vector<Value> keys;
  for (const Value& item : items) {
    const Value found = is_given(attribute) ? follow_attribute(meter, item, *attribute) : item;
    keys.push_back(sort_key(meter, found, sensitive));
    const size_t last = keys.size() - 1;
    const bool better =
        last > 0 && (extreme == Extreme::smallest ? compare_less(meter, keys[last], keys[best])
                                                  : compare_less(meter, keys[best], keys[last]));
    if (better) best = last;
  }
  return items[best];
}

Value reverse_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("reverse", given, {});
  if (input.is_string()) {
    return get_slice(meter, input, Value::none(), Value::none(), Value::integer(-1));
  }
  if (input.is_undefined()) fail_undefined(input);
  std::vector<Value> items = items_of(meter, input);
  std::ranges::reverse(items);
  return meter.generator(std::move(items));
}

Value batch_filter(Meter& meter, const Value& input, Given given) {
  const auto [size, fill] = bind<2>("batch", given, {"linecount", "fill_with"});
  if (size == nullptr) give_up("batch needs a size");
  const int64_t count = to_integer(*size, "the size of a batch");
  std::vector<Value> batches, current;
  for (const Value& item : items_of(meter, input)) {
    if (static_cast<int64_t>(current.size()) == count) {
      batches.push_back(meter.list(std::exchange(current, {})));
    }
    current.push_back(item);
  }
  if (!current.empty()) {
    if (is_given(fill)) meter.items(static_cast<size_t>(std::clamp<int64_t>(count, 0, 1 << 30)));
    while (is_given(fill) && static_cast<int64_t>(current.size()) < count) current.push_back(*fill);
    batches.push_back(meter.list(std::move(current)));
  }
  return meter.generator(std::move(batches));
}

Value attr_filter(Meter& meter, const Value& input, Given given) {
  const auto [name] = bind<1>("attr", given, {"name"});
  if (name == nullptr || !name->is_string()) give_up("attr needs a name");
  // Attributes only, never items: of the values templates see, these are methods and namespaces'
  // contents.
  if (input.is_undefined()) fail_undefined(input);
  if (input.is(Kind::dict) && !has_method(input, name->text())) return Value::undefined(nullptr);
  return get_item(meter, input, *name);
}

constexpr Filter kItemFilters[] = {
    {"default", default_filter},
    {"d", default_filter},
    {"list", list_filter},
    {"first", first_filter},
    {"last", last_filter},
    {"join", join_filter},
    {"items", items_filter},
    {"dictsort", dictsort_filter},
    {"sort", sort_filter},
    {"unique", unique_filter},
    {"min", extreme_filter<Extreme::smallest>},
    {"max", extreme_filter<Extreme::largest>},
    {"reverse", reverse_filter},
    {"batch", batch_filter},
    {"attr", attr_filter},
};

}  // namespace

std::span<const Filter> item_filters() { return kItemFilters; }

Value sort_key(Meter& meter, const Value& value, const Value* case_sensitive) {
  if (!value.is_string() || is_true(case_sensitive)) return value;
  return meter.text(to_lower(value.text()));
}

Value follow_attribute(Meter& meter, const Value& value, const Value& path) {
  if (!path.is_string()) return get_item(meter, value, path);
  Value found = value;
  for (const std::string_view part : split(path.text(), ".", -1)) {
    const bool is_index = !part.empty() && part.size() < 10 &&
                          std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    found = get_item(meter, found,
                     is_index ? Value::integer(std::stoll(std::string(part)))
                              : Value::string(std::string(part)));
  }
  return found;
}

}  // namespace troupe::jinja
