// A pre-split pattern: PCRE2 with JIT, UTF and UCP. Immutable once compiled; any number of threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

struct pcre2_real_code_8;

namespace troupe {

class Pattern {
 public:
  /// Patterns are written for Oniguruma (Hugging Face). Where the two dialects differ, its meaning
  /// is taken: \s is Unicode White_Space (PCRE2 adds U+180E).
  static Result<Pattern> compile(const std::string& pattern);

  /// Appends the pieces of `text` (valid UTF-8) to `out`: matches and the gaps between them, in
  /// order, none empty. Should the engine give up (its match limit), the rest of the text is one
  /// piece.
  void split(std::string_view text, std::vector<std::string_view>& out) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace troupe
