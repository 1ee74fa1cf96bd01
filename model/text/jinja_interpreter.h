// Walks a Program and writes the rendering. One object a rendering, one thread; throws Failure.
// Steps, output size and nesting are bounded (config/limits.h), so a hostile template costs bounded
// time, memory and stack.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/text/jinja_ast.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_meter.h"
#include "model/text/jinja_scope.h"

namespace troupe::jinja {

class Interpreter {
 public:
  /// `now`: seconds since 1970, for strftime_now. The program must outlive the interpreter.
  Interpreter(const Program& program, int64_t now);

  Meter& meter() { return meter_; }
  void set_global(Symbol symbol, Value value) {
    root_[static_cast<size_t>(symbol)] = {true, std::move(value)};
  }
  std::string run();
  int line() const { return line_; }  ///< of what was evaluated last

 private:
  enum class Flow : uint8_t { on, break_loop, continue_loop };
  struct RootSlot {
    bool bound = false;
    Value value;
  };

  // Statements (jinja_statements.cpp)
  Flow run_body(const Body& body);
  Flow run_statement(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_for(const Statement& statement);
  Flow run_scope(const Statement& statement);
  void run_set(const Statement& statement);
  void run_call_block(const Statement& statement);
  void define_macro(const Statement& statement);
  std::string capture(const Body& body);
  void assign(const Target& target, const Value& value);
  void emit(const std::string& text);

  // Expressions (jinja_expressions.cpp)
  Value evaluate(const Expr& expr);
  Value evaluate_kind(const Expr& expr);
  Value sequence_literal(const Expr& expr, Kind kind);
  Value dict_literal(const Expr& expr);
  Value slice(const Expr& expr);
  Value call(const Expr& expr);
  Value apply_filter(const Expr& expr);
  bool holds(const Expr& expr);
  Value compare(const Expr& expr);
  Value concat(const Expr& expr);
  Value conditional(const Expr& expr);
  Value any_or_all(const Expr& expr);
  Arguments arguments(const Expr& expr);
  Value call_value(const Value& callee, Arguments arguments);
  Value call_macro(const Macro& macro, Arguments arguments);

  Value look_up(Symbol symbol) const;
  void set_variable(Symbol symbol, Value value);

  const Program& program_;
  int64_t now_;
  Meter meter_;
  std::vector<RootSlot> root_;  // globals and top-level variables, by symbol
  ScopePool pool_;
  Scope* scope_ = nullptr;  // null at top level
  std::string* out_ = nullptr;
  Value filter_block_input_;  // what parts[0] == null stands for
  int nesting_ = 0;
  int macros_ = 0;
  int line_ = 0;

  class OpenScope;
  class Nested;
};

/// a op b for arithmetic, as Python's int, float, str and list do it (jinja_operators.cpp).
Value calculate(Meter& meter, Expr::Op op, const Value& a, const Value& b);
Value negate(const Value& value);

}  // namespace troupe::jinja
