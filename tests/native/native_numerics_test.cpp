// numerics_id, and what people see of it: one for all that computes the same bits.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "model/native/isa.h"
#include "tests/native/varieties.h"
#include "tests/support/backend_model.h"

using namespace troupe;
using namespace troupe::test;

namespace native_numerics_test {
namespace {

struct Shown {
  Digest id;
  std::string text;  ///< the end of the line for people
};

Shown shown(const OpenedModel& model, const Budget& budget) {
  const Capabilities c = BackendModel(model, "native", budget).capabilities;
  const size_t at = c.describe.rfind(", ");
  REQUIRE(at != std::string::npos);
  return {c.numerics_id, c.describe.substr(at + 2)};
}

Budget budget() {
  return {.threads = 1, .kv_blocks = 40, .max_rows = 32, .max_slots = 2, .context = 600};
}

}  // namespace

TEST_CASE("native: people see one numerics id of a tiny model on every instruction set") {
  const OpenedModel model = made_of(varieties()[1], 3);
  const Shown first = shown(model, budget());
  CHECK(first.text == "numerics " + to_hex(first.id).substr(0, 8));
  for (int isa = 0; isa <= static_cast<int>(native::best_isa()); ++isa)
    for (int32_t threads : {1, 3}) {
      CAPTURE(isa);
      CAPTURE(threads);
      Budget b = budget();
      b.isa = native::name_of(static_cast<native::Isa>(isa));
      b.threads = threads;
      const Shown other = shown(model, b);
      CHECK(other.id == first.id);
      CHECK(other.text == first.text);
    }
}

TEST_CASE("native: a tiny model's numerics id does not depend on how much room it is given") {
  const OpenedModel model = made_of(varieties()[1], 3);
  const Shown first = shown(model, budget());
  // The rotation table's end lies on either side of 256, 512 and the model's own 1024 positions.
  for (int32_t context : {100, 257, 513, 1024}) {
    CAPTURE(context);
    Budget b = budget();
    b.context = context;
    b.kv_blocks = 8 + context / 16;
    b.max_rows = 48;
    b.max_slots = 5;
    CHECK(shown(model, b).id == first.id);
  }
}

TEST_CASE("native: what changes a tiny model's bits changes its numerics id") {
  std::set<Digest> ids;
  std::set<std::string> texts;
  const auto add = [&](const ModelSpec& spec, KvType kv) {
    Variety v = varieties()[1];
    v.spec = spec;
    Budget b = budget();
    b.kv_type = kv;
    const Shown s = shown(made_of(v, 3), b);
    ids.insert(s.id);
    texts.insert(s.text);
  };
  const ModelSpec plain = varieties()[1].spec;
  add(plain, KvType::f16);
  add(plain, KvType::int8);
  ModelSpec spec = plain;
  spec.rope.base = 20'000;
  add(spec, KvType::f16);
  spec = plain;
  spec.rms_eps = 1e-3f;
  add(spec, KvType::f16);
  spec = plain;
  spec.sliding_window = 16;
  add(spec, KvType::f16);
  CHECK(ids.size() == 5);
  CHECK(texts.size() == 5);
}

}  // namespace native_numerics_test
