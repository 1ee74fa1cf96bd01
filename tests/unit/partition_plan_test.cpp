// Every layout of many models: the shares of all ranks cover the model exactly once, evenly.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "model/partition_plan.h"

using namespace troupe;

namespace partition_plan_test {
namespace {

struct Shape {
  const char* name;
  int32_t layers, heads, kv_heads, head_dim, hidden, ffn, vocab;
};

// The tiny models of the tests, and real ones.
constexpr Shape kShapes[] = {
    {"one head", 3, 1, 1, 20, 36, 50, 77},
    {"ratio 3", 3, 3, 1, 32, 96, 160, 301},
    {"9 heads", 3, 9, 3, 32, 96, 96, 130},
    {"ratio 8", 3, 8, 1, 32, 256, 512, 515},
    {"biases", 3, 4, 2, 24, 64, 96, 200},
    {"SmolLM2 135M", 30, 9, 3, 64, 576, 1536, 49'152},
    {"Llama 70B", 80, 64, 8, 128, 8'192, 28'672, 128'256},
    {"Llama 405B", 126, 128, 8, 128, 16'384, 53'248, 128'256},
};

ModelSpec spec_of(const Shape& s) {
  ModelSpec spec;
  spec.architecture = "llama";
  spec.n_layers = s.layers;
  spec.n_heads = s.heads;
  spec.n_kv_heads = s.kv_heads;
  spec.head_dim = s.head_dim;
  spec.hidden = s.hidden;
  spec.ffn = s.ffn;
  spec.vocab = s.vocab;
  spec.context = 4'096;
  return spec;
}

PartitionPlan plan_of(const ModelSpec& spec, int32_t tp, int32_t pp) {
  auto plan = plan_partitions(spec, tp, pp);
  REQUIRE_MESSAGE(plan.has_value(), plan.error().message);
  return std::move(*plan);
}

/// The ranges follow each other from 0 to `total`, begin at whole units, and no two differ by more
/// than a unit, but for the one that ends early because the last unit is short.
void check_cover(const std::vector<RowRange>& shares, int64_t total, int64_t unit) {
  int64_t at = 0, least = std::numeric_limits<int64_t>::max(), most = 0;
  for (const RowRange& r : shares) {
    CHECK(r.begin == at);
    CHECK((r.begin % unit == 0 || r.size() == 0));
    CHECK(r.size() >= 0);
    const int64_t units = (r.size() + unit - 1) / unit;
    least = std::min(least, units);
    most = std::max(most, units);
    at = r.end;
  }
  CHECK(at == total);
  CHECK(most - least <= 1);
}

std::vector<RowRange> shares_of(const PartitionPlan& plan, int32_t stage, RowRange RankPlan::*of) {
  std::vector<RowRange> shares;
  for (const RankPlan& r : plan.ranks)
    if (r.stage == stage) shares.push_back(r.*of);
  return shares;
}

double cost_of(const StageCosts& costs, const RankPlan& rank) {
  double sum = (rank.embeds ? costs.embedding : 0) + (rank.has_head ? costs.head : 0);
  for (int32_t l = rank.first_layer; l < rank.last_layer; ++l)
    sum += costs.layers[static_cast<size_t>(l)];
  return sum;
}

/// The cheapest dearest stage, by trying every cut: an independent oracle for small models.
double best_cut(const StageCosts& costs, int32_t first, int32_t stage, int32_t stages) {
  const auto layers = static_cast<int32_t>(costs.layers.size());
  double sum = (stage == 0 ? costs.embedding : 0) + (stage + 1 == stages ? costs.head : 0);
  if (stage + 1 == stages) {
    for (int32_t l = first; l < layers; ++l) sum += costs.layers[static_cast<size_t>(l)];
    return sum;
  }
  double best = std::numeric_limits<double>::infinity();
  for (int32_t end = first + 1; end <= layers - (stages - 1 - stage); ++end) {
    sum += costs.layers[static_cast<size_t>(end - 1)];
    best = std::min(best, std::max(sum, best_cut(costs, end, stage + 1, stages)));
  }
  return best;
}

}  // namespace

TEST_CASE("plan_partitions: the ranks of every layout cover the model exactly once") {
  for (const Shape& shape : kShapes) {
    const ModelSpec spec = spec_of(shape);
    CAPTURE(shape.name);
    for (int32_t tp = 1; tp <= std::min(16, shape.heads); ++tp)
      for (int32_t pp = 1; pp <= std::min(8, shape.layers); ++pp) {
        CAPTURE(tp);
        CAPTURE(pp);
        const PartitionPlan plan = plan_of(spec, tp, pp);
        REQUIRE(plan.ranks.size() == static_cast<size_t>(tp * pp));
        CHECK(plan.tensor_parallel == tp);
        CHECK(plan.pipeline_parallel == pp);
        int32_t layer = 0;
        for (int32_t stage = 0; stage < pp; ++stage) {
          const RankPlan& first = plan.ranks[static_cast<size_t>(stage * tp)];
          CHECK(first.first_layer == layer);
          CHECK(first.last_layer > first.first_layer);
          layer = first.last_layer;
          check_cover(shares_of(plan, stage, &RankPlan::q_heads), shape.heads, 1);
          check_cover(shares_of(plan, stage, &RankPlan::ffn), shape.ffn, 32);
          check_cover(shares_of(plan, stage, &RankPlan::hidden), shape.hidden, 16);
          check_cover(shares_of(plan, stage, &RankPlan::vocab), shape.vocab, 256);
          for (int32_t t = 0; t < tp; ++t) {
            const RankPlan& r = plan.ranks[static_cast<size_t>(stage * tp + t)];
            CHECK(r.stage == stage);
            CHECK(r.tp == t);
            CHECK(r.first_layer == first.first_layer);
            CHECK(r.last_layer == first.last_layer);
            CHECK(r.embeds == (stage == 0));
            CHECK(r.has_head == (stage + 1 == pp));
            CHECK(r.q_heads.size() >= 1);
            // Exactly the kv heads that its query heads read.
            const int32_t ratio = shape.heads / shape.kv_heads;
            CHECK(r.kv_heads.begin == r.q_heads.begin / ratio);
            CHECK(r.kv_heads.end == (r.q_heads.end - 1) / ratio + 1);
          }
        }
        CHECK(layer == shape.layers);
      }
  }
}

TEST_CASE("plan_partitions: SmolLM2 on two ranks shares a kv head") {
  const PartitionPlan plan = plan_of(spec_of(kShapes[5]), 2, 1);
  CHECK(plan.ranks[0].q_heads == RowRange{0, 5});
  CHECK(plan.ranks[1].q_heads == RowRange{5, 9});
  CHECK(plan.ranks[0].kv_heads == RowRange{0, 2});
  CHECK(plan.ranks[1].kv_heads == RowRange{1, 3});
  CHECK(plan.ranks[0].ffn == RowRange{0, 768});
  CHECK(plan.ranks[1].vocab == RowRange{24'576, 49'152});
}

TEST_CASE("plan_partitions: the dearest stage is as cheap as it can be") {
  const uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    Shape shape = kShapes[1];
    shape.layers = std::uniform_int_distribution<int32_t>(1, 9)(random);
    const int32_t pp = std::uniform_int_distribution<int32_t>(1, std::min(5, shape.layers))(random);
    std::uniform_int_distribution<int32_t> cost(0, 20);
    StageCosts costs{.embedding = static_cast<double>(cost(random)),
                     .head = static_cast<double>(cost(random) * 2)};
    for (int32_t i = 0; i < shape.layers; ++i) costs.layers.push_back(cost(random));
    const auto plan = plan_partitions(spec_of(shape), 1, pp, costs);
    REQUIRE(plan.has_value());
    double dearest = 0;
    for (const RankPlan& r : plan->ranks) dearest = std::max(dearest, cost_of(costs, r));
    CHECK(dearest == doctest::Approx(best_cut(costs, 0, 0, pp)));
  }
}

TEST_CASE("plan_partitions: stages of equal layers are even, and the head counts") {
  for (const Shape& shape : {kShapes[6], kShapes[7]}) {
    const ModelSpec spec = spec_of(shape);
    const StageCosts costs = parameter_costs(spec);
    for (int32_t pp = 2; pp <= 8; ++pp) {
      double sum = 0, dearest = 0;
      for (const RankPlan& r : plan_of(spec, 1, pp).ranks) {
        sum += cost_of(costs, r);
        dearest = std::max(dearest, cost_of(costs, r));
      }
      // No stage is more than a layer above the mean.
      CHECK(dearest <= sum / pp + costs.layers[0]);
    }
  }
  // A head as dear as three layers leaves the last stage three layers less.
  Shape shape = kShapes[1];
  shape.layers = 9;
  const auto plan =
      plan_partitions(spec_of(shape), 1, 2, {.head = 3, .layers = std::vector<double>(9, 1)});
  REQUIRE(plan.has_value());
  CHECK(plan->ranks[0].last_layer == 6);
  // And what is left over is spread: 2, 2, 3 or the like, never 3, 3, 1.
  shape.layers = 7;
  const auto three = plan_partitions(spec_of(shape), 1, 3, {.layers = std::vector<double>(7, 1)});
  REQUIRE(three.has_value());
  for (const RankPlan& r : three->ranks) CHECK(r.last_layer - r.first_layer >= 2);
}

TEST_CASE("plan_partitions: an impossible layout is refused with the nearest one") {
  const ModelSpec spec = spec_of(kShapes[5]);
  struct Case {
    int32_t tp, pp;
    const char* param;
    const char* nearest;
  };
  const Case cases[] = {{0, 1, "tensor_parallel", "tensor_parallel 1 with pipeline_parallel 1"},
                        {10, 2, "tensor_parallel", "tensor_parallel 9 with pipeline_parallel 2"},
                        {1, -1, "pipeline_parallel", "tensor_parallel 1 with pipeline_parallel 1"},
                        {9, 31, "pipeline_parallel", "tensor_parallel 9 with pipeline_parallel 30"},
                        {64, 64, "tensor_parallel", "tensor_parallel 9 with pipeline_parallel 30"}};
  for (const Case& c : cases) {
    CAPTURE(c.tp);
    CAPTURE(c.pp);
    const auto plan = plan_partitions(spec, c.tp, c.pp);
    REQUIRE_FALSE(plan.has_value());
    CHECK(plan.error().code == ErrorCode::invalid_argument);
    CHECK(plan.error().param == c.param);
    CHECK(plan.error().message.find(c.nearest) != std::string::npos);
  }
}

TEST_CASE("plan_partitions: costs that are no costs are refused") {
  const ModelSpec spec = spec_of(kShapes[1]);
  for (const StageCosts& costs : {StageCosts{.layers = {1, 1}}, StageCosts{.layers = {1, -1, 1}},
                                  StageCosts{.head = std::nan(""), .layers = {1, 1, 1}}}) {
    const auto plan = plan_partitions(spec, 1, 2, costs);
    REQUIRE_FALSE(plan.has_value());
    CHECK(plan.error().param == "costs");
    CHECK(plan.error().message.find("3 layers") != std::string::npos);
  }
}

TEST_CASE("plan_partitions: one rank holds everything") {
  const ModelSpec spec = spec_of(kShapes[5]);
  const PartitionPlan plan = plan_of(spec, 1, 1);
  const PartitionPlan whole = whole_model(spec);
  REQUIRE(plan.ranks.size() == 1);
  REQUIRE(whole.ranks.size() == 1);
  for (const RankPlan& rank : {plan.ranks[0], whole.ranks[0]}) {
    CHECK(rank.first_layer == 0);
    CHECK(rank.last_layer == 30);
    CHECK(rank.q_heads == RowRange{0, 9});
    CHECK(rank.kv_heads == RowRange{0, 3});
    CHECK(rank.ffn == RowRange{0, 1'536});
    CHECK(rank.hidden == RowRange{0, 576});
    CHECK(rank.vocab == RowRange{0, 49'152});
    CHECK(rank.embeds);
    CHECK(rank.has_head);
  }
}

}  // namespace partition_plan_test
