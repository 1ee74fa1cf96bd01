// Cuts a template into tokens as Jinja2 does with trim_blocks and lstrip_blocks: the text between
// tags has its white space trimmed here, comments are dropped, raw sections become text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::jinja {

struct Token {
  enum class Kind : uint8_t {
    data,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    real,
    op,  ///< text is the operator
    end,
  };
  Kind kind = Kind::end;
  std::string text;  ///< of a string: unescaped
  int64_t integer = 0;
  double real = 0;
  int line = 1;

  bool is_op(std::string_view op) const { return kind == Kind::op && text == op; }
  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
};

/// Throws Failure with the line of what cannot be read. The last token is `end`.
std::vector<Token> tokenize(std::string_view source);

}  // namespace troupe::jinja
