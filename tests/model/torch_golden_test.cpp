// The torch backend against independent float32 references: PyPI transformers on tiny random
// checkpoints of each variant, a plain numpy script and llama.cpp on the real model.
#include <doctest/doctest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "tests/support/backend_model.h"
#include "tests/support/golden_logits.h"

using namespace troupe;
using namespace troupe::test;

namespace torch_golden_test {
namespace {

constexpr double kTolerance = 2e-3;

std::string real_model() { return std::string(TROUPE_DEPS_DIR) + "/models/smollm2.gguf"; }

double worst_of(const GoldenLogits& golden, const GoldenPrompt& prompt, const Logprobs& got) {
  REQUIRE(got.size() == prompt.positions.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, worst_difference(golden, prompt.positions[i], got[i]));
  return worst;
}

void check_tiny(const std::string& model, const std::string& expected) {
  CAPTURE(model);
  const GoldenLogits golden = read_golden_logits(golden_path("tiny/" + expected));
  TorchModel torch(golden_path("tiny/" + model));
  REQUIRE(torch.spec().vocab == static_cast<int32_t>(golden.vocab));
  for (const GoldenPrompt& prompt : golden.prompts)
    for (size_t chunk : {prompt.ids.size(), size_t{16}, size_t{7}, size_t{1}}) {
      CAPTURE(chunk);
      CHECK(worst_of(golden, prompt, torch.read(prompt.ids, chunk)) <= kTolerance);
    }
}

}  // namespace

TEST_CASE(
    "torch: logits of each tiny checkpoint match transformers, whole, in chunks and token by "
    "token") {
  for (const char* name :
       {"llama2", "llama3", "smollm2", "qwen2", "qwen25", "qwen3", "mistral", "llama-bias"})
    check_tiny(name, std::string(name) + "/expected.bin");
}

TEST_CASE("torch: logits of tiny GGUF files match transformers, also from quantised weights") {
  check_tiny("llama3/llama3-f32.gguf", "llama3/expected.bin");
  check_tiny("llama3/llama3-q4_0.gguf", "llama3/expected-q4_0.bin");
  check_tiny("qwen3/qwen3-f32.gguf", "qwen3/expected.bin");
  check_tiny("qwen3/qwen3-q8_0.gguf", "qwen3/expected-q8_0.bin");
}

TEST_CASE(
    "torch: logits of SmolLM2 match the plain float32 script over 20 prompts, all positions") {
  const GoldenLogits golden = read_golden_logits(golden_path("smollm2/reference.bin"));
  TorchModel torch(real_model());
  REQUIRE(golden.prompts.size() == 20);
  double worst = 0;
  for (const GoldenPrompt& prompt : golden.prompts)
    worst = std::max(worst, worst_of(golden, prompt, torch.read(prompt.ids, prompt.ids.size())));
  MESSAGE("largest difference " << worst);
  CHECK(worst <= kTolerance);
}

TEST_CASE(
    "torch: SmolLM2 token by token and in chunks equals the whole prompt within the tolerance") {
  const GoldenLogits golden = read_golden_logits(golden_path("smollm2/reference.bin"));
  TorchModel torch(real_model());
  for (size_t p : {2u, 4u, 12u}) {
    const auto& ids = golden.prompts[p].ids;
    const Logprobs whole = torch.read(ids, ids.size());
    CHECK(largest_gap(whole, torch.read(ids, 1)) <= kTolerance);
    CHECK(largest_gap(whole, torch.read(ids, 13)) <= kTolerance);
  }
}

TEST_CASE(
    "torch: a batch of 8 SmolLM2 prompts equals each alone within the tolerance, all positions") {
  const GoldenLogits golden = read_golden_logits(golden_path("smollm2/reference.bin"));
  TorchModel torch(real_model());
  constexpr int32_t kBatch = 8;
  for (int32_t slot = 1; slot <= kBatch; ++slot) {
    const auto& ids = golden.prompts[static_cast<size_t>(slot)].ids;
    torch.driver.open({.slot = slot, .temperature = 0, .n_logprobs = torch.spec().vocab});
    torch.driver.add({slot, 0, ids, TorchModel::scattered_table(slot, ids.size()), Out::sample, 0});
  }
  const StepOutput together = torch.run();
  for (int32_t slot = 1; slot <= kBatch; ++slot) {
    const auto& ids = golden.prompts[static_cast<size_t>(slot)].ids;
    Logprobs batched;
    torch.append(together, static_cast<size_t>(slot - 1), batched);
    REQUIRE(batched.size() == ids.size());
    CHECK(largest_gap(torch.read(ids, ids.size()), batched) <= kTolerance);
  }
}

TEST_CASE(
    "torch: greedy text of SmolLM2 equals llama.cpp's up to the first near tie on 30 prompts") {
  simdjson::dom::parser parser;
  simdjson::dom::element golden;
  REQUIRE(parser.load(golden_path("smollm2/greedy.json")).get(golden) == simdjson::SUCCESS);
  const auto count = static_cast<size_t>(int64_t{golden["tokens"]});
  struct Stream {
    std::vector<int32_t> prompt, expected, got;
    std::vector<int32_t> float32;         // what the plain float32 script chose
    std::vector<double> float32_margins;  // of its best over its second best
    size_t first_near_tie = 0;
    bool done = false;
  };
  const auto list = [](simdjson::dom::element ids) {
    std::vector<int32_t> values;
    for (int64_t id : ids.get_array()) values.push_back(static_cast<int32_t>(id));
    return values;
  };
  std::vector<Stream> streams;
  for (simdjson::dom::element prompt : golden["prompts"].get_array()) {
    Stream stream{
        list(prompt["prompt_ids"]), list(prompt["ids"]), {}, list(prompt["f32_ids"]), {}, 0, false};
    for (double margin : prompt["f32_margins"].get_array())
      stream.float32_margins.push_back(margin);
    stream.first_near_tie = static_cast<size_t>(int64_t{prompt["first_near_tie"]});
    streams.push_back(std::move(stream));
  }
  REQUIRE(streams.size() == 30);

  TorchModel torch(real_model());
  const auto add = [&](size_t i, int32_t pos, std::vector<int32_t> tokens) {
    torch.driver.add(
        {static_cast<int32_t>(i), pos, std::move(tokens),
         TorchModel::scattered_table(static_cast<int32_t>(i), streams[i].prompt.size() + count)});
  };
  const auto take = [&](Stream& stream, const StepOutput& output, size_t slice) {
    const SliceOut& out = output.slices[slice];
    stream.got.push_back(output.tokens[static_cast<size_t>(out.tok_off)]);
    stream.done = stream.got.size() == std::min(count, stream.expected.size());
  };
  for (size_t i = 0; i < streams.size(); ++i) {
    torch.driver.open({.slot = static_cast<int32_t>(i), .temperature = 0, .n_logprobs = -1});
    add(i, 0, streams[i].prompt);
    take(streams[i], torch.run(), 0);
  }
  for (;;) {
    std::vector<size_t> running;
    for (size_t i = 0; i < streams.size(); ++i) {
      const Stream& s = streams[i];
      if (s.done) continue;
      add(i, static_cast<int32_t>(s.prompt.size() + s.got.size() - 1), {s.got.back()});
      running.push_back(i);
    }
    if (running.empty()) break;
    const StepOutput output = torch.run();
    for (size_t j = 0; j < running.size(); ++j) take(streams[running[j]], output, j);
  }
  int equal_32 = 0;
  for (size_t i = 0; i < streams.size(); ++i) {
    const Stream& s = streams[i];
    size_t same = 0;
    while (same < s.got.size() && s.got[same] == s.expected[same]) ++same;
    equal_32 += same >= std::min<size_t>(32, s.expected.size());
    CHECK_MESSAGE(same >= std::min(s.first_near_tie, s.got.size()),
                  "prompt " << i << " parts from llama.cpp at token " << same);
    // The float32 script was fed llama.cpp's tokens, so its choice counts up to where we part from
    // those.
    for (size_t at = 0; at <= same && at < s.got.size(); ++at)
      if (s.float32_margins[at] > 2 * kTolerance)
        CHECK_MESSAGE(s.got[at] == s.float32[at], "prompt " << i << " token " << at);
  }
  MESSAGE(equal_32 << " of " << streams.size() << " texts equal llama.cpp's for 32 tokens");
  CHECK(equal_32 >= 12);
}

}  // namespace torch_golden_test
