#include <algorithm>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_parse_state.h"

namespace troupe::jinja {

namespace {

using Op = Expr::Op;

ExprPtr make(Expr::Kind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr wrap(Expr::Kind kind, int line, ExprPtr inner) {
  ExprPtr expr = make(kind, line);
  expr->parts.push_back(std::move(inner));
  return expr;
}

ExprPtr constant(Value value, int line) {
  ExprPtr expr = make(Expr::Kind::constant, line);
  expr->constant = std::move(value);
  return expr;
}

// The name a filter like map or select is told to apply is checked like one written out.
void check_named(const Expr& call) {
  const std::string_view name = call.filter->name;
  const bool takes_test = name == "select" || name == "reject";
  const bool takes_attribute_test = name == "selectattr" || name == "rejectattr";
  const size_t index = takes_attribute_test ? 2 : 1;
  if (name != "map" && !takes_test && !takes_attribute_test) return;
  if (call.parts.size() <= index) return;
  const Expr& argument = *call.parts[index];
  if (argument.kind != Expr::Kind::constant || !argument.constant.is_string()) return;
  const std::string& named = argument.constant.text();
  if (name == "map" && find_filter(named) == nullptr) {
    give_up_unsupported("the filter '" + named + "'", call.line);
  }
  if (name != "map" && find_test(named) == nullptr) {
    give_up_unsupported("the test '" + named + "'", call.line);
  }
}

}  // namespace

bool ExprParser::at_tuple_end() const {
  const Token& token = state_.now();
  return token.kind == Token::Kind::variable_end || token.kind == Token::Kind::block_end ||
         token.is_op(")") || token.is_name("recursive");
}

ExprPtr ExprParser::tuple(Conditionals conditionals) {
  const int line = state_.line();
  std::vector<ExprPtr> parts;
  bool is_tuple = false;
  while (!at_tuple_end()) {
    parts.push_back(expression(conditionals));
    if (!state_.skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (parts.empty()) state_.unexpected();
    return std::move(parts.front());
  }
  ExprPtr expr = make(Expr::Kind::tuple, line);
  expr->parts = std::move(parts);
  return expr;
}

ExprPtr ExprParser::expression(Conditionals conditionals) {
  const ParseState::Nested nested(state_);
  return conditionals == Conditionals::allowed ? conditional() : logical_or();
}

ExprPtr ExprParser::conditional() {
  ExprPtr value = logical_or();
  int chained = 0;
  while (state_.now().is_name("if")) {
    ExprPtr expr = make(Expr::Kind::conditional, state_.line());
    state_.take();
    if (++chained > kTemplateDepthMax) {
      give_up_too_large("conditional expressions are chained too long", expr->line);
    }
    expr->parts.push_back(std::move(value));
    expr->parts.push_back(logical_or());
    expr->parts.push_back(state_.skip_name("else") ? expression() : nullptr);
    value = std::move(expr);
  }
  return value;
}

ExprPtr ExprParser::logical_or() {
  ExprPtr left = logical_and();
  if (!state_.now().is_name("or")) return left;
  ExprPtr expr = wrap(Expr::Kind::logical_or, state_.line(), std::move(left));
  while (state_.skip_name("or")) expr->parts.push_back(logical_and());
  return expr;
}

ExprPtr ExprParser::logical_and() {
  ExprPtr left = logical_not();
  if (!state_.now().is_name("and")) return left;
  ExprPtr expr = wrap(Expr::Kind::logical_and, state_.line(), std::move(left));
  while (state_.skip_name("and")) expr->parts.push_back(logical_not());
  return expr;
}

ExprPtr ExprParser::logical_not() {
  if (!state_.now().is_name("not")) return compare();
  const ParseState::Nested nested(state_);
  const int line = state_.take().line;
  return wrap(Expr::Kind::logical_not, line, logical_not());
}

ExprPtr ExprParser::compare() {
  static constexpr std::pair<std::string_view, Op> kOps[] = {
      {"==", Op::eq}, {"!=", Op::ne}, {">", Op::gt}, {">=", Op::ge}, {"<", Op::lt}, {"<=", Op::le}};
  const int line = state_.line();
  ExprPtr left = sum();
  std::vector<ExprPtr> parts;
  std::vector<Op> ops;
  while (true) {
    const auto* found =
        std::ranges::find_if(kOps, [&](const auto& op) { return state_.now().is_op(op.first); });
    if (found != std::end(kOps)) {
      state_.take();
      ops.push_back(found->second);
    } else if (state_.skip_name("in")) {
      ops.push_back(Op::in);
    } else if (state_.now().is_name("not") && state_.ahead().is_name("in")) {
      state_.take();
      state_.take();
      ops.push_back(Op::not_in);
    } else {
      break;
    }
    parts.push_back(sum());
  }
  if (ops.empty()) return left;
  ExprPtr expr = wrap(Expr::Kind::compare, line, std::move(left));
  std::ranges::move(parts, std::back_inserter(expr->parts));
  expr->ops = std::move(ops);
  return expr;
}

ExprPtr ExprParser::sum() {
  ExprPtr left = concat();
  if (!state_.now().is_op("+") && !state_.now().is_op("-")) return left;
  ExprPtr expr = wrap(Expr::Kind::arithmetic, state_.line(), std::move(left));
  while (state_.now().is_op("+") || state_.now().is_op("-")) {
    expr->ops.push_back(state_.take().text == "+" ? Op::add : Op::sub);
    expr->parts.push_back(concat());
  }
  return expr;
}

ExprPtr ExprParser::concat() {
  ExprPtr left = product();
  if (!state_.now().is_op("~")) return left;
  ExprPtr expr = wrap(Expr::Kind::concat, state_.line(), std::move(left));
  while (state_.skip_op("~")) expr->parts.push_back(product());
  return expr;
}

ExprPtr ExprParser::product() {
  static constexpr std::pair<std::string_view, Op> kOps[] = {
      {"*", Op::mul}, {"/", Op::div}, {"//", Op::floor_div}, {"%", Op::mod}};
  const auto find = [&] {
    return std::ranges::find_if(kOps, [&](const auto& op) { return state_.now().is_op(op.first); });
  };
  ExprPtr left = power();
  if (find() == std::end(kOps)) return left;
  ExprPtr expr = wrap(Expr::Kind::arithmetic, state_.line(), std::move(left));
  for (const auto* op = find(); op != std::end(kOps); op = find()) {
    state_.take();
    expr->ops.push_back(op->second);
    expr->parts.push_back(power());
  }
  return expr;
}

ExprPtr ExprParser::power() {
  ExprPtr left = unary(Filters::allowed);
  if (!state_.now().is_op("**")) return left;
  ExprPtr expr = wrap(Expr::Kind::arithmetic, state_.line(), std::move(left));
  while (state_.skip_op("**")) {
    expr->ops.push_back(Op::pow);
    expr->parts.push_back(unary(Filters::allowed));
  }
  return expr;
}

ExprPtr ExprParser::unary(Filters filters) {
  const ParseState::Nested nested(state_);
  const int line = state_.line();
  ExprPtr value;
  if (state_.skip_op("-")) {
    value = wrap(Expr::Kind::negative, line, unary(Filters::not_here));
  } else if (state_.skip_op("+")) {
    value = wrap(Expr::Kind::positive, line, unary(Filters::not_here));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return filters == Filters::allowed ? filters_and_tests(std::move(value)) : std::move(value);
}

ExprPtr ExprParser::primary() {
  const int line = state_.line();
  if (state_.now().is_op("[")) return list();
  if (state_.now().is_op("{")) return dict();
  const Token token = state_.take();
  switch (token.kind) {
    case Token::Kind::name: {
      const std::string& name = token.text;
      if (name == "true" || name == "True") return constant(Value::boolean(true), line);
      if (name == "false" || name == "False") return constant(Value::boolean(false), line);
      if (name == "none" || name == "None") return constant(Value::none(), line);
      if (name == "caller") ++state_.caller_mentions;
      if (state_.open_macros > 0 && (name == "varargs" || name == "kwargs")) {
        give_up_unsupported("the name '" + name + "' in a macro", line);
      }
      ExprPtr expr = make(Expr::Kind::name, line);
      expr->symbol = state_.symbol(name);
      return expr;
    }
    case Token::Kind::string: {
      std::string text = token.text;
      while (state_.now().kind == Token::Kind::string) text += state_.take().text;
      return constant(Value::string(std::move(text)), line);
    }
    case Token::Kind::integer:
      return constant(Value::integer(token.integer), line);
    case Token::Kind::real:
      return constant(Value::real(token.real), line);
    case Token::Kind::op:
      if (token.text == "(") {
        if (state_.skip_op(")")) return make(Expr::Kind::tuple, line);
        ExprPtr inner = tuple();
        state_.expect_op(")");
        return inner;
      }
      [[fallthrough]];
    default:
      give_up("unexpected '" + (token.text.empty() ? "end of the tag" : token.text) + "'", line);
  }
}

ExprPtr ExprParser::list() {
  ExprPtr expr = make(Expr::Kind::list, state_.line());
  state_.expect_op("[");
  while (!state_.now().is_op("]")) {
    expr->parts.push_back(expression());
    if (!state_.skip_op(",")) break;
  }
  state_.expect_op("]");
  return expr;
}

ExprPtr ExprParser::dict() {
  ExprPtr expr = make(Expr::Kind::dict, state_.line());
  state_.expect_op("{");
  while (!state_.now().is_op("}")) {
    expr->parts.push_back(expression());
    state_.expect_op(":");
    expr->parts.push_back(expression());
    if (!state_.skip_op(",")) break;
  }
  state_.expect_op("}");
  return expr;
}

ExprPtr ExprParser::postfix(ExprPtr value) {
  int chained = 0;
  while (true) {
    if (state_.now().is_op(".") || state_.now().is_op("[")) {
      value = subscript(std::move(value));
    } else if (state_.now().is_op("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
    if (++chained > kTemplateDepthMax)
      give_up_too_large("a chain of look-ups is too long", value->line);
  }
}

ExprPtr ExprParser::subscript(ExprPtr value) {
  const int line = state_.line();
  if (state_.skip_op(".")) {
    const Token token = state_.take();
    if (token.kind == Token::Kind::name) {
      ExprPtr expr = wrap(Expr::Kind::attribute, line, std::move(value));
      expr->text = token.text;
      return expr;
    }
    if (token.kind != Token::Kind::integer) give_up("expected a name after '.'", line);
    ExprPtr expr = wrap(Expr::Kind::item, line, std::move(value));
    expr->parts.push_back(constant(Value::integer(token.integer), line));
    return expr;
  }
  state_.expect_op("[");
  ExprPtr first = state_.now().is_op(":") ? nullptr : expression();
  if (state_.skip_op("]")) {
    ExprPtr expr = wrap(Expr::Kind::item, line, std::move(value));
    expr->parts.push_back(std::move(first));
    return expr;
  }
  if (state_.now().is_op(",")) give_up_unsupported("a tuple as a subscript", line);
  ExprPtr expr = wrap(Expr::Kind::slice, line, std::move(value));
  expr->parts.push_back(std::move(first));
  for (int bound = 0; bound < 2; ++bound) {
    const bool given = state_.skip_op(":") && !state_.now().is_op(":") && !state_.now().is_op("]");
    expr->parts.push_back(given ? expression() : nullptr);
  }
  state_.expect_op("]");
  return expr;
}

ExprPtr ExprParser::call(ExprPtr callee) {
  const int line = state_.line();
  if (callee->kind == Expr::Kind::attribute && is_missing_method(callee->text)) {
    give_up_unsupported("the method '" + callee->text + "'", line);
  }
  if (callee->kind == Expr::Kind::name) {
    const std::string& name = state_.program().names[static_cast<size_t>(callee->symbol)];
    if (is_missing_function(name)) give_up_unsupported("the function '" + name + "'", line);
  }
  ExprPtr expr = wrap(Expr::Kind::call, line, std::move(callee));
  arguments(*expr);
  return expr;
}

void ExprParser::arguments(Expr& call) {
  state_.expect_op("(");
  while (!state_.now().is_op(")")) {
    if (state_.now().is_op("*") || state_.now().is_op("**")) {
      give_up_unsupported("unpacking arguments with * or **", state_.line());
    }
    if (state_.now().kind == Token::Kind::name && state_.ahead().is_op("=")) {
      std::string name = state_.take().text;
      state_.take();
      call.keywords.emplace_back(std::move(name), expression());
    } else {
      if (!call.keywords.empty())
        give_up("a positional argument follows a named one", state_.line());
      call.parts.push_back(expression());
    }
    if (!state_.skip_op(",")) break;
  }
  state_.expect_op(")");
}

ExprPtr ExprParser::filter(ExprPtr value) {
  const int line = state_.line();
  const std::string name = state_.expect_any_name();
  ExprPtr expr = wrap(Expr::Kind::filter, line, std::move(value));
  expr->filter = find_filter(name);
  if (expr->filter == nullptr) give_up_unsupported("the filter '" + name + "'", line);
  if (state_.now().is_op("(")) arguments(*expr);
  check_named(*expr);
  return expr;
}

ExprPtr ExprParser::test(ExprPtr value) {
  const int line = state_.line();
  const bool negated = state_.skip_name("not");
  const std::string name = state_.expect_any_name();
  ExprPtr expr = wrap(Expr::Kind::test, line, std::move(value));
  expr->test = find_test(name);
  if (expr->test == nullptr) give_up_unsupported("the test '" + name + "'", line);
  const Token& next = state_.now();
  const bool starts_value = next.kind == Token::Kind::name || next.kind == Token::Kind::string ||
                            next.kind == Token::Kind::integer || next.kind == Token::Kind::real ||
                            next.is_op("[") || next.is_op("{");
  if (next.is_op("(")) {
    arguments(*expr);
  } else if (starts_value && !next.is_name("else") && !next.is_name("or") && !next.is_name("and")) {
    if (next.is_name("is")) give_up("tests cannot be chained with 'is'", line);
    expr->parts.push_back(postfix(primary()));
  }
  return negated ? wrap(Expr::Kind::logical_not, line, std::move(expr)) : std::move(expr);
}

ExprPtr ExprParser::filters_and_tests(ExprPtr value) {
  int chained = 0;
  while (true) {
    if (state_.skip_op("|")) {
      value = filter(std::move(value));
    } else if (state_.skip_name("is")) {
      value = test(std::move(value));
    } else if (state_.now().is_op("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
    if (++chained > kTemplateDepthMax)
      give_up_too_large("a chain of filters is too long", value->line);
  }
}

ExprPtr ExprParser::filters_of_block() {
  ExprPtr value;
  int chained = 0;
  while (state_.skip_op("|")) {
    value = filter(std::move(value));
    if (++chained > kTemplateDepthMax)
      give_up_too_large("a chain of filters is too long", value->line);
  }
  return value;
}

ExprPtr ExprParser::filters_after_name() {
  ExprPtr value = filter(nullptr);
  int chained = 0;
  while (state_.skip_op("|")) {
    value = filter(std::move(value));
    if (++chained > kTemplateDepthMax)
      give_up_too_large("a chain of filters is too long", value->line);
  }
  return value;
}

}  // namespace troupe::jinja
