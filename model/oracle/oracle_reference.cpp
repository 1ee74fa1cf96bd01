#include "model/oracle/oracle_reference.h"

#include <algorithm>

namespace troupe {

std::vector<int32_t> oracle_continue_past_end(uint64_t model_seed, std::span<const int32_t> prompt,
                                              size_t n) {
  uint64_t state = oracle_root(model_seed);
  for (int32_t token : prompt) state = oracle_extend(state, token);
  std::vector<int32_t> answer;
  while (answer.size() < n) {
    answer.push_back(oracle_next(state));
    state = oracle_extend(state, answer.back());
  }
  return answer;
}

std::vector<int32_t> oracle_continue(uint64_t model_seed, std::span<const int32_t> prompt,
                                     size_t n) {
  std::vector<int32_t> answer = oracle_continue_past_end(model_seed, prompt, n);
  const auto end = std::find(answer.begin(), answer.end(), kOracleEnd);
  if (end != answer.end()) answer.erase(end + 1, answer.end());
  return answer;
}

ModelSpec oracle_spec() {
  ModelSpec spec;
  spec.architecture = "oracle";
  spec.n_layers = spec.n_heads = spec.n_kv_heads = 1;
  spec.hidden = spec.ffn = spec.head_dim = 32;
  spec.vocab = kOracleVocab;
  spec.context = 32'768;
  return spec;
}

}  // namespace troupe
