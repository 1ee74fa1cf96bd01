#include <algorithm>

#include "config/limits.h"
#include "model/text/jinja_interpreter_scopes.h"
#include "model/text/jinja_print.h"

namespace troupe::jinja {

Interpreter::Interpreter(const Program& program, int64_t now)
    : program_(program), now_(now), root_(program.names.size()) {
  for (size_t i = 0; i < program.names.size(); ++i) {
    const int function = find_function(program.names[i]);
    if (function >= 0) root_[i] = {true, Value::function(function)};
  }
}

std::string Interpreter::run() { return capture(program_.body); }

void Interpreter::emit(const std::string& text) {
  meter_.bytes(text.size());
  if (out_->size() + text.size() > kTemplateOutputBytesMax)
    meter_.bytes(out_->size() + text.size());
  *out_ += text;
}

std::string Interpreter::capture(const Body& body) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  try {
    run_body(body);
  } catch (...) {
    out_ = outer;
    throw;
  }
  out_ = outer;
  return text;
}

Interpreter::Flow Interpreter::run_body(const Body& body) {
  for (const Statement& statement : body) {
    const Flow flow = run_statement(statement);
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::run_statement(const Statement& statement) {
  const Nested nested(*this);
  meter_.step();
  line_ = statement.line;
  switch (statement.kind) {
    case Statement::Kind::text:
      emit(statement.text);
      return Flow::on;
    case Statement::Kind::print: {
      const Value value = evaluate(*statement.expr);
      emit(value.is_string() ? value.text() : to_str(meter_, value));
      return Flow::on;
    }
    case Statement::Kind::if_else:
      return run_if(statement);
    case Statement::Kind::for_in:
      return run_for(statement);
    case Statement::Kind::set:
    case Statement::Kind::set_block:
    case Statement::Kind::filter_block:
      run_set(statement);
      return Flow::on;
    case Statement::Kind::macro:
      define_macro(statement);
      return Flow::on;
    case Statement::Kind::call_block:
      run_call_block(statement);
      return Flow::on;
    case Statement::Kind::scope:
      return run_scope(statement);
    case Statement::Kind::break_loop:
      return Flow::break_loop;
    case Statement::Kind::continue_loop:
      return Flow::continue_loop;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::run_if(const Statement& statement) {
  for (size_t i = 0; i < statement.conditions.size(); ++i) {
    if (truthy(evaluate(*statement.conditions[i]))) return run_body(statement.bodies[i]);
  }
  if (statement.bodies.size() > statement.conditions.size())
    return run_body(statement.bodies.back());
  return Flow::on;
}

Interpreter::Flow Interpreter::run_for(const Statement& statement) {
  std::vector<Value> items = items_of(meter_, evaluate(*statement.expr));
  if (statement.test) {
    std::vector<Value> kept;
    for (Value& item : items) {
      const OpenScope scope(*this, scope_);
      assign(statement.target, item);
      if (truthy(evaluate(*statement.test))) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  auto loop = std::make_shared<LoopState>();
  for (const Value& item : items) loop->depth = std::max(loop->depth, item.depth() + 1);
  loop->items = std::move(items);
  bool finished_one = false;
  for (; loop->index0 < loop->items.size(); ++loop->index0) {
    const OpenScope scope(*this, scope_);
    assign(statement.target, loop->items[loop->index0]);
    scope_->set(statement.symbol, Value::loop(loop));
    const Flow flow = run_body(statement.bodies[0]);
    if (flow == Flow::break_loop) break;
    // Jinja2 takes the else branch when no pass reached its end, also after `continue`.
    if (flow == Flow::on) finished_one = true;
  }
  if (finished_one || statement.bodies.size() < 2) return Flow::on;
  const OpenScope scope(*this, scope_);
  return run_body(statement.bodies[1]);
}

Interpreter::Flow Interpreter::run_scope(const Statement& statement) {
  std::vector<Value> values;
  for (const Parameter& variable : statement.parameters)
    values.push_back(evaluate(*variable.fallback));
  const OpenScope scope(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    scope_->set(statement.parameters[i].symbol, std::move(values[i]));
  }
  return run_body(statement.bodies[0]);
}

void Interpreter::run_set(const Statement& statement) {
  if (statement.kind == Statement::Kind::set) {
    assign(statement.target, evaluate(*statement.expr));
    return;
  }
  Value value;
  {
    const OpenScope scope(*this, scope_);
    value = meter_.text(capture(statement.bodies[0]));
  }
  if (statement.expr) {
    filter_block_input_ = std::move(value);
    value = evaluate(*statement.expr);
  }
  if (statement.kind == Statement::Kind::set_block) {
    assign(statement.target, value);
  } else {
    emit(to_str(meter_, value));
  }
}

void Interpreter::define_macro(const Statement& statement) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) scope->captured = true;
  set_variable(statement.symbol, Value::macro(std::make_shared<Macro>(Macro{&statement, scope_})));
}

void Interpreter::run_call_block(const Statement& statement) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) scope->captured = true;
  const Expr& expr = *statement.expr;
  const Value callee = evaluate(*expr.parts[0]);
  Arguments given = arguments(expr);
  given.named.emplace_back("caller",
                           Value::macro(std::make_shared<Macro>(Macro{&statement, scope_})));
  emit(to_str(meter_, call_value(callee, std::move(given))));
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = items_of(meter_, value);
    if (items.size() != target.parts.size()) {
      give_up("cannot unpack " + std::to_string(items.size()) + " values into " +
                  std::to_string(target.parts.size()) + " names",
              target.line);
    }
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
    return;
  }
  if (target.attribute.empty()) {
    set_variable(target.symbol, value);
    return;
  }
  const Value space = look_up(target.symbol);
  if (!space.is(Kind::name_space)) {
    give_up("cannot assign attribute '" + target.attribute + "' on a value that is no namespace",
            target.line);
  }
  space.name_space().set(target.attribute, value);
}

void Interpreter::set_variable(Symbol symbol, Value value) {
  if (scope_ != nullptr) {
    scope_->set(symbol, std::move(value));
  } else {
    set_global(symbol, std::move(value));
  }
}

Value Interpreter::look_up(Symbol symbol) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const Value* found = scope->find(symbol)) return *found;
  }
  const RootSlot& slot = root_[static_cast<size_t>(symbol)];
  if (slot.bound) return slot.value;
  return Value::undefined(&program_.names[static_cast<size_t>(symbol)]);
}

}  // namespace troupe::jinja
