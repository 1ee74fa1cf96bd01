#include "model/text/jinja_parser.h"

#include <algorithm>
#include <array>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_parse_state.h"

namespace troupe::jinja {

namespace {

// Tags of Jinja2 and its common extensions that chat templates have no use for.
constexpr std::array<std::string_view, 11> kUnsupportedTags = {
    "extends", "include", "import", "from",       "block",    "autoescape",
    "do",      "trans",   "debug",  "blocktrans", "pluralize"};

using Ends = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::string_view source) : state_(tokenize(source)), exprs_(state_) {}

  Program run() {
    state_.program().body = body({});
    return std::move(state_.program());
  }

 private:
  // Statements up to a tag named in `ends` (left as the current token), or to the end of the
  // template.
  Body body(Ends ends) {
    const ParseState::Nested nested(state_);
    Body out;
    while (true) {
      const int line = state_.line();
      switch (state_.now().kind) {
        case Token::Kind::end:
          if (ends.size() > 0) give_up("expected {% " + std::string(*ends.begin()) + " %}", line);
          return out;
        case Token::Kind::data:
          out.push_back(
              Statement{.kind = Statement::Kind::text, .line = line, .text = state_.take().text});
          break;
        case Token::Kind::variable_begin:
          state_.take();
          out.push_back(
              Statement{.kind = Statement::Kind::print, .line = line, .expr = exprs_.tuple()});
          state_.expect_kind(Token::Kind::variable_end, "}}");
          break;
        default:
          state_.expect_kind(Token::Kind::block_begin, "{%");
          if (std::ranges::any_of(ends, [&](auto end) { return state_.now().is_name(end); }))
            return out;
          out.push_back(statement());
          state_.expect_kind(Token::Kind::block_end, "%}");
      }
    }
  }

  // After a tag's head: its body, up to and without `ends`.
  Body block(Ends ends) {
    state_.skip_op(":");
    state_.expect_kind(Token::Kind::block_end, "%}");
    return body(ends);
  }

  Statement statement() {
    const int line = state_.line();
    const std::string tag = state_.expect_any_name();
    Statement made{.line = line};
    if (tag == "if") {
      parse_if(made);
    } else if (tag == "for") {
      parse_for(made);
    } else if (tag == "set") {
      parse_set(made);
    } else if (tag == "macro") {
      parse_macro(made);
    } else if (tag == "call") {
      parse_call(made);
    } else if (tag == "filter") {
      made.kind = Statement::Kind::filter_block;
      made.expr = exprs_.filters_after_name();
      made.bodies.push_back(block({"endfilter"}));
      state_.take();
    } else if (tag == "with") {
      parse_with(made);
    } else if (tag == "generation") {
      made.kind = Statement::Kind::scope;
      made.bodies.push_back(block({"endgeneration"}));
      state_.take();
    } else if (tag == "print") {
      made.kind = Statement::Kind::print;
      made.expr = exprs_.expression();
    } else if (tag == "break" || tag == "continue") {
      if (loops_ == 0) give_up("'" + tag + "' outside of a loop", line);
      made.kind = tag == "break" ? Statement::Kind::break_loop : Statement::Kind::continue_loop;
    } else if (std::ranges::find(kUnsupportedTags, tag) != kUnsupportedTags.end()) {
      give_up_unsupported("the tag '" + tag + "'", line);
    } else {
      give_up("unknown tag '" + tag + "'", line);
    }
    return made;
  }

  void parse_if(Statement& made) {
    made.kind = Statement::Kind::if_else;
    made.conditions.push_back(exprs_.tuple(ExprParser::Conditionals::not_here));
    made.bodies.push_back(block({"endif", "elif", "else"}));
    while (state_.skip_name("elif")) {
      made.conditions.push_back(exprs_.tuple(ExprParser::Conditionals::not_here));
      made.bodies.push_back(block({"endif", "elif", "else"}));
    }
    if (state_.skip_name("else")) made.bodies.push_back(block({"endif"}));
    state_.expect_name("endif");
  }

  void parse_for(Statement& made) {
    made.kind = Statement::Kind::for_in;
    made.symbol = state_.symbol("loop");
    made.target = assign_targets(Attributes::not_here);
    state_.expect_name("in");
    made.expr = exprs_.tuple(ExprParser::Conditionals::not_here);
    if (state_.skip_name("if")) made.test = exprs_.expression();
    if (state_.now().is_name("recursive")) give_up_unsupported("a recursive loop", made.line);
    ++loops_;
    made.bodies.push_back(block({"endfor", "else"}));
    --loops_;
    if (state_.skip_name("else")) made.bodies.push_back(block({"endfor"}));
    state_.expect_name("endfor");
  }

  void parse_set(Statement& made) {
    made.target = assign_targets(Attributes::allowed);
    if (state_.skip_op("=")) {
      made.kind = Statement::Kind::set;
      made.expr = exprs_.tuple();
      return;
    }
    made.kind = Statement::Kind::set_block;
    made.expr = exprs_.filters_of_block();
    made.bodies.push_back(block({"endset"}));
    state_.take();
  }

  void parse_macro(Statement& made) {
    made.kind = Statement::Kind::macro;
    made.text = state_.expect_any_name();
    made.symbol = state_.symbol(made.text);
    parse_callable(made, {"endmacro"});
  }

  void parse_call(Statement& made) {
    made.kind = Statement::Kind::call_block;
    if (state_.now().is_op("(")) made.parameters = parameters();
    made.expr = exprs_.expression();
    if (made.expr->kind != Expr::Kind::call) give_up("expected a call", made.line);
    parse_callable(made, {"endcall"});
  }

  // Break and continue do not reach out of a macro.
  void parse_callable(Statement& made, Ends ends) {
    if (made.kind == Statement::Kind::macro) made.parameters = parameters();
    const int outer = std::exchange(loops_, 0);
    const int mentions = state_.caller_mentions;
    ++state_.open_macros;
    made.bodies.push_back(block(ends));
    --state_.open_macros;
    made.takes_caller = state_.caller_mentions > mentions;
    state_.take();
    loops_ = outer;
  }

  void parse_with(Statement& made) {
    made.kind = Statement::Kind::scope;
    while (state_.now().kind != Token::Kind::block_end && !state_.now().is_op(":")) {
      if (!made.parameters.empty()) state_.expect_op(",");
      Parameter& variable = made.parameters.emplace_back();
      variable.name = state_.expect_any_name();
      variable.symbol = state_.symbol(variable.name);
      state_.expect_op("=");
      variable.fallback = exprs_.expression();
    }
    made.bodies.push_back(block({"endwith"}));
    state_.take();
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> out;
    state_.expect_op("(");
    while (!state_.now().is_op(")")) {
      if (!out.empty()) state_.expect_op(",");
      Parameter& parameter = out.emplace_back();
      parameter.name = state_.expect_any_name();
      parameter.symbol = state_.symbol(parameter.name);
      const bool optional = out.size() > 1 && out[out.size() - 2].fallback != nullptr;
      if (state_.skip_op("=")) {
        parameter.fallback = exprs_.expression();
      } else if (optional) {
        give_up("a parameter without a default follows one with a default", state_.line());
      }
    }
    state_.expect_op(")");
    return out;
  }

  enum class Attributes : uint8_t { allowed, not_here };

  Target assign_targets(Attributes attributes) {
    const ParseState::Nested nested(state_);
    Target first = assign_target(attributes);
    if (!state_.now().is_op(",")) return first;
    Target all{.line = first.line};
    all.parts.push_back(std::move(first));
    while (state_.skip_op(",")) {
      if (state_.now().kind != Token::Kind::name && !state_.now().is_op("(")) break;
      if (state_.now().is_name("in")) break;
      all.parts.push_back(assign_target(attributes));
    }
    return all;
  }

  Target assign_target(Attributes attributes) {
    const int line = state_.line();
    if (state_.skip_op("(")) {
      Target inner = assign_targets(attributes);
      state_.expect_op(")");
      return inner;
    }
    const std::string name = state_.expect_any_name();
    static constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none",
                                                                   "True", "False", "None"};
    if (std::ranges::find(kConstants, name) != kConstants.end() ||
        (name == "loop" && attributes == Attributes::not_here)) {
      give_up("cannot assign to '" + name + "'", line);
    }
    Target target{.symbol = state_.symbol(name), .line = line};
    if (attributes == Attributes::allowed && state_.skip_op("."))
      target.attribute = state_.expect_any_name();
    return target;
  }

  ParseState state_;
  ExprParser exprs_;
  int loops_ = 0;  // open for statements, for break and continue
};

}  // namespace

void ParseState::unexpected() const {
  const Token& token = now();
  give_up("unexpected '" + (token.text.empty() ? "end of the tag" : token.text) + "'", token.line);
}

void ParseState::expect_op(std::string_view op) {
  if (!skip_op(op)) {
    give_up("expected '" + std::string(op) + "' before '" + now().text + "'", line());
  }
}

void ParseState::expect_name(std::string_view name) {
  if (!skip_name(name)) {
    give_up("expected '" + std::string(name) + "' before '" + now().text + "'", line());
  }
}

std::string ParseState::expect_any_name() {
  if (now().kind != Token::Kind::name)
    give_up("expected a name before '" + now().text + "'", line());
  return take().text;
}

void ParseState::expect_kind(Token::Kind kind, std::string_view what) {
  if (now().kind != kind) {
    give_up("expected " + std::string(what) + " before '" + now().text + "'", line());
  }
  take();
}

Symbol ParseState::symbol(const std::string& name) {
  const auto [found, added] =
      program_.symbols.emplace(name, static_cast<Symbol>(program_.names.size()));
  if (added) program_.names.push_back(name);
  return found->second;
}

ParseState::Nested::Nested(ParseState& state) : state_(state) {
  if (++state_.depth_ > kTemplateDepthMax) {
    give_up_too_large(
        "expressions or blocks are nested more than " + std::to_string(kTemplateDepthMax) + " deep",
        state.line());
  }
}

Program parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace troupe::jinja
