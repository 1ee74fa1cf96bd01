// The token stream and the table of names, shared by the two halves of the parser: statements
// (jinja_parser.cpp) and expressions (jinja_parse_expr.cpp).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/text/jinja_ast.h"
#include "model/text/jinja_lexer.h"

namespace troupe::jinja {

class ParseState {
 public:
  explicit ParseState(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  int line() const { return now().line; }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool skip_op(std::string_view op) { return skip_if(now().is_op(op)); }
  bool skip_name(std::string_view name) { return skip_if(now().is_name(name)); }
  void expect_op(std::string_view op);
  void expect_name(std::string_view name);
  std::string expect_any_name();
  void expect_kind(Token::Kind kind, std::string_view what);
  [[noreturn]] void unexpected() const;

  Symbol symbol(const std::string& name);
  Program& program() { return program_; }
  /// How often `caller` was mentioned so far.
  int caller_mentions = 0;
  int open_macros = 0;

  /// Counts nesting while it lives; gives up beyond kTemplateDepthMax.
  class Nested {
   public:
    explicit Nested(ParseState& state);
    ~Nested() { --state_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    ParseState& state_;
  };

 private:
  bool skip_if(bool matches) {
    if (matches) ++at_;
    return matches;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  Program program_;
};

/// Expressions by precedence, weakest first.
class ExprParser {
 public:
  explicit ExprParser(ParseState& state) : state_(state) {}

  enum class Conditionals : uint8_t { allowed, not_here };
  /// One expression, or a tuple without parentheses. `for x in y if z` does not allow conditionals
  /// in y.
  ExprPtr tuple(Conditionals conditionals = Conditionals::allowed);
  ExprPtr expression(Conditionals conditionals = Conditionals::allowed);
  /// `| a | b` on a value that is not yet known (parts[0] of the innermost is null); null if there
  /// is none. `name_first`: filter blocks begin with the filter's name.
  ExprPtr filters_of_block();
  ExprPtr filters_after_name();

 private:
  ExprPtr conditional();
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical_not();
  ExprPtr compare();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  enum class Filters : uint8_t { allowed, not_here };
  ExprPtr unary(Filters filters);
  ExprPtr primary();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr value);
  ExprPtr subscript(ExprPtr value);
  ExprPtr call(ExprPtr callee);
  ExprPtr filter(ExprPtr value);
  ExprPtr test(ExprPtr value);
  ExprPtr filters_and_tests(ExprPtr value);
  void arguments(Expr& call);
  bool at_tuple_end() const;

  ParseState& state_;
};

}  // namespace troupe::jinja
