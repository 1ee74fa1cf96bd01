// UTF-8 and the few character properties a tokenizer needs. Pure functions; none throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

struct Utf8Char {
  char32_t code = 0;
  uint8_t bytes = 0;  ///< length; of an invalid sequence the length of its maximal subpart (1..3)
  bool valid = false;
  bool cut_off = false;  ///< invalid only because the text ends: more bytes may complete it
};

/// The first character of `text`, which must not be empty. Overlong forms, surrogates and codes
/// above U+10FFFF are invalid. Maximal subparts as in the Unicode standard, section 3.9 (what
/// Python and Rust replace by one U+FFFD).
Utf8Char first_char(std::string_view text);

/// Number of leading bytes of `text` that are valid UTF-8.
size_t valid_prefix(std::string_view text);

void append_utf8(std::string& out, char32_t code);

/// Unicode White_Space, and what a regular expression calls a word character.
bool is_white_space(char32_t code);
bool is_word(char32_t code);

/// Normalisation form C. `text` must be valid UTF-8. Most text is already normal, which is found
/// without copying: then the result is `text` itself, else a view of `storage`.
std::string_view to_nfc(std::string_view text, std::string& storage);

/// Bytes to valid UTF-8 as they arrive: each maximal invalid subpart becomes one U+FFFD, a
/// character that is not complete yet waits (at most 3 bytes).
class LossyUtf8 {
 public:
  /// Appends what is certain to `out`.
  void push(std::string_view bytes, std::string& out);
  /// No more bytes: an unfinished character becomes U+FFFD.
  void finish(std::string& out);

 private:
  std::string waiting_;
};

}  // namespace troupe
