#include "model/text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

// Undoes the escapes of a string literal (jinja_escape.cpp).
std::string unescape(std::string_view text, int line);

namespace {

// Longest first, so that "//" is not two divisions.
constexpr std::array<std::string_view, 26> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool is_digit_byte(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name_byte(char c) { return is_name_start(c) || is_digit_byte(c); }

// One kind of line break; a single one at the end is dropped, as Jinja2 does.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text();
    push(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  enum class Tag : uint8_t { variable, block };

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view text) const { return rest().starts_with(text); }

  void advance(size_t count) {
    line_ += static_cast<int>(std::ranges::count(rest().substr(0, count), '\n'));
    at_ += count;
  }

  void skip_blanks() {
    while (at_ < source_.size()) {
      const CodePoint c = code_point_at(source_, at_);
      if (!is_blank(c.value)) return;
      advance(c.bytes);
    }
  }

  void push(Token::Kind kind, std::string text) {
    tokens_.push_back(Token{.kind = kind, .text = std::move(text), .line = line_});
  }

  void push_data(std::string_view text) {
    if (!text.empty()) push(Token::Kind::data, std::string(text));
  }

  // Text up to the next tag, then that tag.
  void lex_text() {
    const size_t start = at_;
    size_t open = start;
    for (;; ++open) {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 >= source_.size()) {
        push_data(rest());
        advance(source_.size() - at_);
        return;
      }
      const char next = source_[open + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    const char type = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    const std::string_view text = std::string_view(source_).substr(start, open - start);
    push_data(trim_before(text, sign, type == '{' ? Tag::variable : Tag::block));
    advance(open - start + 2);
    if (type == '#') {
      if (sign == '-' || sign == '+') advance(1);
      skip_comment();
      return;
    }
    if (type == '%' && lex_raw()) return;
    if (sign == '-' || sign == '+') advance(1);
    lex_tag(type == '{' ? Tag::variable : Tag::block);
  }

  std::string_view trim_before(std::string_view text, char sign, Tag tag) const {
    if (sign == '-') return strip(text, std::nullopt, Side::right);
    if (sign == '+' || tag == Tag::variable) return text;
    const size_t newline = text.rfind('\n');
    if (newline == std::string_view::npos && !line_starting_) return text;
    const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
    return strip(text.substr(start), std::nullopt, Side::both).empty() ? text.substr(0, start)
                                                                       : text;
  }

  // The end of a tag: `-%}` eats blanks, `%}` one line break, `+%}` nothing. False if it is not
  // there.
  bool end_tag(std::string_view close, Tag tag) {
    if (rest().starts_with('-') && rest().substr(1).starts_with(close)) {
      advance(1 + close.size());
      skip_blanks();
    } else if (tag == Tag::block && rest().starts_with('+') &&
               rest().substr(1).starts_with(close)) {
      advance(1 + close.size());
    } else if (looking_at(close)) {
      advance(close.size());
      if (tag == Tag::block && looking_at("\n")) advance(1);
    } else {
      return false;
    }
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  void skip_comment() {
    const int line = line_;
    while (at_ < source_.size()) {
      if (end_tag("#}", Tag::block)) return;
      advance(1);
    }
    give_up("a comment is not closed", line);
  }

  // After "{%". Only `-` before its end is understood in `{% raw %}`, and no line break is eaten
  // after it.
  bool lex_raw() {
    const size_t start = at_;
    const int line = line_;
    const auto back = [&] {
      at_ = start;
      line_ = line;
      return false;
    };
    if (looking_at("-") || looking_at("+")) advance(1);
    skip_blanks();
    if (!looking_at("raw")) return back();
    advance(3);
    skip_blanks();
    if (looking_at("-%}")) {
      advance(3);
      skip_blanks();
    } else if (looking_at("%}")) {
      advance(2);
    } else {
      return back();
    }
    line_starting_ = source_[at_ - 1] == '\n';
    const size_t text_start = at_;
    for (size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 1)) {
      advance(open + 2 - at_);
      const char sign = looking_at("-") ? '-' : looking_at("+") ? '+' : '\0';
      if (sign != '\0') advance(1);
      skip_blanks();
      if (!looking_at("endraw")) continue;
      advance(6);
      skip_blanks();
      const auto text = std::string_view(source_).substr(text_start, open - text_start);
      const std::string data(trim_before(text, sign, Tag::block));
      if (!end_tag("%}", Tag::block)) continue;
      push_data(data);
      return true;
    }
    give_up("a raw section is not closed", line);
  }

  void lex_tag(Tag tag) {
    const bool is_block = tag == Tag::block;
    const int line = line_;
    push(is_block ? Token::Kind::block_begin : Token::Kind::variable_begin, "");
    std::string closers;
    while (true) {
      if (closers.empty() && end_tag(is_block ? "%}" : "}}", tag)) break;
      if (at_ >= source_.size()) give_up("a tag is not closed", line);
      lex_token(closers);
    }
    push(is_block ? Token::Kind::block_end : Token::Kind::variable_end, "");
  }

  void lex_token(std::string& closers) {
    const CodePoint c = code_point_at(source_, at_);
    if (is_blank(c.value)) {
      advance(c.bytes);
    } else if (is_digit_byte(source_[at_])) {
      lex_number();
    } else if (is_name_start(source_[at_])) {
      size_t end = at_;
      while (end < source_.size() && is_name_byte(source_[end])) ++end;
      push(Token::Kind::name, source_.substr(at_, end - at_));
      advance(end - at_);
    } else if (source_[at_] == '"' || source_[at_] == '\'') {
      lex_string(source_[at_]);
    } else {
      lex_operator(closers);
    }
  }

  void lex_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) give_up("a string is not closed", line_);
    push(Token::Kind::string, unescape(source_.substr(at_ + 1, end - at_ - 1), line_));
    advance(end + 1 - at_);
  }

  // Digits with single underscores between them, from `from`; returns where they end.
  size_t digits_end(size_t from) const {
    size_t end = from;
    while (end < source_.size() &&
           (is_digit_byte(source_[end]) ||
            (source_[end] == '_' && end > from && end + 1 < source_.size() &&
             is_digit_byte(source_[end + 1])))) {
      ++end;
    }
    return end;
  }

  void lex_number() {
    const bool after_dot = !tokens_.empty() && tokens_.back().is_op(".") && source_[at_ - 1] == '.';
    size_t end = digits_end(at_);
    bool is_real = false;
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit_byte(source_[end + 1])) {
        end = digits_end(end + 1);
        is_real = true;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        size_t digits = end + 1;
        if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-')) ++digits;
        if (digits < source_.size() && is_digit_byte(source_[digits])) {
          end = digits_end(digits);
          is_real = true;
        }
      }
    }
    if (end == at_ + 1 && source_[at_] == '0' && end < source_.size() &&
        (source_[end] == 'x' || source_[end] == 'o' || source_[end] == 'b')) {
      give_up_unsupported("a number that is not decimal", line_);
    }
    std::string digits = source_.substr(at_, end - at_);
    std::erase(digits, '_');
    Token token{
        .kind = is_real ? Token::Kind::real : Token::Kind::integer, .text = digits, .line = line_};
    if (is_real) {
      token.real = std::strtod(digits.c_str(), nullptr);
    } else if (std::from_chars(digits.data(), digits.data() + digits.size(), token.integer).ec !=
               std::errc{}) {
      give_up_unsupported("an integer beyond 64 bits", line_);
    }
    tokens_.push_back(std::move(token));
    advance(end - at_);
  }

  void lex_operator(std::string& closers) {
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      const char c = op[0];
      if (c == '(' || c == '[' || c == '{') {
        closers += c == '(' ? ')' : c == '[' ? ']' : '}';
      } else if (c == ')' || c == ']' || c == '}') {
        if (closers.empty() || closers.back() != c)
          give_up("unexpected '" + std::string(op) + "'", line_);
        closers.pop_back();
      }
      push(Token::Kind::op, std::string(op));
      advance(op.size());
      return;
    }
    const size_t bytes = code_point_at(source_, at_).bytes;
    give_up("unexpected character '" + source_.substr(at_, bytes) + "'", line_);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // whether the text before the next tag begins a line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace troupe::jinja
