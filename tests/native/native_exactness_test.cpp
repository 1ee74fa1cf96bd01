// The native backend gives the same bits whatever is asked around a request and however it is
// computed: batch, chunks, preemption, shared prefixes, drafts, threads, instruction set.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "model/native/isa.h"
#include "tests/native/exactness.h"
#include "tests/native/varieties.h"
#include "tests/support/backend_model.h"

using namespace troupe;
using namespace troupe::test;

namespace native_exactness_test {
namespace {

const Budget kBudget{
    .threads = 1, .kv_blocks = 300, .max_rows = 320, .max_slots = 17, .context = 700};

Budget budget(const std::string& isa, int32_t threads, KvType kv = KvType::f16) {
  Budget b = kBudget;
  b.threads = threads;
  b.isa = isa;
  b.kv_type = kv;
  return b;
}

}  // namespace

TEST_CASE("native: every way of computing tiny random models gives the same bits") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  for (const Variety& v : varieties()) {
    CAPTURE(v.name);
    // More than there are slots, and than a tile has rows.
    auto asked = requests(v.spec.vocab, seed,
                          {1, 5, 17, 40, 33, 100, 270, 300, 64, 2, 3, 20, 48, 90, 7, 31}, 12);
    add_choices(asked, 4);
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
  const int best = static_cast<int>(native::best_isa());
  for (KvType kv : {KvType::f16, KvType::int8}) {
    CAPTURE(static_cast<int>(kv));
    BackendModel plain(path, "native", budget("", 1, kv));
    auto asked = requests(plain.spec().vocab, seed, {1, 33, 100, 270, 64, 20}, 16);
    add_choices(asked, 1);
    const auto expected = run_plain(plain.partition(), asked);
    for (int threads : {1, 2, 3}) {
      if (kv == KvType::int8 && threads != 2) continue;  // differs in what attention reads alone
      for (int isa = 1; isa <= best; ++isa) {
        const std::string name(native::name_of(static_cast<native::Isa>(isa)));
        CAPTURE(name);
        CAPTURE(threads);
        BackendModel model(path, "native", budget(name, threads, kv));
        CHECK(model.capabilities.numerics_id == plain.capabilities.numerics_id);
        const auto got = run_capricious(model.partition(), asked, expected,
                                        {seed + static_cast<uint64_t>(threads), kBudget.kv_blocks,
                                         kBudget.max_rows, kBudget.max_slots});
        CHECK(difference(expected, got) == "");
      }
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
    asked[i].sampling = {
        .seed = 77, .choice = static_cast<int32_t>(i), .temperature = 1, .n_logprobs = 2};
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
        take(*output, s, together[static_cast<size_t>(output->slices[s].slot)]);
    }
  }
  CHECK(difference(alone, together) == "");
  // Choices that all said the same would prove little.
  CHECK(std::ranges::count_if(alone, [&](auto& a) { return a.tokens != alone[0].tokens; }) > 0);
}

}  // namespace native_exactness_test
