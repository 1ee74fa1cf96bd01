#include "cluster/load_plan.h"

#include <doctest/doctest.h>

using namespace troupe;

namespace load_plan_test {
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

/// For a rank that is alone on its machine.
Result<LoadPlan> try_plan(const LoadOrder& o, const ModelSpec& s, const char* backend,
                          int64_t memory) {
  const MemoryNeeds needs = needs_of(o, s, backend, kFileBytes, whole_model(s).ranks.front());
  return plan_load(o, s, backend, needs, needs, machine(memory));
}
LoadPlan plan(const LoadOrder& o, const char* backend = "torch", int64_t memory = kGiB) {
  auto made = try_plan(o, spec(), backend, memory);
  REQUIRE(made.has_value());
  return *made;
}
Error refused(const LoadOrder& o, const char* backend = "torch", int64_t memory = kGiB) {
  auto made = try_plan(o, spec(), backend, memory);
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
        "model m: its weights need 1 MiB, but this machine has 0 MiB of memory left; use a smaller "
        "model");
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

TEST_CASE("load plan: it says what chose threads and KV memory") {
  LoadOrder o = order();
  CHECK(plan(o, "native", 64 * kMiB).why ==
        "threads: one for each core; KV: a quarter of the memory that is free");
  CHECK(plan(o, "native", 16 * kGiB).why == "threads: one for each core; KV: the default's most");
  CHECK(plan(o, "oracle").why == "threads: one for each core; KV: the default's most");
  o.threads = 2;
  o.kv_memory = kMiB;
  CHECK(plan(o, "native").why == "threads: 2 on 8 cores; KV: as asked");
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
          "model m: its weights need 0 MiB in float32, but this machine has 0 MiB of memory "
          "left; use a smaller model");
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
          "model m: kv_memory asks for 2048 MiB, but this machine has 1023 MiB of memory left "
          "beside the weights; ask for less");
  }
  SUBCASE("a container's limit is named") {
    o.kv_memory = 2 * kGiB;
    const MemoryNeeds needs{.weights = kMiB, .kv_block = kNativeBlock};
    const auto made =
        plan_load(o, spec(), "native", needs, needs, {kGiB, 8, MemoryLimit::container});
    REQUIRE(!made.has_value());
    CHECK(made.error().param == "kv_memory");
    CHECK(made.error().message ==
          "model m: kv_memory asks for 2048 MiB, but this container (its cgroup) has 1023 MiB of "
          "memory left beside the weights; ask for less or raise the container's limit");
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
  CHECK(try_plan(o, s, "torch", memory).has_value());
  s.tied_embeddings = false;
  auto made = try_plan(o, s, "torch", memory + 2 * kBlock - 1);
  REQUIRE(!made.has_value());
  CHECK(made.error().param == "kv_memory");
  CHECK(try_plan(o, s, "torch", memory + 2 * kBlock).has_value());
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

TEST_CASE("load plan: several ranks on torch are refused by their field, which native takes") {
  LoadOrder o = order();
  o.tensor_parallel = 3;
  const Error wide = refused(o);
  CHECK(wide.code == ErrorCode::unsupported);
  CHECK(wide.param == "tensor_parallel");
  CHECK(wide.message ==
        "model m: tensor_parallel is 3, but the torch backend runs one rank a group; use backend: "
        "native or set it to 1");
  CHECK(plan(o, "oracle").budget.kv_blocks == 16'384);
  o = order();
  o.pipeline_parallel = 2;
  CHECK(refused(o).param == "pipeline_parallel");
  CHECK(plan(o, "native").budget.max_rows == 512);
}

TEST_CASE("load plan: a rank keeps KV of its own layers and heads") {
  const auto block = [](int32_t tensor, int32_t pipeline, size_t rank) {
    const auto ranks = plan_partitions(spec(), tensor, pipeline);
    REQUIRE(ranks.has_value());
    return needs_of(order(), spec(), "native", 7, ranks->ranks.at(rank)).kv_block;
  };
  CHECK(block(1, 1, 0) == kNativeBlock);
  CHECK(block(2, 1, 1) == kNativeBlock / 2);  // one of two heads
  CHECK(block(1, 2, 1) == kNativeBlock / 2);  // one of two layers
  CHECK(block(2, 2, 3) == kNativeBlock / 4);
  CHECK(block(4, 1, 3) == kNativeBlock / 2);  // two query heads share a head of keys and values
}

TEST_CASE("load plan: ranks on one machine share its memory") {
  const MemoryNeeds own{.weights = kMiB, .kv_block = 1024};
  MemoryNeeds host = own;
  host += {.weights = 2 * kMiB, .kv_block = 3 * 1024};
  const auto made = plan_load(order(), spec(), "native", own, host, machine(11 * kMiB));
  REQUIRE(made.has_value());
  CHECK(made->budget.kv_blocks == 8 * kMiB / 4 / 4096);  // a quarter of what is left, for both
  CHECK(made->kv_bytes == made->budget.kv_blocks * 1024);
  CHECK(plan_load(order(), spec(), "native", own, own, machine(100 * kGiB))->kv_bytes == kGiB);
  LoadOrder o = order();
  o.kv_memory = 4 * kMiB;  // a rank
  const auto asked = plan_load(o, spec(), "native", own, host, machine(11 * kMiB));
  REQUIRE(!asked.has_value());
  CHECK(asked.error().message ==
        "model m: kv_memory asks for 16 MiB, but this machine has 8 MiB of memory left beside the "
        "weights; ask for less");
  const auto heavy = plan_load(order(), spec(), "native", own, host, machine(3 * kMiB - 1));
  REQUIRE(!heavy.has_value());
  CHECK(heavy.error().message ==
        "model m: its weights need 3 MiB, but this machine has 2 MiB of memory left; use a smaller "
        "model");
}

TEST_CASE("load plan: a group serves with the least of what its ranks have room for") {
  const LoadPlan rich = plan(order(), "native", 100 * kGiB),
                 poor = plan(order(), "native", 2 * kMiB);
  REQUIRE(poor.budget.kv_blocks == 64);
  const LoadOffer offers[] = {offer_of(rich), offer_of(poor), {1000, 100, 7}};
  for (const LoadPlan& own : {rich, poor}) {
    const auto agreed = agree(order(), spec(), own, offers);
    REQUIRE(agreed.has_value());
    CHECK(agreed->budget.kv_blocks == 64);
    CHECK(agreed->budget.max_rows == 100);
    CHECK(agreed->prefill_chunk == 100);
    CHECK(agreed->budget.max_slots == 7);
    CHECK(agreed->budget.context == 63 * 16);
    CHECK(agreed->kv_bytes == 64 * kNativeBlock);
  }
  LoadOrder o = order();
  o.context = 63 * 16 + 1;
  const auto refused = agree(o, spec(), plan(o, "native", 100 * kGiB), offers);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().param == "ctx");
  CHECK(refused.error().message ==
        "model m: ctx 1009 needs more KV than the 1008 positions there is memory for; ask for more "
        "kv_memory or less ctx");
}

}  // namespace load_plan_test
