#include "cluster/load_plan.h"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

ModelSpec spec() {
  ModelSpec s;
  s.n_layers = 2;
  s.hidden = 64;
  s.ffn = 128;
  s.n_heads = 4;
  s.n_kv_heads = 2;
  s.head_dim = 16;
  s.vocab = 100;
  s.context = 2048;
  s.tied_embeddings = true;
  return s;
}
// By hand: a layer has q and o of 64x64, k and v of 64x32, three matrices of 64x128: 36,864
// numbers; with 100x64 embeddings 80,128 numbers of 4 bytes.
constexpr int64_t kWeights = 4 * (2 * 36'864 + 6'400);
// Keys and values: 2 x 2 layers x 32 x 4 bytes x 16 positions.
constexpr int64_t kBlock = 8'192;

// As a file might have them: native keeps weights so.
constexpr int64_t kFileBytes = kMiB;
// Native: 2 layers x 2 kv heads x (2 x 16 x 16 numbers of 2 bytes).
constexpr int64_t kNativeBlock = 4'096;

LoadOrder order() {
  LoadOrder o;
  o.model = "m";
  o.threads = 0;
  return o;
}
MachineFacts machine(int64_t memory) { return {memory, 8}; }

LoadPlan plan(const LoadOrder& o, const char* backend = "torch", int64_t memory = kGiB) {
  auto made = plan_load(o, spec(), kFileBytes, backend, machine(memory));
  REQUIRE(made.has_value());
  return *made;
}
Error refused(const LoadOrder& o, const char* backend = "torch", int64_t memory = kGiB) {
  auto made = plan_load(o, spec(), kFileBytes, backend, machine(memory));
  REQUIRE(!made.has_value());
  return made.error();
}

}  // namespace

TEST_CASE(
    "load plan: without wishes torch takes the cores, the model's context and a quarter of what is "
    "free") {
  const LoadPlan p = plan(order());
  CHECK(p.budget.threads == 8);
  CHECK(p.budget.max_rows == 256);
  CHECK(p.budget.max_slots == 64);
  CHECK(p.prefill_chunk == 128);
  CHECK(p.canary == 5s);
  CHECK(p.budget.isa.empty());
  CHECK(p.budget.kv_type == KvType::f16);
  CHECK(p.budget.context == 2048);
  CHECK(p.budget.kv_blocks == (kGiB - kWeights) / 4 / kBlock);
  CHECK(p.kv_bytes == p.budget.kv_blocks * kBlock);
  CHECK(plan(order(), "torch", 100 * kGiB).kv_bytes == kGiB);  // at most so much unasked
}

TEST_CASE("load plan: native keeps weights as the file has them and KV in 16 or 8 bits") {
  const LoadPlan p = plan(order(), "native");
  CHECK(p.budget.max_rows == 512);
  CHECK(p.budget.max_slots == 128);
  CHECK(p.canary == 2s);
  CHECK(p.budget.kv_blocks == (kGiB - kFileBytes) / 4 / kNativeBlock);
  CHECK(p.kv_bytes == p.budget.kv_blocks * kNativeBlock);
  LoadOrder o = order();
  o.kv_type = KvType::int8;  // 2 x (16 x 16 bytes + 16 scales of 4 bytes), twice, in 2 layers
  o.kv_memory = 100 * 2'560;
  CHECK(plan(o, "native").budget.kv_blocks == 100);
  const Error e = refused(order(), "native", kFileBytes - 1);
  CHECK(e.message ==
        "model m: its weights need 1 MiB, 0 MiB of memory are free; use a smaller model");
  CHECK(resolve_backend("auto") == "native");
}

TEST_CASE("load plan: wishes are kept") {
  LoadOrder o = order();
  o.threads = 3;
  o.max_rows = 64;
  o.max_slots = 5;
  o.context = 100;
  o.kv_memory = 10 * kBlock + kBlock / 2;
  o.isa = "avx2";
  o.kv_type = KvType::int8;
  const LoadPlan p = plan(o);
  CHECK(p.budget.threads == 3);
  CHECK(p.budget.max_rows == 64);
  CHECK(p.prefill_chunk == 64);  // a chunk fits a step
  CHECK(p.budget.max_slots == 5);
  CHECK(p.budget.context == 100);
  CHECK(p.budget.kv_blocks == 10);
  CHECK(p.budget.isa == "avx2");
  CHECK(p.budget.kv_type == KvType::int8);
  o.kv_blocks = 20;  // the more exact wish
  CHECK(plan(o).budget.kv_blocks == 20);
}

TEST_CASE(
    "load plan: the context shrinks to the KV there is, less the canary's block, unless it was "
    "asked for") {
  LoadOrder o = order();
  o.kv_memory = 5 * kBlock;
  CHECK(plan(o).budget.context == 64);
  o.context = 64;
  CHECK(plan(o).budget.context == 64);
  o.context = 65;
  const Error e = refused(o);
  CHECK(e.code == ErrorCode::too_large);
  CHECK(e.param == "ctx");
  CHECK(e.message ==
        "model m: ctx 65 needs more KV than the 64 positions there is memory for; ask for more "
        "kv_memory or less ctx");
}

TEST_CASE("load plan: a context beyond the model's is refused") {
  LoadOrder o = order();
  o.context = 2048;
  CHECK(plan(o).budget.context == 2048);
  o.context = 2049;
  const Error e = refused(o);
  CHECK(e.code == ErrorCode::invalid_argument);
  CHECK(e.param == "ctx");
  CHECK(e.message ==
        "model m: ctx 2049 is longer than the model's context of 2048; ask for at most that");
}

TEST_CASE("load plan: what does not fit in memory is refused before anything is loaded") {
  LoadOrder o = order();
  SUBCASE("weights") {
    const Error e = refused(o, "torch", kWeights - 1);
    CHECK(e.code == ErrorCode::too_large);
    CHECK(e.param == "source");
    CHECK(e.message ==
          "model m: its weights need 0 MiB in float32, 0 MiB of memory are free; use a smaller "
          "model");
  }
  SUBCASE("weights that just fit leave no room for KV") {
    const Error e = refused(o, "torch", kWeights + 7 * kBlock);
    CHECK(e.param == "kv_memory");
    CHECK(e.message ==
          "model m: the KV memory holds 1 blocks, at least 2 are needed; give it more kv_memory");
    CHECK(plan(o, "torch", kWeights + 8 * kBlock).budget.kv_blocks == 2);
  }
  SUBCASE("the KV asked for in bytes") {
    o.kv_memory = 2 * kGiB;
    const Error e = refused(o);
    CHECK(e.code == ErrorCode::too_large);
    CHECK(e.param == "kv_memory");
    CHECK(e.message ==
          "model m: kv_memory asks for 2048 MiB, 1023 MiB of memory are free beside the weights; "
          "ask for less");
  }
  SUBCASE("the KV asked for in blocks") {
    o.kv_blocks = 1 << 20;
    CHECK(refused(o).param == "kv_memory");
  }
}

TEST_CASE("load plan: untied embeddings count twice") {
  ModelSpec s = spec();
  const int64_t memory = kWeights + 4 * 6'400;
  LoadOrder o = order();
  o.kv_memory = 2 * kBlock;
  CHECK(plan_load(o, s, kFileBytes, "torch", machine(memory)).has_value());
  s.tied_embeddings = false;
  auto made = plan_load(o, s, kFileBytes, "torch", machine(memory + 2 * kBlock - 1));
  REQUIRE(!made.has_value());
  CHECK(made.error().param == "kv_memory");
  CHECK(plan_load(o, s, kFileBytes, "torch", machine(memory + 2 * kBlock)).has_value());
}

TEST_CASE("load plan: the oracle needs no memory and has room for many") {
  const LoadPlan p = plan(order(), "oracle", 0);
  CHECK(p.budget.kv_blocks == 16'384);
  CHECK(p.budget.max_slots == kSlotsMax);
  CHECK(p.kv_bytes == 0);
  CHECK(p.canary == 2s);
  LoadOrder o = order();
  o.kv_blocks = 1;
  CHECK(refused(o, "oracle", 0).param == "kv_memory");
  o.kv_blocks = 9;
  CHECK(plan(o, "oracle", 0).budget.context == 128);
}

TEST_CASE("load plan: auto and nothing mean native") {
  CHECK(resolve_backend("auto") == "native");
  CHECK(resolve_backend("") == "native");
  CHECK(resolve_backend("oracle") == "oracle");
}

TEST_CASE("load plan: a group of several ranks is refused by its field, whatever the backend") {
  for (const char* backend : {"native", "torch", "oracle"}) {
    LoadOrder o = order();
    o.tensor_parallel = 3;
    const auto wide = plan_load(o, spec(), kFileBytes, backend, machine(kGiB));
    REQUIRE(!wide.has_value());
    CHECK(wide.error().code == ErrorCode::unsupported);
    CHECK(wide.error().param == "tensor_parallel");
    CHECK(wide.error().message ==
          "model m: tensor_parallel is 3, but one rank a group is served so far: set it to 1 and "
          "use groups instead.");
    o = order();
    o.pipeline_parallel = 2;
    const auto deep = plan_load(o, spec(), kFileBytes, backend, machine(kGiB));
    REQUIRE(!deep.has_value());
    CHECK(deep.error().param == "pipeline_parallel");
  }
}
