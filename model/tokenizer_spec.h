// A tokenizer as data, whatever file it came from. Small enough to travel to routers, so that a
// router needs no model file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/ids.h"

namespace troupe {

enum class TokenizerKind : uint8_t {
  byte_bpe,  ///< GPT-2 style: bytes mapped to printable characters, merges by rank
  spm_bpe,   ///< SentencePiece BPE: U+2581 for space, merges by score (or by rank), byte fallback
  oracle,    ///< built-in vocabulary of the oracle backend
};

enum class TokenType : uint8_t { normal, unknown, control, user_defined, unused, byte };

struct TokenEntry {
  std::string
      text;  ///< byte_bpe: in the byte-to-character alphabet for normal tokens; else plain UTF-8
  TokenType type = TokenType::normal;
  float score = 0;  ///< spm_bpe
  bool operator==(const TokenEntry&) const = default;
};

/// An added token is found in text before the model's own splitting. `special` ones are matched
/// only when the caller allows it (template text), never in user content.
struct AddedToken {
  TokenId id;
  std::string text;
  bool special = false, lstrip = false, rstrip = false, single_word = false, normalized = false;
  bool operator==(const AddedToken&) const = default;
};

struct TokenizerSpec {
  TokenizerKind kind = TokenizerKind::byte_bpe;
  std::string pre;  ///< name of the pre-split ("gpt2", "smollm", "llama-bpe", "qwen2"), for people;
                    ///< see pre_split
  /// PCRE2 patterns applied in order; each splits the pieces the one before left, matches and gaps
  /// alike are pieces. Empty for spm_bpe.
  std::vector<std::string> pre_split;
  bool nfc = false;                ///< normalise text to NFC first (Qwen)
  bool ignore_merges = false;      ///< a piece that is itself a token is taken whole (Llama 3)
  bool byte_fallback = false;      ///< spm_bpe: unknown characters become <0xNN> tokens
  bool add_space_prefix = false;   ///< spm_bpe: before each text between added tokens
  bool space_prefix_once = false;  ///< spm_bpe: only at the very start (Mistral v0.3)
  bool merges_by_rank = true;      ///< false: by score (SentencePiece from GGUF)
  std::vector<TokenEntry> tokens;  ///< index = id
  std::vector<std::pair<std::string, std::string>> merges;  ///< best first
  std::vector<AddedToken> added;
  std::optional<TokenId> bos, eos, unk, pad;
  bool add_bos = false, add_eos = false;
  std::vector<TokenId>
      end_of_generation;  ///< eos, end of turn, end of message: any of them ends an answer
  bool operator==(const TokenizerSpec&) const = default;
};

}  // namespace troupe
