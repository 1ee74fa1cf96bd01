// The native backend against independent float32 references: PyPI transformers on tiny random
// checkpoints of each variant, a plain numpy script on the real model. Activations are quantised to
// 8 bits and keys and values to 16, so the tolerances are those of that, not of float32.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/backend_model.h"
#include "tests/support/golden_logits.h"

using namespace troupe;
using namespace troupe::test;

namespace native_golden_test {
namespace {

std::string real_model() { return std::string(TROUPE_DEPS_DIR) + "/models/smollm2.gguf"; }

double worst_of(const GoldenLogits& golden, const GoldenPrompt& prompt, const Logprobs& got) {
  REQUIRE(got.size() == prompt.positions.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, worst_difference(golden, prompt.positions[i], got[i]));
  return worst;
}

void check_tiny(const std::string& model, const std::string& expected, double tolerance) {
  CAPTURE(model);
  const GoldenLogits golden = read_golden_logits(golden_path("tiny/" + expected));
  BackendModel native(golden_path("tiny/" + model), "native");
  REQUIRE(native.spec().vocab == static_cast<int32_t>(golden.vocab));
  double worst = 0;
  for (const GoldenPrompt& prompt : golden.prompts)
    for (size_t chunk : {prompt.ids.size(), size_t{16}, size_t{7}, size_t{1}})
      worst = std::max(worst, worst_of(golden, prompt, native.read(prompt.ids, chunk)));
  MESSAGE(model << ": largest difference " << worst);
  CHECK(worst <= tolerance);
}

}  // namespace

TEST_CASE("native: logits of each tiny float checkpoint match transformers") {
  // Weights and activations are floats here; only keys and values are rounded to 16 bits, which
  // scores of some 20 show in their second decimal.
  for (const char* name :
       {"llama2", "llama3", "smollm2", "qwen2", "qwen25", "qwen3", "mistral", "llama-bias"})
    check_tiny(name, std::string(name) + "/expected.bin", 0.03);
  check_tiny("llama3/llama3-f32.gguf", "llama3/expected.bin", 0.03);
  check_tiny("qwen3/qwen3-f32.gguf", "qwen3/expected.bin", 0.03);
}

TEST_CASE("native: logits of tiny quantised files match transformers on the same weights") {
  // With 32 inputs a row, one rounding of an activation to 8 bits is a visible part of a sum.
  check_tiny("llama3/llama3-q4_0.gguf", "llama3/expected-q4_0.bin", 0.6);
  check_tiny("qwen3/qwen3-q8_0.gguf", "qwen3/expected-q8_0.bin", 0.6);
}

TEST_CASE("native: SmolLM2 follows the plain float32 script over 20 prompts") {
  const GoldenLogits golden = read_golden_logits(golden_path("smollm2/reference.bin"));
  BackendModel native(real_model(), "native");
  REQUIRE(golden.prompts.size() == 20);
  int positions = 0, same_top = 0;
  double total = 0;
  for (const GoldenPrompt& prompt : golden.prompts) {
    const Logprobs got = native.read(prompt.ids, prompt.ids.size());
    for (size_t i = 0; i < got.size(); ++i, ++positions) {
      const auto best = std::ranges::max_element(got[i]) - got[i].begin();
      same_top += best == prompt.positions[i].top.front();
      total += worst_difference(golden, prompt.positions[i], got[i]);
    }
  }
  MESSAGE(same_top << " of " << positions << " positions choose as float32 does; mean of the "
                   << "largest differences " << total / positions);
  CHECK(same_top >= positions * 95 / 100);
  CHECK(total / positions <= 0.5);
}

}  // namespace native_golden_test
