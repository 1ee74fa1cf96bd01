#include <algorithm>

#include "config/limits.h"
#include "model/text/jinja_interpreter_scopes.h"
#include "model/text/jinja_print.h"

namespace troupe::jinja {

Value Interpreter::evaluate(const Expr& expr) {
  meter_.step();
  if (expr.kind == Expr::Kind::constant) return expr.constant;
  if (expr.kind == Expr::Kind::name) return look_up(expr.symbol);
  const Nested nested(*this);
  line_ = expr.line;
  return evaluate_kind(expr);
}

Value Interpreter::evaluate_kind(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::list:
      return sequence_literal(expr, Kind::list);
    case Expr::Kind::tuple:
      return sequence_literal(expr, Kind::tuple);
    case Expr::Kind::dict:
      return dict_literal(expr);
    case Expr::Kind::attribute:
      return get_attribute(meter_, evaluate(*expr.parts[0]), expr.text);
    case Expr::Kind::item: {
      const Value object = evaluate(*expr.parts[0]);
      return get_item(meter_, object, evaluate(*expr.parts[1]));
    }
    case Expr::Kind::slice:
      return slice(expr);
    case Expr::Kind::call:
      return call(expr);
    case Expr::Kind::filter:
      return apply_filter(expr);
    case Expr::Kind::test:
      return Value::boolean(holds(expr));
    case Expr::Kind::negative:
      return negate(evaluate(*expr.parts[0]));
    case Expr::Kind::positive:
      return calculate(meter_, Expr::Op::add, Value::integer(0), evaluate(*expr.parts[0]));
    case Expr::Kind::logical_not:
      return Value::boolean(!truthy(evaluate(*expr.parts[0])));
    case Expr::Kind::logical_and:
    case Expr::Kind::logical_or:
      return any_or_all(expr);
    case Expr::Kind::arithmetic: {
      Value value = evaluate(*expr.parts[0]);
      for (size_t i = 0; i < expr.ops.size(); ++i) {
        value = calculate(meter_, expr.ops[i], value, evaluate(*expr.parts[i + 1]));
      }
      return value;
    }
    case Expr::Kind::compare:
      return compare(expr);
    case Expr::Kind::concat:
      return concat(expr);
    case Expr::Kind::conditional:
      return conditional(expr);
    case Expr::Kind::constant:
    case Expr::Kind::name:
      break;  // answered by evaluate()
  }
  return {};
}

Value Interpreter::sequence_literal(const Expr& expr, Kind kind) {
  std::vector<Value> items;
  items.reserve(expr.parts.size());
  for (const ExprPtr& part : expr.parts) items.push_back(evaluate(*part));
  return meter_.sequence(kind, std::move(items));
}

Value Interpreter::dict_literal(const Expr& expr) {
  Dict dict;
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    Value key = evaluate(*expr.parts[i]);
    if (key.is(Kind::list) || key.is(Kind::dict)) {
      give_up("unhashable type: '" + std::string(type_name(key)) + "'");
    }
    dict.set(std::move(key), evaluate(*expr.parts[i + 1]));
  }
  return meter_.dict(std::move(dict));
}

Value Interpreter::slice(const Expr& expr) {
  const Value object = evaluate(*expr.parts[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    bounds[i] = expr.parts[i + 1] ? evaluate(*expr.parts[i + 1]) : Value::none();
  }
  return get_slice(meter_, object, bounds[0], bounds[1], bounds[2]);
}

Arguments Interpreter::arguments(const Expr& expr) {
  Arguments out;
  out.positional.reserve(expr.parts.size() - 1);
  for (size_t i = 1; i < expr.parts.size(); ++i) out.positional.push_back(evaluate(*expr.parts[i]));
  for (const auto& [name, value] : expr.keywords) out.named.emplace_back(name, evaluate(*value));
  return out;
}

Value Interpreter::call(const Expr& expr) {
  const Expr& callee = *expr.parts[0];
  if (callee.kind == Expr::Kind::attribute) {
    const Value receiver = evaluate(*callee.parts[0]);
    if (has_method(receiver, callee.text)) {
      return call_method(meter_, receiver, callee.text, arguments(expr));
    }
    const Value value = get_attribute(meter_, receiver, callee.text);
    return call_value(value, arguments(expr));
  }
  const Value value = evaluate(callee);
  return call_value(value, arguments(expr));
}

Value Interpreter::call_value(const Value& callee, Arguments arguments) {
  switch (callee.kind()) {
    case Kind::macro:
      return call_macro(callee.macro(), std::move(arguments));
    case Kind::function:
      return call_function(meter_, callee.function(), arguments, now_);
    case Kind::method:
      return call_method(meter_, callee.method().receiver, callee.method().name, arguments);
    case Kind::undefined:
      fail_undefined(callee);
    default:
      give_up("'" + std::string(type_name(callee)) + "' object is not callable");
  }
}

Value Interpreter::call_macro(const Macro& macro, Arguments given) {
  if (macros_ >= kTemplateDepthMax) {
    give_up_too_large("calls macros more than " + std::to_string(kTemplateDepthMax) + " deep");
  }
  const Statement& statement = *macro.statement;
  const std::string name = statement.text.empty() ? "caller" : statement.text;
  const auto symbol = [&](const char* special) {
    const auto found = program_.symbols.find(special);
    return found == program_.symbols.end() ? -1 : found->second;
  };
  const OpenScope scope(*this, macro.scope);
  const auto& parameters = statement.parameters;
  if (given.positional.size() > parameters.size()) {
    give_up("macro '" + name + "' takes not more than " + std::to_string(parameters.size()) +
            " arguments");
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto named = std::ranges::find(given.named, parameters[i].name,
                                         [](const auto& argument) { return argument.first; });
    if (i < given.positional.size()) {
      if (named != given.named.end()) {
        give_up("macro '" + name + "' got two values for '" + parameters[i].name + "'");
      }
      scope_->set(parameters[i].symbol, std::move(given.positional[i]));
    } else if (named != given.named.end()) {
      scope_->set(parameters[i].symbol, std::move(named->second));
      given.named.erase(named);
    } else {
      scope_->set(parameters[i].symbol, parameters[i].fallback
                                            ? evaluate(*parameters[i].fallback)
                                            : Value::undefined(&parameters[i].name));
    }
  }
  for (auto& [argument, value] : given.named) {
    if (argument != "caller" || !statement.takes_caller)
      give_up("macro '" + name + "' takes no argument '" + argument + "'");
    if (const Symbol caller = symbol("caller"); caller >= 0) scope_->set(caller, std::move(value));
  }
  ++macros_;
  std::string text = capture(statement.bodies[0]);
  --macros_;
  return meter_.text(std::move(text));
}

Value Interpreter::apply_filter(const Expr& expr) {
  const Value input = expr.parts[0] ? evaluate(*expr.parts[0]) : filter_block_input_;
  return expr.filter->apply(meter_, input, arguments(expr));
}

bool Interpreter::holds(const Expr& expr) {
  const Value input = evaluate(*expr.parts[0]);
  return expr.test->holds(meter_, input, arguments(expr));
}

Value Interpreter::any_or_all(const Expr& expr) {
  const bool stops_at = expr.kind == Expr::Kind::logical_or;
  Value value;
  for (const ExprPtr& part : expr.parts) {
    value = evaluate(*part);
    if (truthy(value) == stops_at) break;
  }
  return value;
}

Value Interpreter::compare(const Expr& expr) {
  Value left = evaluate(*expr.parts[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = evaluate(*expr.parts[i + 1]);
    const auto holds = [&] {
      switch (expr.ops[i]) {
        case Expr::Op::eq:
          return compare_equal(meter_, left, right);
        case Expr::Op::ne:
          return !compare_equal(meter_, left, right);
        case Expr::Op::lt:
          return compare_less(meter_, left, right);
        case Expr::Op::gt:
          return compare_less(meter_, right, left);
        case Expr::Op::le:
          return compare_less(meter_, left, right) || compare_equal(meter_, left, right);
        case Expr::Op::ge:
          return compare_less(meter_, right, left) || compare_equal(meter_, left, right);
        case Expr::Op::in:
          return contains(meter_, right, left);
        default:
          return !contains(meter_, right, left);
      }
    };
    if (!holds()) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::concat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& part : expr.parts) {
    append_str(meter_, text, evaluate(*part));
    if (text.size() > kTemplateOutputBytesMax) meter_.bytes(text.size());
  }
  return meter_.text(std::move(text));
}

Value Interpreter::conditional(const Expr& expr) {
  if (truthy(evaluate(*expr.parts[1]))) return evaluate(*expr.parts[0]);
  if (expr.parts[2]) return evaluate(*expr.parts[2]);
  return Value::undefined(nullptr);
}

}  // namespace troupe::jinja
