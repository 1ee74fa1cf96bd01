// The oracle backend's vocabulary. Words are made from syllables by counting, so that they are
// short, distinct and the same on every machine.
#include <string>
#include <string_view>

#include "model/tokenizer.h"

namespace troupe {

namespace {

constexpr int kVocabulary = 4'096;
constexpr std::string_view kOnsets = "bdfghklmnprstvwz";
constexpr std::string_view kVowels = "aeiou";
constexpr int kSyllables = 16 * 5;

std::string syllable(int i) {
  return std::string{kOnsets[static_cast<size_t>(i / 5)], kVowels[static_cast<size_t>(i % 5)]};
}

/// First the 80 words of one syllable, then words of two: 6,480 distinct ones.
std::string word(int n) {
  if (n < kSyllables) return " " + syllable(n);
  // A factor prime to 6,400 spreads the words over the alphabet, instead of stopping at "n".
  const int pair = (n - kSyllables) * 2'621 % (kSyllables * kSyllables);
  return " " + syllable(pair / kSyllables) + syllable(pair % kSyllables);
}

}  // namespace

TokenizerSpec oracle_tokenizer_spec() {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::oracle;
  spec.tokens.push_back({"<end>", TokenType::control});
  for (int byte = 1; byte < 256; ++byte)
    spec.tokens.push_back({std::string(1, static_cast<char>(byte)), TokenType::byte});
  spec.tokens.push_back({std::string(1, '\0'), TokenType::byte});  // id 0 is taken by the end
  for (int i = 0; static_cast<int>(spec.tokens.size()) < kVocabulary; ++i)
    spec.tokens.push_back({word(i)});
  spec.eos = TokenId(0);
  spec.end_of_generation = {TokenId(0)};
  return spec;
}

}  // namespace troupe
