// A parsed template. Immutable once parsed, so many threads may render it. Nesting is bounded by
// the parser, so the recursive walks over it (rendering, destruction) are too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/text/jinja_value.h"

namespace troupe::jinja {

struct Expr;
struct Statement;
struct Filter;
struct Test;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<Statement>;
using Symbol = int;  ///< number of a variable's name; index into Program::names

struct Expr {
  enum class Kind : uint8_t {
    constant,   ///< constant
    name,       ///< symbol
    list,       ///< parts
    tuple,      ///< parts
    dict,       ///< parts: key, value, key, value, ...
    attribute,  ///< parts[0] . text
    item,       ///< parts[0] [ parts[1] ]
    slice,      ///< parts[0] [ parts[1] : parts[2] : parts[3] ]; 1 to 3 may be null
    call,       ///< parts[0] ( parts[1..], keywords )
    filter,     ///< parts[0] | filter ( parts[1..], keywords ); parts[0] null inside a filter block
    test,       ///< parts[0] is test ( parts[1..], keywords )
    negative,   ///< - parts[0]
    positive,   ///< + parts[0]
    logical_not,  ///< not parts[0]
    logical_and,  ///< all parts
    logical_or,   ///< all parts
    arithmetic,   ///< parts[0] ops[0] parts[1] ops[1] parts[2] ..., from the left
    compare,      ///< the same, as Python chains comparisons
    concat,       ///< parts joined as text
    conditional,  ///< parts[0] if parts[1] else parts[2]; parts[2] may be null
  };
  enum class Op : uint8_t {
    add,
    sub,
    mul,
    div,
    floor_div,
    mod,
    pow,
    eq,
    ne,
    gt,
    ge,
    lt,
    le,
    in,
    not_in
  };

  Kind kind = Kind::constant;
  int line = 0;
  Symbol symbol = -1;
  Value constant;
  std::string text;
  const Filter* filter = nullptr;
  const Test* test = nullptr;
  std::vector<ExprPtr> parts;
  std::vector<Op> ops;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
};

/// What set and for assign to: a name, `space.attribute`, or several of these.
struct Target {
  Symbol symbol = -1;
  std::string attribute;      ///< of the namespace `symbol`, if not empty
  std::vector<Target> parts;  ///< if not empty, the value is unpacked into these
  int line = 0;
};

struct Parameter {
  Symbol symbol = -1;
  std::string name;
  ExprPtr fallback;  ///< null: undefined when not given
};

struct Statement {
  enum class Kind : uint8_t {
    text,          ///< text as it stands
    print,         ///< expr
    if_else,       ///< conditions[i] chooses bodies[i]; a last body without condition is `else`
    for_in,        ///< target in expr if test: bodies[0], else bodies[1]
    set,           ///< target = expr
    set_block,     ///< target = bodies[0] through expr (a filter chain) if given
    macro,         ///< symbol(parameters): bodies[0]
    call_block,    ///< expr is the call; parameters and bodies[0] make its caller
    filter_block,  ///< bodies[0] through expr (a filter chain)
    scope,         ///< with: parameters are its variables; generation: none
    break_loop,
    continue_loop,
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text;
  ExprPtr expr;
  ExprPtr test;
  Symbol symbol = -1;
  Target target;
  std::vector<ExprPtr> conditions;
  std::vector<Body> bodies;
  std::vector<Parameter> parameters;
  bool takes_caller = false;  ///< the macro's body mentions `caller`
};

struct Program {
  Body body;
  std::vector<std::string> names;
  std::unordered_map<std::string, Symbol> symbols;
};

}  // namespace troupe::jinja
