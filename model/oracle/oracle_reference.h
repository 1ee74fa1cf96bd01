// The oracle model: a hash chained over the tokens says what comes next. Pure functions, so that a
// test, a client or the simulator can foretell every answer of the oracle backend. Values depend on
// config/mix.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/mix.h"
#include "model/model_spec.h"

namespace troupe {

inline constexpr int32_t kOracleVocab = 4096;  ///< 0 = end, 1-255 bytes, others short ASCII words
inline constexpr int32_t kOracleEnd = 0;
inline constexpr uint64_t kOracleSeed = 1;  ///< of the model, unless told

/// State before any token.
constexpr uint64_t oracle_root(uint64_t model_seed) { return mix64(model_seed); }
/// State after one more token, whether given or generated.
constexpr uint64_t oracle_extend(uint64_t state, int32_t token) {
  return mix64(state, static_cast<uint64_t>(token));
}
/// The token that follows: the end when the top 10 bits are 0 (one in 1,024), else 1..4095.
constexpr int32_t oracle_next(uint64_t state) {
  return state >> 54 == 0 ? kOracleEnd : static_cast<int32_t>(1 + state % (kOracleVocab - 1));
}

/// What the oracle answers to `prompt`: at most `n` tokens; the end token, if it comes, is the last
/// one.
std::vector<int32_t> oracle_continue(uint64_t model_seed, std::span<const int32_t> prompt,
                                     size_t n);
/// The same, going on past the end token (ignore_eos): exactly `n` tokens.
std::vector<int32_t> oracle_continue_past_end(uint64_t model_seed, std::span<const int32_t> prompt,
                                              size_t n);

/// A spec that passes check_spec; only vocab and context mean anything.
ModelSpec oracle_spec();

}  // namespace troupe
