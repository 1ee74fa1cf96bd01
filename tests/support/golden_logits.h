// Reads the files of expected logits (format: tests/golden/README.md) and compares
// log-probabilities with them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::test {

struct GoldenPosition {
  float log_sum_exp = 0;
  std::vector<float> fixed;  ///< raw logits of GoldenLogits::fixed_ids
  std::vector<int32_t> top;  ///< best first
  std::vector<float> top_logits;
};

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<GoldenPosition> positions;
};

struct GoldenLogits {
  uint32_t vocab = 0;
  std::vector<int32_t> fixed_ids;
  std::vector<GoldenPrompt> prompts;
};

GoldenLogits read_golden_logits(const std::string& path);

/// Largest |difference| between log-probabilities by id and the golden ones, over fixed and top
/// ids.
double worst_difference(const GoldenLogits& golden, const GoldenPosition& expected,
                        const std::vector<float>& logprobs);

}  // namespace troupe::test
