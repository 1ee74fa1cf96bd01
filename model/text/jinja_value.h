// What a template computes with: Python's values as far as templates see them. Cheap to copy
// (shared, immutable contents); only namespaces change, and those belong to one rendering (Meter),
// so values never form cycles.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::jinja {

enum class Kind : uint8_t {
  undefined,
  none,
  boolean,
  integer,
  big_integer,  ///< beyond 64 bits: its digits, to print but not to calculate with
  real,
  string,
  list,
  tuple,
  range,
  view,       ///< of a dict: keys(), values(), items()
  generator,  ///< result of map, select, ...: can be walked once
  dict,
  name_space,
  loop,
  macro,
  function,  ///< a global such as range
  method,    ///< bound to its receiver
};

class Value;
struct Dict;
struct LoopState;
struct Macro;
struct Method;
struct Namespace;

/// Items of a list, tuple, range or view.
struct Sequence {
  std::vector<Value> items;
  int depth = 1;      ///< how deep lists and dicts are nested, bounded by Meter
  std::string label;  ///< "range(0, 3)" or "dict_keys"
};

struct Generator {
  std::vector<Value> items;
  size_t next = 0;
  int depth = 1;
};

class Value {
 public:
  Value() = default;
  /// `name`: what was looked up, for the message when it is used; must outlive the rendering, or
  /// null.
  static Value undefined(const std::string* name);
  static Value none();
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value big_integer(std::string digits);
  static Value real(double value);
  /// `safe`: Markup in Jinja; adding a plain string to it escapes that string's HTML characters.
  static Value string(std::string text, bool safe);
  static Value string(std::string text);
  static Value sequence(Kind kind, std::shared_ptr<const Sequence> items);
  static Value generator(std::shared_ptr<Generator> items);
  static Value dict(std::shared_ptr<const Dict> dict);
  static Value name_space(Namespace* space);
  static Value loop(std::shared_ptr<LoopState> loop);
  static Value macro(std::shared_ptr<const Macro> macro);
  static Value method(std::shared_ptr<const Method> method);
  static Value function(int id);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_none() const { return kind_ == Kind::none; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_safe() const { return kind_ == Kind::string && safe_; }
  /// list, tuple, range or view
  bool is_sequence() const { return kind_ >= Kind::list && kind_ <= Kind::view; }
  bool is_number() const { return kind_ >= Kind::boolean && kind_ <= Kind::real; }
  /// A boolean or 64-bit integer, as Python counts True as 1.
  bool is_integral() const { return kind_ == Kind::boolean || kind_ == Kind::integer; }

  bool as_boolean() const { return integer_ != 0; }
  int64_t as_integer() const { return integer_; }
  double as_real() const { return real_; }
  double to_double() const;  ///< of any number
  const std::string& text() const { return *static_cast<const std::string*>(object_.get()); }
  const Sequence& items() const { return *static_cast<const Sequence*>(object_.get()); }
  Generator& generator_items() const { return *static_cast<Generator*>(object_.get()); }
  const Dict& dict() const;
  Namespace& name_space() const { return *space_; }
  LoopState& loop() const;
  const Macro& macro() const;
  const Method& method() const;
  int function() const { return static_cast<int>(integer_); }
  const std::string* undefined_name() const { return name_; }
  const void* identity() const { return object_.get(); }

  int depth() const;  ///< of nesting; 0 for what is no container

 private:
  Kind kind_ = Kind::undefined;
  bool safe_ = false;
  union {
    int64_t integer_ = 0;
    double real_;
    const std::string* name_;
    Namespace* space_;
  };
  std::shared_ptr<void> object_;
};

/// Keeps the order of insertion. Built with set(), then shared and never changed. Keys are strings,
/// numbers, booleans or none; set() gives up on others.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string_view, uint32_t> index;  ///< of string keys, once there are many
  int depth = 1;

  void set(Value key, Value value);  ///< a known key keeps its place
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

/// The `loop` variable of a for statement.
struct LoopState {
  std::vector<Value> items;
  size_t index0 = 0;
  int depth = 1;  ///< of nested lists and dicts, counting this one
};

/// A method looked up but not yet called: `message.get`.
struct Method {
  Value receiver;
  std::string name;
};

bool truthy(const Value& value);
/// Python's ==; containers compare by their contents. Counts the values looked at in `visited` and
/// gives up beyond kTemplateStepsMax of them: lists that share their parts can be far bigger to
/// walk than to keep.
bool equal(const Value& a, const Value& b, int64_t& visited);
/// Python's <; also gives up when the types have no order.
bool less(const Value& a, const Value& b, int64_t& visited);
/// "str", "int", "list", ... as Python calls the type.
std::string_view type_name(const Value& value);

}  // namespace troupe::jinja
