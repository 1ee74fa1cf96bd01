// The native backend gives the same bits whatever is asked around a request and however it is
// computed: batch, chunks, preemption, shared prefixes, drafts, threads, instruction set.
#include <doctest/doctest.h>

#include <random>

#include "model/native/isa.h"
#include "tests/native/exactness.h"
#include "tests/native/random_model.h"
#include "tests/support/backend_model.h"

using namespace troupe;
using namespace troupe::test;

namespace {

const Budget kBudget{
    .threads = 1, .kv_blocks = 300, .max_rows = 320, .max_slots = 12, .context = 700};

Budget budget(const std::string& isa, int32_t threads, KvType kv = KvType::f16) {
  Budget b = kBudget;
  b.threads = threads;
  b.isa = isa;
  b.kv_type = kv;
  return b;
}

/// One variety of model.
struct Variety {
  const char* name;
  ModelSpec spec;
  std::vector<DType> formats;  ///< matrices take turns
};

ModelSpec spec_of(int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t hidden, int32_t ffn,
                  int32_t vocab) {
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

std::vector<Variety> varieties() {
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

OpenedModel made_of(const Variety& v, uint64_t seed) {
  return random_model(v.spec, seed, [&v](TensorId id) {
    const auto turn = static_cast<size_t>(id.kind) + static_cast<size_t>(id.layer + 1);
    return v.formats[turn % v.formats.size()];
  });
}

SlotOpen sampling(int32_t variety) {
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
std::vector<ExactRequest> requests(int32_t vocab, uint64_t seed, std::vector<int32_t> lengths,
                                   int32_t answer) {
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

}  // namespace

TEST_CASE("native: every way of computing tiny random models gives the same bits") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  for (const Variety& v : varieties()) {
    CAPTURE(v.name);
    const auto asked = requests(v.spec.vocab, seed, {1, 5, 17, 40, 33, 100, 270, 300, 64, 2}, 12);
    for (KvType kv : {KvType::f16, KvType::int8}) {
      CAPTURE(static_cast<int>(kv));
      BackendModel oracle(made_of(v, seed), "native", budget("scalar", 1, kv));
      const auto expected = run_plain(oracle.partition(), asked);
      for (int isa = 0; isa <= static_cast<int>(native::best_isa()); ++isa) {
        const std::string name(native::name_of(static_cast<native::Isa>(isa)));
        CAPTURE(name);
        const int threads = 1 + (isa + static_cast<int>(kv)) % 3;
        BackendModel model(made_of(v, seed), "native", budget(name, threads, kv));
        CHECK(model.capabilities.numerics_id == oracle.capabilities.numerics_id);
        const auto got = run_capricious(model.partition(), asked, expected,
                                        {seed + static_cast<uint64_t>(isa), kBudget.kv_blocks,
                                         kBudget.max_rows, kBudget.max_slots});
        CHECK(difference(expected, got) == "");
      }
    }
  }
}

TEST_CASE("native: every way of computing SmolLM2 gives the same bits") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  const std::string path = std::string(TROUPE_DEPS_DIR) + "/models/smollm2.gguf";
  BackendModel plain(path, "native", budget("", 1));
  const auto asked = requests(plain.spec().vocab, seed, {1, 33, 100, 270, 64, 20}, 16);
  const auto expected = run_plain(plain.partition(), asked);
  for (int threads : {2, 3}) {
    for (int isa = 1; isa <= static_cast<int>(native::best_isa()); ++isa) {
      const std::string name(native::name_of(static_cast<native::Isa>(isa)));
      CAPTURE(name);
      BackendModel model(path, "native", budget(name, threads));
      CHECK(model.capabilities.numerics_id == plain.capabilities.numerics_id);
      const auto got = run_capricious(model.partition(), asked, expected,
                                      {seed + static_cast<uint64_t>(threads), kBudget.kv_blocks,
                                       kBudget.max_rows, kBudget.max_slots});
      CHECK(difference(expected, got) == "");
    }
  }
}

TEST_CASE("native: a choice of a seeded request is the same in a batch of 16") {
  const std::string path = std::string(TROUPE_DEPS_DIR) + "/models/smollm2.gguf";
  Budget b = budget("", 2);
  b.max_slots = 20;
  BackendModel model(path, "native", b);
  auto asked = requests(model.spec().vocab, 5, std::vector<int32_t>(16, 24), 8);
  for (size_t i = 0; i < asked.size(); ++i) {
    asked[i].prompt = asked[0].prompt;
    asked[i].sampling = {.seed = 77, .choice = static_cast<int32_t>(i), .temperature = 1};
  }
  const auto alone = run_plain(model.partition(), asked);
  BackendModel batched(path, "native", b);
  StepDriver driver(batched.partition());
  std::vector<ExactAnswer> together(asked.size());
  for (int32_t step = 0; step < 8; ++step) {
    for (int32_t i = 0; i < 16; ++i) {
      ExactRequest& r = asked[static_cast<size_t>(i)];
      const auto& got = together[static_cast<size_t>(i)].tokens;
      SlotOpen open = r.sampling;
      open.slot = i;
      if (step == 0) driver.open(open);
      driver.add({.slot = i,
                  .pos0 = step == 0 ? 0 : 23 + step,
                  .tokens = step == 0 ? r.prompt : std::vector<int32_t>{got.back()},
                  .table = table_from(3 * i, 48)});
      if (step == 0 && i % 8 != 7) continue;
      if (step > 0 && i != 15) continue;
      const auto output = driver.run();
      REQUIRE(output.has_value());
      for (size_t s = 0; s < output->slices.size(); ++s)
        together[static_cast<size_t>(output->slices[s].slot)].tokens.push_back(output->tokens[s]);
    }
  }
  for (size_t i = 0; i < asked.size(); ++i) CHECK(together[i].tokens == alone[i].tokens);
}
