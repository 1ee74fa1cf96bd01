#include <doctest/doctest.h>

#include <limits>

#include "config/limits.h"
#include "model/model_spec.h"
#include "model/partition_plan.h"

using namespace troupe;

namespace {

ModelSpec good_spec() {
  ModelSpec spec;
  spec.architecture = "llama";
  spec.n_layers = 30;
  spec.hidden = 576;
  spec.ffn = 1536;
  spec.n_heads = 9;
  spec.n_kv_heads = 3;
  spec.head_dim = 64;
  spec.vocab = 49152;
  spec.context = 8192;
  return spec;
}

}  // namespace

TEST_CASE("check_spec: a field out of bounds is refused by its name") {
  REQUIRE(check_spec(good_spec()).has_value());
  struct Case {
    const char* field;
    void (*break_it)(ModelSpec&);
  };
  const Case cases[] = {
      {"n_layers", [](ModelSpec& s) { s.n_layers = 0; }},
      {"n_layers", [](ModelSpec& s) { s.n_layers = kLayersMax + 1; }},
      {"hidden", [](ModelSpec& s) { s.hidden = -1; }},
      {"hidden", [](ModelSpec& s) { s.hidden = kHiddenMax + 1; }},
      {"ffn", [](ModelSpec& s) { s.ffn = 0; }},
      {"n_heads", [](ModelSpec& s) { s.n_heads = kHeadsMax + 1; }},
      {"n_kv_heads", [](ModelSpec& s) { s.n_kv_heads = 2; }},
      {"n_kv_heads", [](ModelSpec& s) { s.n_kv_heads = 18; }},
      {"n_kv_heads", [](ModelSpec& s) { s.n_kv_heads = 0; }},
      {"head_dim", [](ModelSpec& s) { s.head_dim = 63; }},
      {"head_dim", [](ModelSpec& s) { s.head_dim = 0; }},
      {"vocab", [](ModelSpec& s) { s.vocab = kVocabMax + 1; }},
      {"context", [](ModelSpec& s) { s.context = 0; }},
      {"sliding_window", [](ModelSpec& s) { s.sliding_window = -1; }},
      {"rms_eps", [](ModelSpec& s) { s.rms_eps = std::numeric_limits<float>::quiet_NaN(); }},
      {"rms_eps", [](ModelSpec& s) { s.rms_eps = 0; }},
      {"rope.base", [](ModelSpec& s) { s.rope.base = std::numeric_limits<double>::infinity(); }},
      {"rope.factor", [](ModelSpec& s) { s.rope.factor = -2; }},
      {"rope.high_freq_factor",
       [](ModelSpec& s) {
         s.rope.scaling = RopeScaling::llama3;
         s.rope.high_freq_factor = s.rope.low_freq_factor;
       }},
      {"rope.original_context",
       [](ModelSpec& s) {
         s.rope.scaling = RopeScaling::llama3;
         s.rope.original_context = 0;
       }},
  };
  for (const Case& c : cases) {
    CAPTURE(c.field);
    ModelSpec spec = good_spec();
    c.break_it(spec);
    const auto checked = check_spec(spec);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().param == c.field);
    CHECK(checked.error().message.find(c.field) != std::string::npos);
  }
}

TEST_CASE("plan_partitions: one rank holds everything") {
  const auto plan = plan_partitions(good_spec(), 1, 1);
  REQUIRE(plan.has_value());
  REQUIRE(plan->ranks.size() == 1);
  const RankPlan& rank = plan->ranks.front();
  CHECK(rank.first_layer == 0);
  CHECK(rank.last_layer == 30);
  CHECK(rank.q_heads == RowRange{0, 9});
  CHECK(rank.kv_heads == RowRange{0, 3});
  CHECK(rank.ffn == RowRange{0, 1536});
  CHECK(rank.vocab == RowRange{0, 49152});
  CHECK(rank.embeds);
  CHECK(rank.has_head);
}

TEST_CASE("plan_partitions: a layout that can't be served is refused by its name") {
  struct Case {
    int32_t tp, pp;
    const char* param;
    ErrorCode code;
  };
  const Case cases[] = {{0, 1, "tensor_parallel", ErrorCode::invalid_argument},
                        {10, 1, "tensor_parallel", ErrorCode::invalid_argument},
                        {3, 1, "tensor_parallel", ErrorCode::unsupported},
                        {1, -1, "pipeline_parallel", ErrorCode::invalid_argument},
                        {1, 31, "pipeline_parallel", ErrorCode::invalid_argument},
                        {1, 2, "pipeline_parallel", ErrorCode::unsupported}};
  for (const Case& c : cases) {
    CAPTURE(c.tp);
    CAPTURE(c.pp);
    const auto plan = plan_partitions(good_spec(), c.tp, c.pp);
    REQUIRE_FALSE(plan.has_value());
    CHECK(plan.error().param == c.param);
    CHECK(plan.error().code == c.code);
  }
}
