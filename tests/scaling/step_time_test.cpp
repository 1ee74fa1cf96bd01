#include "tests/bench/scaling/step_time.h"

#include <doctest/doctest.h>

#include "tests/bench/scaling/cpu_table.h"
#include "tests/bench/scaling/hardware.h"

namespace troupe::scaling {
namespace step_time_test {
namespace {

/// `streams` sequences decode at `context`.
StepLoad decoding(int64_t streams, int64_t context) {
  return {.rows = streams,
          .out_rows = streams,
          .kv_positions = streams * context,
          .pairs = streams * context};
}

double step_ms(const ModelShape& model, Layout layout, const StepLoad& load) {
  const StepTime time(model, h100(model.weight_bytes, 0.8), nvlink(), layout);
  return 1e3 * time.through(load);
}

TEST_CASE("step time: the shapes have the weights and KV of the published models") {
  CHECK(llama_70b(2).weights() == doctest::Approx(69.5e9).epsilon(0.005));  // without the embedding
  CHECK(llama_405b(2).weights() == doctest::Approx(403.7e9).epsilon(0.005));
  CHECK(llama_70b(2).kv_per_position() == 327'680);
}

TEST_CASE("step time: worked by hand for one layout") {
  // 70B, fp8, TP 8, one row at position 0: 69.5 GB / (8 x 3.35 TB/s x 0.8) = 3.24 ms; 160 sums of
  // 16 KB, two thirds of the way (in logarithms) from 5.7 us at 4 KB to 7.8 us at 32 KB: 7.0 us
  // each; 80 x 8 launches of 1.3 us.
  const StepTime time(llama_70b(1), h100(1, 0.8), nvlink(), {8, 1});
  const StageTime stage = time.stage(0, decoding(1, 1));
  CHECK(stage.weights * 1e3 == doctest::Approx(3.24).epsilon(0.01));
  CHECK(stage.reduce * 1e3 == doctest::Approx(160 * 0.0070).epsilon(0.01));
  CHECK(stage.launch * 1e3 == doctest::Approx(0.832));
  CHECK(time.hop(decoding(1, 1)) == 0);
}

TEST_CASE("step time: tables computed by hand before are met within a tenth") {
  const StepLoad one = decoding(1, 1);
  CHECK(step_ms(llama_70b(2), {8, 1}, one) == doctest::Approx(8.4).epsilon(0.1));
  CHECK(step_ms(llama_70b(1), {8, 1}, one) == doctest::Approx(5.2).epsilon(0.1));
  CHECK(step_ms(llama_70b(1), {8, 1}, decoding(64, 1024)) == doctest::Approx(10.5).epsilon(0.1));
  CHECK(step_ms(llama_405b(1), {8, 1}, one) == doctest::Approx(22).epsilon(0.1));
  CHECK(step_ms(llama_405b(2), {8, 2}, one) == doctest::Approx(41).epsilon(0.1));
  CHECK(step_ms(llama_405b(2), {16, 1}, one) == doctest::Approx(32).epsilon(0.1));
}

TEST_CASE("step time: a prompt is bound by arithmetic, decoding by bandwidth") {
  const StepTime time(llama_70b(2), h100(2, 0.7), nvlink(), {8, 1});
  // 2 x 68.5 G x 2,048 operations at 8 x 989 T x 0.5.
  const StageTime prompt =
      time.stage(0, {.rows = 2048, .out_rows = 0, .kv_positions = 2048, .pairs = 2048 * 1024});
  CHECK(prompt.weights * 1e3 == doctest::Approx(70.9).epsilon(0.02));
  CHECK(time.stage(0, decoding(64, 1)).weights == time.stage(0, decoding(1, 1)).weights);
}

TEST_CASE("step time: sums grow with bytes, and beyond the table with the bandwidth") {
  const StepTime time(llama_70b(2), h100(2, 0.7), nvlink(), {4, 1});
  CHECK(time.all_reduce(4096) == doctest::Approx(3.7e-6));
  CHECK(time.all_reduce(1) == doctest::Approx(3.7e-6));
  CHECK(time.all_reduce(256 * 1024) == doctest::Approx(13.9e-6));
  CHECK(time.all_reduce(2e6) == doctest::Approx(31e-6 + 1.5 * (2e6 - 1024 * 1024) / 400e9));
  double before = 0;
  for (double bytes = 4096; bytes < 1e8; bytes *= 1.3) {
    CHECK(time.all_reduce(bytes) >= before);
    before = time.all_reduce(bytes);
  }
  CHECK(StepTime(llama_70b(2), h100(2, 0.7), nvlink(), {1, 1}).all_reduce(1e6) == 0);
}

TEST_CASE("step time: what of a plan counts") {
  StepPlan plan;
  plan.slices.push_back(Slice{.pos0 = 100, .n_rows = 1, .out_row0 = 0, .out = Out::sample});
  plan.slices.push_back(Slice{.pos0 = 8, .n_rows = 4, .out_row0 = 4, .out = Out::none});
  const StepLoad load = load_of(plan);
  CHECK(load.rows == 5);
  CHECK(load.out_rows == 1);
  CHECK(load.kv_positions == 101 + 12);
  CHECK(load.pairs == 101 + 9 + 10 + 11 + 12);
}

TEST_CASE("step time: memory left for KV") {
  // 80 GB x 0.9 x 8 less 70.6 GB of weights, 328 KB a position.
  const StepTime time(llama_70b(1), h100(1, 0.7), nvlink(), {8, 1});
  CHECK(static_cast<double>(time.kv_positions(0.9)) == doctest::Approx(1.542e6).epsilon(0.01));
  CHECK(StepTime(llama_405b(2), h100(2, 0.7), nvlink(), {8, 1}).kv_positions(0.9) == 0);
}

TEST_CASE("cpu table: straight between what was measured, split among ranks") {
  CpuTable table;
  table.decode = *parse_decode("1:0.004,4:0.007,16:0.015");
  table.prompt_row = 0.001;
  table.bandwidth = 1e9;
  CHECK(table.decode_step(1) == doctest::Approx(0.004));
  CHECK(table.decode_step(2) == doctest::Approx(0.005));
  CHECK(table.decode_step(16) == doctest::Approx(0.015));
  CHECK(table.decode_step(19) == doctest::Approx(0.017));
  StepPlan plan;
  plan.slices.push_back(Slice{.pos0 = 100, .n_rows = 1, .out_row0 = 0, .out = Out::sample});
  plan.slices.push_back(Slice{.pos0 = 0, .n_rows = 8, .out_row0 = 8, .out = Out::none});
  CHECK(to_seconds(table(plan).stages.at(0)) == doctest::Approx(0.012));
  table.tensor = 2;
  table.exchange = 0.0005;
  CHECK(to_seconds(table(plan).stages.at(0)) == doctest::Approx(0.0065));
  table.tensor = 1;
  table.pipeline = 2;
  table.exchange = 0;
  CHECK(table(plan).stages.size() == 2);
  CHECK(to_seconds(table(plan).stages.at(1)) == doctest::Approx(0.006));
  for (const char* bad : {"", "1", "1:0", "4:0.1,1:0.2", "1:0.1;2:0.2"}) {
    const auto parsed = parse_decode(bad);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().param == "decode");
  }
}

}  // namespace
}  // namespace step_time_test
}  // namespace troupe::scaling
