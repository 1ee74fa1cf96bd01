// What whole tiny random models answer, stored: each instruction set, each thread count and each
// compiler that builds this test must give these bits (N0 to N15 of docs/performance.md). They
// change only with kContractVersion, or with the models and requests that the tests' headers make.
#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <string>

#include "config/mix.h"
#include "model/native/isa.h"
#include "tests/native/varieties.h"
#include "tests/support/backend_model.h"

using namespace troupe;
using namespace troupe::test;

namespace native_stored_bits_test {
namespace {

struct Stored {
  const char* name;
  std::array<uint64_t, 2> answers;  ///< KV in float16, in int8
};
constexpr std::array<Stored, 5> kStored{{
    {"floats", {0xdb3bf7619ba90df1, 0xfca6040ce7aeb7eb}},
    {"ratio 3, tied", {0xc66b88ca746166d9, 0xd9152ff16e5a175b}},
    {"9 heads", {0xc37be43c19846f7e, 0x726917029232e1e4}},
    {"ratio 8, q/k norm", {0x4e28320338c7ed43, 0x830cde858734f58c}},
    {"biases, window", {0x6084bb632f029b07, 0xbf003743bb5839a3}},
}};

uint64_t hash_of_all(const std::vector<ExactAnswer>& answers) {
  uint64_t hash = 0;
  const auto add = [&](int32_t token, float logprob) {
    hash = mix64(hash, static_cast<uint64_t>(token));
    hash = mix64(hash, std::bit_cast<uint32_t>(logprob));
  };
  for (const ExactAnswer& answer : answers) {
    for (size_t i = 0; i < answer.tokens.size(); ++i) add(answer.tokens[i], answer.logprobs[i]);
    for (const TokenLogprob& top : answer.top) add(top.token, top.logprob);
  }
  return hash;
}

}  // namespace

TEST_CASE("native: tiny random models give the stored answers, whatever compiled and runs them") {
  constexpr uint64_t kSeed = 20;
  const auto all = varieties();
  REQUIRE(all.size() == kStored.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const Variety& v = all[i];
    REQUIRE(std::string(kStored[i].name) == v.name);
    const OpenedModel made = made_of(v, kSeed);
    auto asked = requests(v.spec.vocab, kSeed, {1, 17, 40, 100, 270}, 8);
    add_choices(asked, 2);
    for (KvType kv : {KvType::f16, KvType::int8})
      for (native::Isa isa : {native::Isa::scalar, native::best_isa()}) {
        Budget budget{.threads = 1 + static_cast<int32_t>(isa),
                      .kv_blocks = 20,
                      .max_rows = 270,
                      .max_slots = 2,
                      .context = 300};
        budget.isa = native::name_of(isa);
        budget.kv_type = kv;
        CAPTURE(std::string(v.name));
        CAPTURE(static_cast<int>(kv));
        CAPTURE(budget.isa);
        BackendModel model(made, "native", budget);
        CHECK(hash_of_all(run_plain(model.partition(), asked)) ==
              kStored[i].answers[static_cast<size_t>(kv)]);
      }
  }
}

}  // namespace native_stored_bits_test
