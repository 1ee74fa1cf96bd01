// However a model is split over ranks, the native backend gives the bits of one rank; and a group
// that breaks ends on every rank.
#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <random>

#include "model/native/isa.h"
#include "tests/native/exactness.h"
#include "tests/native/ranked_model.h"
#include "tests/native/varieties.h"

using namespace troupe;
using namespace troupe::test;

namespace native_ranks_test {
namespace {

Budget budget(const std::string& isa, int32_t threads, KvType kv = KvType::f16) {
  Budget b{.threads = threads, .kv_blocks = 200, .max_rows = 200, .max_slots = 12, .context = 500};
  b.isa = isa;
  b.kv_type = kv;
  return b;
}

std::string isa_of(int number) {
  return std::string(native::name_of(
      static_cast<native::Isa>(number % (static_cast<int>(native::best_isa()) + 1))));
}

/// One prompt of `rows` rows, token 1 again and again.
Result<StepOutput> one_step(StepDriver& driver, int32_t rows, int32_t slot = 0,
                            Duration timeout = 60s) {
  driver.open({.slot = slot, .temperature = 0, .n_logprobs = -1});
  driver.add({.slot = slot,
              .tokens = std::vector<int32_t>(static_cast<size_t>(rows), 1),
              .table = table_from(0, static_cast<size_t>(rows))});
  return driver.run(timeout);
}
Result<StepOutput> one_step(Partition& partition, int32_t rows, Duration timeout = 60s) {
  StepDriver driver(partition);
  return one_step(driver, rows, 0, timeout);
}

}  // namespace

TEST_CASE("native ranks: every split of tiny random models gives the bits of one rank") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  int turn = 0;
  for (const Variety& v : varieties()) {
    CAPTURE(v.name);
    const auto asked = requests(v.spec.vocab, seed, {1, 5, 17, 40, 33, 100, 64, 2}, 8);
    const OpenedModel made = made_of(v, seed);
    for (KvType kv : {KvType::f16, KvType::int8}) {
      BackendModel oracle(made, "native", budget("scalar", 1, kv));
      const auto expected = run_plain(oracle.partition(), asked);
      for (int32_t tp : {1, 2, 3, 5, 9})
        for (int32_t pp : {1, 2, 3}) {
          if (tp > v.spec.n_heads || tp * pp == 1) continue;
          ++turn;
          // Every layout meets one KV format, every instruction set many layouts.
          if ((tp + pp + static_cast<int32_t>(kv)) % 2 == 0) continue;
          CAPTURE(tp);
          CAPTURE(pp);
          const Budget b = budget(isa_of(turn), 1 + turn % 2, kv);
          CAPTURE(b.isa);
          RankedModel model(made, tp, pp, b);
          for (const Capabilities& c : model.capabilities) {
            CHECK(c.numerics_id == oracle.capabilities.numerics_id);
            CHECK(c.kv_layout_id == oracle.capabilities.kv_layout_id);
          }
          model.follow();
          const auto got = run_capricious(
              model.partition(), asked, expected,
              {seed + static_cast<uint64_t>(turn), b.kv_blocks, b.max_rows, b.max_slots, pp});
          CHECK(difference(expected, got) == "");
          for (const Error& e : model.end()) CHECK(e.code == ErrorCode::aborted);
        }
    }
  }
}

TEST_CASE("native ranks: SmolLM2 on several ranks gives the bits of one rank") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  const OpenedModel opened =
      BackendModel::open(std::string(TROUPE_DEPS_DIR) + "/models/smollm2.gguf");
  Budget b = budget("", 1);
  b.kv_blocks = 60;
  BackendModel plain(opened, "native", b);
  const auto asked = requests(plain.spec().vocab, seed, {1, 33, 100, 20, 40}, 4);
  const auto expected = run_plain(plain.partition(), asked);
  struct Layout {
    int32_t tp, pp;
  };
  for (const Layout l : {Layout{2, 1}, {3, 1}, {5, 1}, {1, 2}, {1, 3}, {2, 2}}) {
    CAPTURE(l.tp);
    CAPTURE(l.pp);
    RankedModel model(opened, l.tp, l.pp, b);
    CHECK(model.capabilities[0].numerics_id == plain.capabilities.numerics_id);
    model.follow();
    const auto got = run_capricious(model.partition(), asked, expected,
                                    {seed, b.kv_blocks, b.max_rows, b.max_slots, l.pp});
    CHECK(difference(expected, got) == "");
  }
}

TEST_CASE("native ranks: a tiny model's KV on several ranks is the KV of one") {
  const Variety v = varieties()[2];  // 9 heads, 3 kv heads
  const OpenedModel made = made_of(v, 3);
  BackendModel whole(made, "native", budget("", 1));
  RankedModel split(made, 2, 2, budget("", 1));
  split.follow();
  REQUIRE(one_step(whole.partition(), 40).has_value());
  REQUIRE(one_step(split.partition(), 40).has_value());
  split.end();
  std::vector<std::byte> expected(2 * 16 * 32 * 2), got(expected.size());
  int found = 0, elsewhere = 0;
  for (int32_t layer = 0; layer < v.spec.n_layers; ++layer)
    for (int32_t head = 0; head < v.spec.n_kv_heads; ++head) {
      BlockImage image{.layer = layer, .kv_head = head, .bytes = expected};
      REQUIRE(whole.partition().export_block(BlockId{1}, image).has_value());
      for (size_t r = 0; r < split.plan().ranks.size(); ++r) {
        BlockImage part{.layer = layer, .kv_head = head, .bytes = got};
        const auto exported = split.rank(r).export_block(BlockId{1}, part);
        const RankPlan& rank = split.plan().ranks[r];
        const bool here = layer >= rank.first_layer && layer < rank.last_layer &&
                          head >= rank.kv_heads.begin && head < rank.kv_heads.end;
        CHECK(exported.has_value() == here);
        if (!here) {
          CHECK(exported.error().message.find("another rank") != std::string::npos);
          ++elsewhere;
          continue;
        }
        CHECK(std::memcmp(expected.data(), got.data(), got.size()) == 0);
        ++found;
      }
    }
  CHECK(found == 3 * (2 + 2));  // kv head 1 lies on both ranks
  CHECK(elsewhere > 0);
}

TEST_CASE("native ranks: a tiny model's step without its other ranks ends at its deadline") {
  const OpenedModel made = made_of(varieties()[2], 3);
  for (const auto& [tp, pp] : {std::pair{2, 1}, {1, 2}}) {
    CAPTURE(tp);
    RankedModel model(made, tp, pp, budget("", 1));
    const auto output = one_step(model.partition(), 5, 50ms);
    REQUIRE_FALSE(output.has_value());
    CHECK(output.error().code == ErrorCode::deadline_exceeded);
    // And the generation is over for whoever comes late.
    model.follow();
    for (const Error& e : model.join()) CHECK(e.code != ErrorCode::invalid_argument);
  }
}

TEST_CASE("native ranks: abort on any rank ends a tiny model's group") {
  const OpenedModel made = made_of(varieties()[2], 3);
  for (size_t who : {size_t{0}, size_t{1}, size_t{3}}) {
    RankedModel model(made, 2, 2, budget("", 1));
    model.follow();
    StepDriver driver(model.partition());
    REQUIRE(one_step(driver, 5).has_value());
    model.rank(who).abort();
    for (const Error& e : model.join()) CHECK(e.code == ErrorCode::aborted);
    const auto output = one_step(driver, 5, 1);
    REQUIRE_FALSE(output.has_value());
    CHECK(output.error().code == ErrorCode::aborted);
  }
}

TEST_CASE("native ranks: a number that is not finite on one rank of a tiny model fails the step") {
  // Rows of the middle rank's share alone. It has no ids of the head, so nobody waits for it at the
  // end of a step: the others must see for themselves what int8 would hide.
  struct Case {
    TensorKind kind;
    int64_t row;
  };
  Variety v = varieties()[2];
  v.formats = {DType::q8_0};
  for (const Case c : {Case{TensorKind::q, 3 * 32},
                       {TensorKind::v, 1 * 32},
                       {TensorKind::up, 40},
                       {TensorKind::down, 40}}) {
    CAPTURE(static_cast<int>(c.kind));
    OpenedModel made = made_of(v, 3);
    auto& weights = dynamic_cast<RandomWeights&>(const_cast<WeightSource&>(*made.weights));
    auto& bytes = weights.bytes({c.kind, 0});
    const auto row_size = bytes.size() / static_cast<size_t>(weights.info({c.kind, 0})->rows);
    const uint16_t nan = 0x7e00;
    std::memcpy(bytes.data() + static_cast<size_t>(c.row) * row_size, &nan, sizeof nan);
    // The middle rank ends the group too; who is first depends on the moment.
    for (int round = 0; round < 6; ++round) {
      RankedModel model(made, 3, 1, budget("", 1));
      REQUIRE(model.plan().ranks[1].vocab.size() == 0);
      model.follow();
      const auto output = one_step(model.partition(), 20);
      REQUIRE_FALSE(output.has_value());
      CHECK((output.error().code == ErrorCode::internal ||
             output.error().code == ErrorCode::aborted));
      model.join();
    }
  }
}

TEST_CASE("native ranks: a rank without the collective of its group is refused") {
  const OpenedModel made = made_of(varieties()[2], 3);
  const auto plan = plan_partitions(made.bundle.spec, 2, 1);
  REQUIRE(plan.has_value());
  testing::LocalGroup three(3);
  const auto link = three.rank(1);
  for (Collective* host : {static_cast<Collective*>(nullptr), link.get()}) {
    Budget b = budget("", 1);
    b.host = host;
    auto partition = BackendModel::make("native");
    const auto loaded = partition->load(*made.weights, made.bundle.spec, *plan, 1, b);
    REQUIRE_FALSE(loaded.has_value());
    CHECK(loaded.error().message.find("connect the group first") != std::string::npos);
  }
  auto partition = BackendModel::make("native");
  const auto loaded = partition->load(*made.weights, made.bundle.spec, *plan, 2, budget("", 1));
  REQUIRE_FALSE(loaded.has_value());
  CHECK(loaded.error().message.find("no rank 2") != std::string::npos);
}

}  // namespace native_ranks_test
