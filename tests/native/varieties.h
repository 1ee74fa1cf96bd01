// Tiny models of every kind, and requests to ask of them.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "tests/native/exactness.h"
#include "tests/native/random_model.h"

namespace troupe::test {

/// One variety of model.
struct Variety {
  const char* name;
  ModelSpec spec;
  std::vector<DType> formats;  ///< matrices take turns
};

inline ModelSpec spec_of(int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t hidden,
                         int32_t ffn, int32_t vocab) {
  ModelSpec s;
  s.architecture = "llama";
  s.n_layers = 3;
  s.n_heads = heads;
  s.n_kv_heads = kv_heads;
  s.head_dim = head_dim;
  s.hidden = hidden;
  s.ffn = ffn;
  s.vocab = vocab;
  s.context = 1024;
  return s;
}

inline std::vector<Variety> varieties() {
  std::vector<Variety> all;
  // No size is a multiple of any tile, so the weights are floats.
  all.push_back({"floats", spec_of(1, 1, 20, 36, 50, 77), {DType::f32, DType::f16, DType::bf16}});
  all.push_back({"ratio 3, tied", spec_of(3, 1, 32, 96, 160, 301), {DType::q4_1, DType::q8_0}});
  all.back().spec.tied_embeddings = true;
  all.push_back(
      {"9 heads", spec_of(9, 3, 32, 96, 96, 130), {DType::q4_0, DType::q5_0, DType::q5_1}});
  all.push_back({"ratio 8, q/k norm",
                 spec_of(8, 1, 32, 256, 512, 515),
                 {DType::q4_k, DType::q5_k, DType::q6_k}});
  all.back().spec.qk_norm = true;
  all.push_back({"biases, window", spec_of(4, 2, 24, 64, 96, 200), {DType::q8_0, DType::q4_1}});
  all.back().spec.qkv_bias = all.back().spec.o_bias = all.back().spec.mlp_bias = true;
  all.back().spec.sliding_window = 40;
  return all;
}

inline OpenedModel made_of(const Variety& v, uint64_t seed) {
  return random_model(v.spec, seed, [&v](TensorId id) {
    const auto turn = static_cast<size_t>(id.kind) + static_cast<size_t>(id.layer + 1);
    return v.formats[turn % v.formats.size()];
  });
}

inline SlotOpen sampling(int32_t variety) {
  switch (variety % 5) {
    case 0:
      return {.temperature = 0, .n_logprobs = -1};
    case 1:
      return {.temperature = 0, .n_logprobs = 4};
    case 2:
      return {.seed = 11, .temperature = 0.8f, .n_logprobs = 0};
    case 3:
      return {.seed = 12, .temperature = 1.2f, .top_p = 0.9f, .top_k = 20, .n_logprobs = -1};
    default:
      return {.seed = 13,
              .temperature = 0.7f,
              .repetition = 1.3f,
              .presence = 0.2f,
              .frequency = 0.1f,
              .n_logprobs = 2};
  }
}

/// Prompts of many lengths; some begin alike.
inline std::vector<ExactRequest> requests(int32_t vocab, uint64_t seed,
                                          std::vector<int32_t> lengths, int32_t answer) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int32_t> token(1, vocab - 1);
  std::vector<int32_t> common;
  for (int i = 0; i < 400; ++i) common.push_back(token(random));
  std::vector<ExactRequest> all;
  for (size_t i = 0; i < lengths.size(); ++i) {
    ExactRequest r;
    r.prompt.assign(common.begin(), common.begin() + lengths[i]);
    if (i % 3 == 2)
      for (int32_t& t : r.prompt) t = token(random);
    r.prompt.back() = token(random);
    r.answer = answer;
    r.sampling = sampling(static_cast<int32_t>(i));
    all.push_back(std::move(r));
  }
  return all;
}

/// Three choices of request `which`, of which it becomes the first: prompts that are equal to the
/// last token, and draws that are not.
inline void add_choices(std::vector<ExactRequest>& all, size_t which) {
  all[which].sampling = {.seed = 14, .temperature = 1, .n_logprobs = 1};
  for (int32_t choice : {1, 2}) {
    all.push_back(all[which]);
    all.back().sampling.choice = choice;
  }
}

}  // namespace troupe::test
