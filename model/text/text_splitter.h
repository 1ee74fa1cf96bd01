// The steps before a model's own splitting: invalid bytes are set apart, added tokens found, text
// normalised. Order and edge rules follow Hugging Face's AddedVocabulary. Immutable once built; any
// number of threads.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "config/ids.h"
#include "model/text/token_trie.h"
#include "model/tokenizer.h"
#include "model/tokenizer_spec.h"

namespace troupe {

struct Segment {
  enum class Kind : uint8_t {
    text,   ///< valid UTF-8, normalised: goes to the model
    token,  ///< an added token
    bytes,  ///< not UTF-8
  };
  Kind kind = Kind::text;
  std::string_view text;
  TokenId token{};
};

class TextSplitter {
 public:
  /// Keeps no reference to `spec`.
  explicit TextSplitter(const TokenizerSpec& spec);

  /// Segments in order, none empty. They view `text` or, where normalising changed it, `storage`.
  std::vector<Segment> split(std::string_view text, SpecialText special,
                             std::deque<std::string>& storage) const;

 private:
  /// Added tokens that are looked for together: before or after normalising.
  struct Set {
    explicit Set(std::vector<AddedToken> of);
    void split(std::string_view text, SpecialText special, std::vector<Segment>& out) const;
    std::vector<AddedToken> tokens;
    TokenTrie trie;
  };

  Set raw_, normalized_;
  bool nfc_;
};

}  // namespace troupe
