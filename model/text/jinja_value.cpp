#include "model/text/jinja_value.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "config/limits.h"
#include "model/text/jinja_failure.h"

namespace troupe::jinja {

namespace {

constexpr size_t kIndexedFrom = 16;  // below, a walk is as fast as a hash

std::string no_order(const Value& a, const Value& b) {
  return "'<' not supported between '" + std::string(type_name(a)) + "' and '" +
         std::string(type_name(b)) + "'";
}

bool is_scalar(const Value& value) {
  return value.is_string() || value.is_number() || value.is_none() || value.is_undefined();
}

void visit(int64_t& visited) {
  if (++visited > kTemplateStepsMax) give_up_too_large("compares values that are too big");
}

}  // namespace

Value Value::undefined(const std::string* name) {
  Value value;
  value.name_ = name;
  return value;
}

Value Value::none() {
  Value value;
  value.kind_ = Kind::none;
  return value;
}

Value Value::boolean(bool truth) {
  Value value;
  value.kind_ = Kind::boolean;
  value.integer_ = truth ? 1 : 0;
  return value;
}

Value Value::integer(int64_t number) {
  Value value;
  value.kind_ = Kind::integer;
  value.integer_ = number;
  return value;
}

Value Value::big_integer(std::string digits) {
  Value value;
  value.kind_ = Kind::big_integer;
  value.object_ = std::make_shared<std::string>(std::move(digits));
  return value;
}

Value Value::real(double number) {
  Value value;
  value.kind_ = Kind::real;
  value.real_ = number;
  return value;
}

Value Value::string(std::string text, bool safe) {
  Value value;
  value.kind_ = Kind::string;
  value.safe_ = safe;
  value.object_ = std::make_shared<std::string>(std::move(text));
  return value;
}

Value Value::string(std::string text) { return string(std::move(text), false); }

Value Value::sequence(Kind kind, std::shared_ptr<const Sequence> items) {
  Value value;
  value.kind_ = kind;
  value.object_ = std::const_pointer_cast<Sequence>(std::move(items));
  return value;
}

Value Value::generator(std::shared_ptr<Generator> items) {
  Value value;
  value.kind_ = Kind::generator;
  value.object_ = std::move(items);
  return value;
}

Value Value::dict(std::shared_ptr<const Dict> dict) {
  Value value;
  value.kind_ = Kind::dict;
  value.object_ = std::const_pointer_cast<Dict>(std::move(dict));
  return value;
}

Value Value::name_space(Namespace* space) {
  Value value;
  value.kind_ = Kind::name_space;
  value.space_ = space;
  return value;
}

Value Value::loop(std::shared_ptr<LoopState> loop) {
  Value value;
  value.kind_ = Kind::loop;
  value.object_ = std::move(loop);
  return value;
}

Value Value::macro(std::shared_ptr<const Macro> macro) {
  Value value;
  value.kind_ = Kind::macro;
  value.object_ = std::const_pointer_cast<Macro>(std::move(macro));
  return value;
}

Value Value::method(std::shared_ptr<const Method> method) {
  Value value;
  value.kind_ = Kind::method;
  value.object_ = std::const_pointer_cast<Method>(std::move(method));
  return value;
}

Value Value::function(int id) {
  Value value = integer(id);
  value.kind_ = Kind::function;
  return value;
}

const Dict& Value::dict() const { return *static_cast<const Dict*>(object_.get()); }
LoopState& Value::loop() const { return *static_cast<LoopState*>(object_.get()); }
const Macro& Value::macro() const { return *static_cast<const Macro*>(object_.get()); }
const Method& Value::method() const { return *static_cast<const Method*>(object_.get()); }

double Value::to_double() const {
  if (is(Kind::real)) return real_;
  if (is(Kind::big_integer)) return std::strtod(text().c_str(), nullptr);
  return static_cast<double>(integer_);
}

int Value::depth() const {
  if (is_sequence()) return items().depth;
  if (is(Kind::dict)) return dict().depth;
  if (is(Kind::generator)) return generator_items().depth;
  if (is(Kind::method)) return method().receiver.depth() + 1;
  if (is(Kind::loop)) return loop().depth;
  return 0;
}

const Value* Dict::find(std::string_view key) const {
  if (!index.empty()) {
    const auto found = index.find(key);
    return found == index.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [name, value] : entries) {
    if (name.is_string() && name.text() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(key.text());
  if (!is_scalar(key)) return nullptr;
  for (const auto& [name, value] : entries) {
    int64_t visited = 0;
    if (equal(name, key, visited)) return &value;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (!is_scalar(key)) give_up("a " + std::string(type_name(key)) + " cannot be the key of a dict");
  depth = std::max(depth, value.depth() + 1);
  if (const Value* known = find(key)) {
    *const_cast<Value*>(known) = std::move(value);
    return;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() < kIndexedFrom) return;
  // The keys' texts live on the heap, shared, so views of them outlive growth of `entries`.
  const size_t first = index.empty() ? 0 : entries.size() - 1;
  for (size_t i = first; i < entries.size(); ++i) {
    if (entries[i].first.is_string()) {
      index.emplace(entries[i].first.text(), static_cast<uint32_t>(i));
    }
  }
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [known, value] : attributes) {
    if (known == name) return &value;
  }
  return nullptr;
}

void Namespace::set(std::string_view name, Value value) {
  for (auto& [known, slot] : attributes) {
    if (known == name) {
      slot = std::move(value);
      return;
    }
  }
  attributes.emplace_back(name, std::move(value));
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0;
    case Kind::string:
      return !value.text().empty();
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return !value.items().items.empty();
    case Kind::dict:
      return !value.dict().entries.empty();
    default:
      return true;
  }
}

bool equal(const Value& a, const Value& b, int64_t& visited) {
  visit(visited);
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::big_integer) && b.is(Kind::big_integer)) return a.text() == b.text();
    if (a.is_integral() && b.is_integral()) return a.as_integer() == b.as_integer();
    return a.to_double() == b.to_double();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::string:
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view: {
      const auto& left = a.items().items;
      const auto& right = b.items().items;
      return std::ranges::equal(
          left, right, [&](const Value& x, const Value& y) { return equal(x, y, visited); });
    }
    case Kind::dict: {
      const Dict& left = a.dict();
      const Dict& right = b.dict();
      if (&left == &right) return true;
      if (left.entries.size() != right.entries.size()) return false;
      return std::ranges::all_of(left.entries, [&](const auto& entry) {
        const Value* other = right.find(entry.first);
        return other != nullptr && equal(entry.second, *other, visited);
      });
    }
    case Kind::name_space:
      return &a.name_space() == &b.name_space();
    case Kind::function:
      return a.function() == b.function();
    default:
      return a.identity() == b.identity();
  }
}

bool less(const Value& a, const Value& b, int64_t& visited) {
  visit(visited);
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_integer() < b.as_integer();
    return a.to_double() < b.to_double();
  }
  // Bytes of UTF-8 sort as their code points do.
  if (a.is_string() && b.is_string()) return a.text() < b.text();
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
    const auto& left = a.items().items;
    const auto& right = b.items().items;
    for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
      if (!equal(left[i], right[i], visited)) return less(left[i], right[i], visited);
    }
    return left.size() < right.size();
  }
  give_up(no_order(a, b));
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
    case Kind::big_integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::range:
      return "range";
    case Kind::view:
      return "dict view";
    case Kind::generator:
      return "generator";
    case Kind::dict:
      return "dict";
    case Kind::name_space:
      return "Namespace";
    case Kind::loop:
      return "LoopContext";
    case Kind::macro:
      return "Macro";
    case Kind::function:
      return "function";
    case Kind::method:
      return "method";
  }
  return "?";
}

}  // namespace troupe::jinja
