// Looking into values: attributes, items, slices, walking and searching, as Jinja2's immutable
// sandbox does it.
#include <algorithm>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

Value loop_attribute(const LoopState& loop, const std::string& name) {
  const auto count = static_cast<int64_t>(loop.items.size());
  const auto index0 = static_cast<int64_t>(loop.index0);
  if (name == "index") return Value::integer(index0 + 1);
  if (name == "index0") return Value::integer(index0);
  if (name == "revindex") return Value::integer(count - index0);
  if (name == "revindex0") return Value::integer(count - index0 - 1);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "last") return Value::boolean(index0 + 1 == count);
  if (name == "length") return Value::integer(count);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem" && index0 > 0) return loop.items[loop.index0 - 1];
  if (name == "nextitem" && index0 + 1 < count) return loop.items[loop.index0 + 1];
  return Value::undefined(&name);
}

// A method that is there but refused is undefined, as in Jinja2; only calling it tells why.
Value bound_method(const Value& receiver, const std::string& name) {
  if (is_refused_method(receiver, name)) return Value::undefined(nullptr);
  return Value::method(std::make_shared<Method>(Method{receiver, name}));
}

// Where item `index` of `count` is, negative ones counted from the end; -1 if there is none.
int64_t position(int64_t index, size_t count) {
  const auto size = static_cast<int64_t>(count);
  if (index < 0) index += size;
  return index >= 0 && index < size ? index : -1;
}

struct SliceRange {
  int64_t start, stop, step;
};

// Python's slice.indices().
SliceRange slice_range(int64_t count, const Value& start, const Value& stop, const Value& step) {
  const int64_t by = step.is_none() ? 1 : to_integer(step, "slice step");
  if (by == 0) give_up("slice step cannot be zero");
  const auto clamp = [&](const Value& bound, int64_t fallback) {
    if (bound.is_none()) return fallback;
    int64_t at = to_integer(bound, "slice bound");
    if (at < 0) at = at < -count ? -1 : at + count;
    return by > 0 ? std::clamp<int64_t>(at, 0, count) : std::clamp<int64_t>(at, -1, count - 1);
  };
  return {clamp(start, by > 0 ? 0 : count - 1), clamp(stop, by > 0 ? count : -1), by};
}

Value slice_text(Meter& meter, const Value& object, const Value& start, const Value& stop,
                 const Value& step) {
  const std::string& text = object.text();
  meter.bytes(text.size());
  const auto count = static_cast<int64_t>(count_code_points(text));
  const SliceRange range = slice_range(count, start, stop, step);
  if (range.step == 1) {
    if (range.stop <= range.start) return Value::string("", object.is_safe());
    const size_t begin = byte_offset(text, static_cast<size_t>(range.start));
    const size_t size = byte_offset(std::string_view(text).substr(begin),
                                    static_cast<size_t>(range.stop - range.start));
    return meter.text(text.substr(begin, size), object.is_safe());
  }
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) offsets.push_back(at);
  offsets.push_back(text.size());
  std::string out;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop;) {
    const auto index = static_cast<size_t>(i);
    out.append(text, offsets[index], offsets[index + 1] - offsets[index]);
    if (__builtin_add_overflow(i, range.step, &i)) break;
  }
  return meter.text(std::move(out), object.is_safe());
}

}  // namespace

void fail_undefined(const Value& value) {
  const std::string* name = value.undefined_name();
  give_up(name != nullptr ? "'" + *name + "' is undefined" : "a value is undefined");
}

Value get_attribute(Meter& meter, const Value& object, const std::string& name) {
  if (object.is_undefined()) fail_undefined(object);
  if (has_method(object, name)) return bound_method(object, name);
  switch (object.kind()) {
    case Kind::dict: {
      const Value* found = object.dict().find(std::string_view(name));
      return found != nullptr ? *found : Value::undefined(&name);
    }
    case Kind::name_space: {
      const Value* found = object.name_space().find(name);
      return found != nullptr ? *found : Value::undefined(&name);
    }
    case Kind::loop:
      return loop_attribute(object.loop(), name);
    default:
      meter.step();
      return Value::undefined(&name);
  }
}

Value get_item(Meter& meter, const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is(Kind::dict)) {
    if (const Value* found = object.dict().find(key)) return *found;
  } else if (object.is_sequence() && !object.is(Kind::view) && key.is_integral()) {
    const auto& items = object.items().items;
    const int64_t at = position(key.as_integer(), items.size());
    return at < 0 ? Value::undefined(nullptr) : items[static_cast<size_t>(at)];
  } else if (object.is_string() && key.is_integral()) {
    const std::string& text = object.text();
    meter.bytes(text.size());
    const int64_t at = position(key.as_integer(), count_code_points(text));
    if (at < 0) return Value::undefined(nullptr);
    const size_t offset = byte_offset(text, static_cast<size_t>(at));
    return Value::string(text.substr(offset, code_point_at(text, offset).bytes), object.is_safe());
  }
  if (!key.is_string()) return Value::undefined(nullptr);
  // As in Jinja2, a missing item falls back to the attribute.
  if (has_method(object, key.text())) return bound_method(object, key.text());
  if (object.is(Kind::loop)) {
    const Value found = loop_attribute(object.loop(), key.text());
    if (!found.is_undefined()) return found;
  }
  if (object.is(Kind::name_space)) {
    if (const Value* found = object.name_space().find(key.text())) return *found;
  }
  return Value::undefined(nullptr);
}

Value get_slice(Meter& meter, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_string()) return slice_text(meter, object, start, stop, step);
  if (!object.is_sequence() || object.is(Kind::view)) return Value::undefined(nullptr);
  const auto& items = object.items().items;
  const SliceRange range = slice_range(static_cast<int64_t>(items.size()), start, stop, step);
  std::vector<Value> out;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, range.step, &i)) break;
  }
  return meter.sequence(object.is(Kind::tuple) ? Kind::tuple : Kind::list, std::move(out));
}

std::vector<Value> items_of(Meter& meter, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return {};
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      meter.items(value.items().items.size());
      return value.items().items;
    case Kind::generator: {
      Generator& generator = value.generator_items();
      std::vector<Value> rest(generator.items.begin() + static_cast<int64_t>(generator.next),
                              generator.items.end());
      generator.next = generator.items.size();
      meter.items(rest.size());
      return rest;
    }
    case Kind::dict: {
      std::vector<Value> keys;
      for (const auto& [key, item] : value.dict().entries) keys.push_back(key);
      meter.items(keys.size());
      return keys;
    }
    case Kind::string: {
      const std::string& text = value.text();
      meter.items(text.size() * 4);  // a value of its own for each character
      std::vector<Value> characters;
      for (size_t at = 0; at < text.size();) {
        const size_t bytes = code_point_at(text, at).bytes;
        characters.push_back(Value::string(text.substr(at, bytes), value.is_safe()));
        at += bytes;
      }
      return characters;
    }
    default:
      give_up("'" + std::string(type_name(value)) + "' object is not iterable");
  }
}

int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return static_cast<int64_t>(count_code_points(value.text()));
  if (value.is_sequence()) return static_cast<int64_t>(value.items().items.size());
  if (value.is(Kind::dict)) return static_cast<int64_t>(value.dict().entries.size());
  if (value.is(Kind::loop)) return static_cast<int64_t>(value.loop().items.size());
  give_up("object of type '" + std::string(type_name(value)) + "' has no length");
}

bool contains(Meter& meter, const Value& container, const Value& value) {
  if (container.is_string()) {
    if (!value.is_string()) {
      if (value.is_undefined()) fail_undefined(value);
      give_up("'in <string>' requires string as left operand, not " +
              std::string(type_name(value)));
    }
    meter.bytes(container.text().size());
    return container.text().find(value.text()) != std::string::npos;
  }
  if (container.is(Kind::dict)) {
    if (value.is(Kind::list) || value.is(Kind::dict)) {
      give_up("unhashable type: '" + std::string(type_name(value)) + "'");
    }
    if (!value.is_string()) meter.items(container.dict().entries.size());
    return container.dict().find(value) != nullptr;
  }
  const auto matches = [&](const Value& item) { return compare_equal(meter, item, value); };
  if (container.is_sequence()) return std::ranges::any_of(container.items().items, matches);
  if (container.is(Kind::generator)) {
    Generator& generator = container.generator_items();
    while (generator.next < generator.items.size()) {
      if (matches(generator.items[generator.next++])) return true;
    }
    return false;
  }
  if (container.is_undefined()) return false;
  give_up("argument of type '" + std::string(type_name(container)) + "' is not iterable");
}

int64_t to_integer(const Value& value, std::string_view what) {
  if (value.is_integral()) return value.as_integer();
  if (value.is_undefined()) fail_undefined(value);
  give_up(std::string(what) + " must be an integer, not " + std::string(type_name(value)));
}

bool compare_less(Meter& meter, const Value& a, const Value& b) {
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_string() && b.is_string()) meter.bytes(std::min(a.text().size(), b.text().size()));
  int64_t visited = 0;
  const bool result = less(a, b, visited);
  meter.step(visited);
  return result;
}

bool compare_equal(Meter& meter, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) meter.bytes(std::min(a.text().size(), b.text().size()));
  int64_t visited = 0;
  const bool result = equal(a, b, visited);
  meter.step(visited);
  return result;
}

bool identical(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is_sequence() || a.is(Kind::dict)) return a.identity() == b.identity();
  int64_t visited = 0;
  return equal(a, b, visited);
}

}  // namespace troupe::jinja
