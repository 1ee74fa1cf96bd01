// A warm step of the native backend, from submit() to its answer, asks for no memory.
#include <doctest/doctest.h>

#include "tests/native/varieties.h"
#include "tests/support/backend_model.h"
#include "tests/unit/allocations.h"

using namespace troupe;
using namespace troupe::test;

namespace native_allocations_test {
namespace {

constexpr int32_t kSlots = 3, kBlocks = 16, kPrompt = 20, kWarm = 8, kSteps = 200;

/// A prompt in each slot, then a token in each, named by the row that draws it.
std::vector<StepPlan> plans_of(StepDriver& driver, int32_t vocab) {
  const std::vector<SlotOpen> slots{
      {.slot = 0, .temperature = 0, .n_logprobs = -1},
      {.slot = 1, .seed = 5, .temperature = 1},
      {.slot = 2, .seed = 6, .temperature = 1.2f, .top_p = 0.9f, .top_k = 20, .n_logprobs = 4}};
  std::vector<StepPlan> plans;
  for (int32_t step = 0; step <= kWarm + kSteps; ++step) {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      Piece piece{.slot = slot,
                  .pos0 = step == 0 ? 0 : kPrompt + step - 1,
                  .tokens = {-1 - slot},
                  .table = table_from(slot * kBlocks, static_cast<size_t>(kPrompt + step))};
      if (step == 0) {
        driver.open(slots[static_cast<size_t>(slot)]);
        piece.tokens.clear();
        for (int32_t i = 0; i < kPrompt; ++i) piece.tokens.push_back((7 * i + slot) % vocab);
      }
      driver.add(piece);
    }
    plans.push_back(driver.seal());
  }
  return plans;
}

}  // namespace

TEST_CASE("native: a warm decode step of a tiny random model allocates nothing") {
  for (const Variety& v : varieties()) {
    CAPTURE(v.name);
    for (KvType kv : {KvType::f16, KvType::int8}) {
      CAPTURE(static_cast<int>(kv));
      // The rotation table has 256 positions from the start.
      Budget budget{.threads = 1,
                    .kv_blocks = kSlots * kBlocks,
                    .max_rows = kSlots * kPrompt,
                    .max_slots = kSlots,
                    .context = kBlocks * kBlockPositions};
      budget.kv_type = kv;
      BackendModel model(made_of(v, 3), "native", budget);
      const std::vector<StepPlan> plans = plans_of(model.driver, v.spec.vocab);
      uint64_t cold = 0, warm = 0;
      for (size_t i = 0; i < plans.size(); ++i) {
        const uint64_t before = allocations_of_this_thread();
        const auto output = model.partition().wait(model.partition().submit(plans[i]), 60s);
        const uint64_t after = allocations_of_this_thread();
        REQUIRE_MESSAGE(output.has_value(), message_of(output));
        REQUIRE((*output)->tokens.size() == kSlots);
        (i <= kWarm ? cold : warm) += after - before;
      }
      CHECK(cold > 0);
      CHECK(warm == 0);
    }
  }
}

}  // namespace native_allocations_test
