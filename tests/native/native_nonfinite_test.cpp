// A number that is not finite ends the step that meets it: nothing on its way hides it, neither
// 8-bit activations nor the KV's formats, and it never becomes a token.
#include <doctest/doctest.h>

#include <cstring>
#include <limits>

#include "model/native/isa.h"
#include "tests/native/varieties.h"
#include "tests/support/backend_model.h"

using namespace troupe;
using namespace troupe::test;

namespace native_nonfinite_test {
namespace {

/// A model of `format` with one weight, or one block's scale, that is no number: the first of a row
/// of one tensor.
OpenedModel broken_model(DType format, TensorId where, int32_t row) {
  Variety v = varieties()[2];
  v.formats = {format};
  OpenedModel made = made_of(v, 3);
  auto& weights = dynamic_cast<RandomWeights&>(const_cast<WeightSource&>(*made.weights));
  auto& bytes = weights.bytes(where);
  const size_t row_size = bytes.size() / static_cast<size_t>(weights.info(where)->rows);
  std::byte* at = bytes.data() + static_cast<size_t>(row) * row_size;
  if (format == DType::q8_0) {
    const uint16_t nan = 0x7e00;
    std::memcpy(at, &nan, sizeof nan);
  } else {
    REQUIRE(format == DType::f32);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(at, &nan, sizeof nan);
  }
  return made;
}

/// A prompt of 20 rows; `last` differs from the rest.
Result<StepOutput> one_step(BackendModel& model, int32_t last) {
  std::vector<int32_t> tokens(20, 1);
  tokens.back() = last;
  model.driver.open({.slot = 0, .temperature = 0, .n_logprobs = -1});
  model.driver.add({.slot = 0, .tokens = tokens, .table = table_from(0, tokens.size())});
  return model.driver.run();
}

template <class Check>
void for_all_ways(const Check& check) {
  for (DType format : {DType::q8_0, DType::f32})
    for (int isa = 0; isa <= static_cast<int>(native::best_isa()); ++isa)
      for (KvType kv : {KvType::f16, KvType::int8}) {
        Budget budget{.threads = 1, .kv_blocks = 4, .max_rows = 32, .max_slots = 1, .context = 64};
        budget.isa = native::name_of(static_cast<native::Isa>(isa));
        budget.kv_type = kv;
        CAPTURE(static_cast<int>(format));
        CAPTURE(budget.isa);
        CAPTURE(static_cast<int>(kv));
        check(format, budget);
      }
}

}  // namespace

TEST_CASE("native: a NaN in any matrix of a tiny model's layers fails the step") {
  for_all_ways([](DType format, const Budget& budget) {
    for (int32_t layer : {0, varieties()[2].spec.n_layers - 1})
      for (TensorKind kind : {TensorKind::q, TensorKind::k, TensorKind::v, TensorKind::o,
                              TensorKind::gate, TensorKind::up, TensorKind::down}) {
        CAPTURE(layer);
        CAPTURE(static_cast<int>(kind));
        BackendModel model(broken_model(format, {kind, layer}, 40), "native", budget);
        const auto output = one_step(model, 2);
        REQUIRE_FALSE(output.has_value());
        CHECK(output.error().code == ErrorCode::internal);
        CHECK(output.error().message.find("is not finite") != std::string::npos);
      }
  });
}

TEST_CASE("native: a NaN in the embedding of a tiny model fails steps that feed its token") {
  for_all_ways([](DType format, const Budget& budget) {
    const OpenedModel broken = broken_model(format, {TensorKind::token_embedding, -1}, 7);
    BackendModel spared(broken, "native", budget), met(broken, "native", budget);
    CHECK(one_step(spared, 2).has_value());
    const auto output = one_step(met, 7);
    REQUIRE_FALSE(output.has_value());
    CHECK(output.error().code == ErrorCode::internal);
    CHECK(output.error().message.find("is not finite") != std::string::npos);
  });
}

TEST_CASE("native: a NaN in the head of a tiny model marks what was asked of it as a fault") {
  for_all_ways([](DType format, const Budget& budget) {
    for (int32_t id : {0, 40, varieties()[2].spec.vocab - 1}) {
      CAPTURE(id);
      BackendModel model(broken_model(format, {TensorKind::output, -1}, id), "native", budget);
      const auto output = one_step(model, 2);
      REQUIRE_MESSAGE(output.has_value(), message_of(output));
      CHECK(output->slices.at(0).flags == kNonfinite);
    }
  });
}

}  // namespace native_nonfinite_test
