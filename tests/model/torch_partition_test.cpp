// What the torch backend does besides computing logits: shared and copied blocks, scores, faults,
// refusals.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "tests/support/backend_model.h"

using namespace troupe;
using namespace troupe::test;
using Tokens = std::vector<int32_t>;

namespace torch_partition_test {
namespace {

constexpr double kTolerance = 2e-3;
const char* const kTiny = "tiny/llama3/llama3-f32.gguf";

Tokens some_tokens(int32_t n, int32_t from = 0) {
  Tokens tokens;
  for (int32_t i = from; i < from + n; ++i) tokens.push_back((i * 37 + 11) % 288);
  return tokens;
}

/// A weight source with one thing wrong.
class Spoiled final : public WeightSource {
 public:
  explicit Spoiled(std::shared_ptr<const WeightSource> good) : good_(std::move(good)) {}

  std::optional<TensorId> missing, odd_shape, not_a_number;

  Result<TensorInfo> info(TensorId id) const override {
    if (missing == id) return fail(ErrorCode::not_found, "no such tensor");
    auto info = good_->info(id);
    if (info && odd_shape == id) ++info->rows;
    return info;
  }
  Result<std::span<const std::byte>> rows(TensorId id, RowRange range) const override {
    auto bytes = good_->rows(id, range);
    if (!bytes || not_a_number != id) return bytes;
    spoiled_.assign(bytes->begin(), bytes->end());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(spoiled_.data(), &nan, sizeof nan);
    return std::span<const std::byte>(spoiled_);
  }
  Digest weights_id() const override { return good_->weights_id(); }

 private:
  std::shared_ptr<const WeightSource> good_;
  mutable std::vector<std::byte> spoiled_;
};

Spoiled spoiled() { return Spoiled(TorchModel::open(golden_path(kTiny)).weights); }

OpenedModel with_weights(Spoiled weights) {
  OpenedModel model = TorchModel::open(golden_path(kTiny));
  model.weights = std::make_shared<Spoiled>(std::move(weights));
  return model;
}

std::string load_error(Spoiled weights) {
  const OpenedModel model = with_weights(std::move(weights));
  const auto loaded = TorchModel::make()->load(
      *model.weights, model.bundle.spec, whole_model(model.bundle.spec), 0, TorchModel::budget());
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().code == ErrorCode::data_loss);
  return loaded.error().message;
}

}  // namespace

TEST_CASE(
    "torch: a sequence that goes on from another's shared and copied blocks equals its own "
    "prefill") {
  TorchModel torch(golden_path(kTiny));
  const Tokens common = some_tokens(40), a_end = some_tokens(9, 100), b_end = some_tokens(5, 200);
  Tokens b = common;
  b.insert(b.end(), b_end.begin(), b_end.end());
  const Logprobs alone = torch.read(b, b.size());

  const int32_t vocab = torch.spec().vocab;
  torch.driver.open({.slot = 1, .temperature = 0})
      .open({.slot = 2, .temperature = 0, .n_logprobs = vocab});
  torch.driver.add({1, 0, common, {300, 7, 45}});
  torch.run();
  torch.driver.copy(45, 46);  // the third block is half full
  torch.driver.add({1, 40, a_end, {300, 7, 45, 8}});
  torch.driver.add({2, 40, b_end, {300, 7, 46}, Out::sample, 0});
  const StepOutput output = torch.run();
  Logprobs shared;
  torch.append(output, 1, shared);
  CHECK(largest_gap(Logprobs(alone.begin() + 40, alone.end()), shared) <= kTolerance);
}

TEST_CASE("torch: a plan may feed the token that the step before sampled") {
  TorchModel torch(golden_path(kTiny));
  const Tokens prompt = some_tokens(20);
  torch.driver.open({.slot = 0, .temperature = 0}).open({.slot = 1, .temperature = 0});
  torch.driver.add({0, 0, prompt, {0, 1, 2}}).add({1, 0, prompt, {10, 11, 12}});
  Tokens by_id{torch.run().tokens.at(0)};
  const Tokens by_reference = by_id;
  for (int32_t pos = 20; pos < 30; ++pos) {
    torch.driver.add({0, pos, {by_id.back()}, {0, 1, 2}}).add({1, pos, {-2}, {10, 11, 12}});
    const StepOutput output = torch.run();
    by_id.push_back(output.tokens[0]);
    CHECK(output.tokens[1] == output.tokens[0]);
  }
}

TEST_CASE("torch: scores are the log-probabilities that sampling reports for the same rows") {
  TorchModel torch(golden_path(kTiny));
  const Tokens prompt = some_tokens(150);  // more rows than are answered at once
  const Logprobs all = torch.read(Tokens(prompt.begin(), prompt.begin() + 90), 90);
  torch.driver.open({.slot = 3, .n_logprobs = 1});
  Tokens next(prompt.begin() + 1, prompt.begin() + 90);
  torch.driver.add(
      {3, 0, Tokens(prompt.begin(), prompt.begin() + 89), table_from(0, 90), Out::score, 0, next});
  const StepOutput output = torch.run();
  REQUIRE(output.scores.size() == 89);
  REQUIRE(output.top.size() == 89);
  CHECK(output.slices[0].n_tokens == 0);
  for (size_t i = 0; i < 89; ++i) {
    CHECK(output.scores[i] == doctest::Approx(all[i][static_cast<size_t>(next[i])]).epsilon(1e-3));
    CHECK(output.top[i].logprob ==
          doctest::Approx(*std::max_element(all[i].begin(), all[i].end())).epsilon(1e-3));
  }
}

TEST_CASE(
    "torch: offsets of tokens, alternatives and scores stay right when slices want different "
    "things") {
  TorchModel torch(golden_path(kTiny));
  const Tokens prompt = some_tokens(12);
  for (int32_t slot = 0; slot < 4; ++slot)
    torch.driver.open({.slot = slot, .temperature = 0, .n_logprobs = slot});
  torch.driver.add({0, 0, prompt, {0}, Out::none, 12});
  torch.driver.add({1, 0, prompt, {1}, Out::sample, 9});
  torch.driver.add({2, 0, prompt, {2}, Out::score, 10, {5, 6}});
  torch.driver.add({3, 0, prompt, {3}});
  const StepOutput output = torch.run();
  REQUIRE(output.slices.size() == 4);
  CHECK(output.slices[0].n_tokens == 0);
  CHECK(output.slices[1].n_tokens == 3);
  CHECK(output.slices[1].n_top == 1);
  CHECK(output.slices[2].n_tokens == 0);
  CHECK(output.slices[2].top_off == 3);
  CHECK(output.slices[3].tok_off == 3);
  CHECK(output.slices[3].top_off == 7);
  CHECK(output.top.size() == 10);
  CHECK(output.scores.size() == 2);
  CHECK(output.tokens[3] == output.tokens[2]);
  CHECK(output.top[7].token == output.tokens[3]);
}

TEST_CASE("torch: a KV block survives export and import bit for bit") {
  TorchModel a(golden_path(kTiny)), b(golden_path(kTiny));
  const Tokens prompt = some_tokens(16), rest = some_tokens(3, 50);
  Tokens all = prompt;
  all.insert(all.end(), rest.begin(), rest.end());
  a.driver.open({.slot = 1, .temperature = 0});
  a.driver.add({1, 0, prompt, {5}});
  a.run();
  for (int32_t layer = 0; layer < a.spec().n_layers; ++layer)
    for (int32_t head = 0; head < a.spec().n_kv_heads; ++head) {
      std::vector<std::byte> bytes(2 * 16 * static_cast<size_t>(a.spec().head_dim) * 4),
          again = bytes;
      BlockImage image{.layer = layer, .kv_head = head, .bytes = bytes};
      REQUIRE(a.partition().export_block(BlockId(5), image));
      REQUIRE(b.partition().import_block(BlockId(9), image));
      BlockImage copy{.layer = layer, .kv_head = head, .bytes = again};
      REQUIRE(b.partition().export_block(BlockId(9), copy));
      CHECK(bytes == again);
    }
  b.driver.open({.slot = 4, .temperature = 0, .n_logprobs = b.spec().vocab});
  b.driver.add({4, 16, rest, {9, 10}, Out::sample, 0});
  Logprobs got;
  b.append(b.run(), 0, got);
  const Logprobs whole = a.read(all, all.size());
  CHECK(largest_gap(Logprobs(whole.begin() + 16, whole.end()), got) <= kTolerance);

  BlockImage wrong{.layer = a.spec().n_layers};
  CHECK(a.partition()
            .export_block(BlockId(5), wrong)
            .error()
            .message.find("not of this model's layout") != std::string::npos);
  CHECK(a.partition().import_block(BlockId(512), wrong).error().message.find("no KV block 512") !=
        std::string::npos);
}

TEST_CASE("torch: a NaN in the weights is flagged in each row's slice, never drawn") {
  Spoiled weights = spoiled();
  weights.not_a_number = TensorId{TensorKind::output_norm, -1};
  TorchModel torch(with_weights(std::move(weights)));
  torch.driver.open({.slot = 0}).open({.slot = 1});
  torch.driver.add({0, 0, {1, 2}, {0}}).add({1, 0, {1, 2}, {1}, Out::score, 0, {3, 4}});
  const auto output = torch.driver.run();
  REQUIRE(output.has_value());
  CHECK((output->slices[0].flags & kNonfinite) != 0);
  CHECK((output->slices[1].flags & kNonfinite) != 0);
}

TEST_CASE("torch: a file that lacks a tensor or has one of another shape is refused by name") {
  Spoiled missing = spoiled();
  missing.missing = TensorId{TensorKind::down, 1};
  CHECK(load_error(std::move(missing)).find("lacks the tensor down of layer 1") !=
        std::string::npos);
  Spoiled odd = spoiled();
  odd.odd_shape = TensorId{TensorKind::k, 0};
  CHECK(load_error(std::move(odd)).find("The tensor k of layer 0 has the shape [") !=
        std::string::npos);
}

TEST_CASE("torch: a step after abort() and one past its deadline end with the right error") {
  TorchModel torch(golden_path(kTiny));
  torch.driver.open({.slot = 0}).add({0, 0, {1, 2}, {0}});
  const auto late = torch.driver.run(Duration{-1});
  REQUIRE(!late.has_value());
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  torch.partition().abort();
  torch.driver.add({0, 2, {1}, {0}});
  const auto aborted = torch.driver.run();
  REQUIRE(!aborted.has_value());
  CHECK(aborted.error().code == ErrorCode::aborted);
}

TEST_CASE("torch: a broken plan is refused before any memory is touched") {
  TorchModel torch(golden_path(kTiny));
  torch.driver.open({.slot = 0}).add({0, 0, {1, 2}, {512}});
  const auto refused = torch.driver.run();
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::internal);
  CHECK(refused.error().message.find("names block 512 of 512") != std::string::npos);
}

TEST_CASE(
    "torch: equal draws for equal seeds, and the numerics id tells thread counts and weights "
    "apart") {
  TorchModel torch(golden_path(kTiny)), other(golden_path("tiny/qwen3/qwen3-f32.gguf"));
  const auto draw = [&](int32_t slot, uint64_t seed) {
    torch.driver.open({.slot = slot, .seed = seed, .temperature = 1.5f});
    torch.driver.add({slot, 0, some_tokens(30), table_from(slot * 2, 30), Out::sample, 0});
    return torch.run().tokens;
  };
  const Tokens first = draw(1, 5);
  CHECK(first == draw(2, 5));
  CHECK(first != draw(3, 6));
  CHECK(torch.capabilities.numerics_id != other.capabilities.numerics_id);
  CHECK(torch.capabilities.numerics_id == TorchModel(golden_path(kTiny)).capabilities.numerics_id);
  const OpenedModel model = TorchModel::open(golden_path(kTiny));
  Budget one = TorchModel::budget();
  one.threads = 1;
  const auto loaded = TorchModel::make()->load(*model.weights, model.bundle.spec,
                                               whole_model(model.bundle.spec), 0, one);
  REQUIRE(loaded.has_value());
  CHECK(loaded->numerics_id != torch.capabilities.numerics_id);
  CHECK(loaded->describe.ends_with(", numerics " + to_hex(loaded->numerics_id).substr(0, 8)));
}

}  // namespace torch_partition_test
