// Thread CPU time of each float kernel, one thread, best of many: vector_bench [isa]. Sizes are
// SmolLM2-135M's: hidden 576, ffn 1536, vocabulary 49152, 30 layers, 9 q heads, 3 kv heads of 64.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "model/exact_math.h"
#include "model/native/attention_sample.h"
#include "model/native/rope_table.h"
#include "model/native/vector_kernels.h"
#include "model/sampler.h"

using namespace troupe;
using namespace troupe::native;

namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Best and median microseconds of `rounds` calls.
void report(const char* name, int rounds, double flops, const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const double start = cpu_seconds();
    work();
    times.push_back(1e6 * (cpu_seconds() - start));
  }
  std::sort(times.begin(), times.end());
  std::printf("%-44s best %9.2f us  median %9.2f us", name, times.front(), times[times.size() / 2]);
  if (flops > 0) std::printf("  %6.1f GFLOP/s", flops / times.front() * 1e-3);
  std::printf("\n");
}

constexpr int32_t kLayers = 30, kKvHeads = 3, kDim = 64;

class Normal {
 public:
  explicit Normal(uint32_t seed) : random_(seed) {}
  std::vector<float> reals(size_t count) {
    std::vector<float> all(count);
    for (float& v : all) v = normal_(random_);
    return all;
  }

 private:
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

/// The KV of `context` positions in blocks in any order, and `rows` rows that end there.
AttentionSample sample_of(const VectorKernels& kernels, KvFormat format, int32_t layers,
                          int32_t context, int32_t rows, int32_t group) {
  const KvLayout layout{format, kDim, kKvHeads, (context + kKvBlock - 1) / kKvBlock, layers};
  std::vector<int32_t> table, at;
  for (int32_t i = 0; i < layout.blocks; ++i) table.push_back(i);
  std::mt19937 random(1);
  std::shuffle(table.begin(), table.end(), random);
  for (int32_t i = 0; i < rows * group; ++i) at.push_back(context - rows + i / group);
  Normal numbers(1);
  auto sample = AttentionSample::make(kernels, layout, context, table, at, numbers);
  if (!sample) std::abort();
  return std::move(*sample);
}

/// All layers, kv heads and segments.
void attend_all(const VectorKernels& kernels, AttentionSample& sample, int32_t context) {
  for (int32_t layer = 0; layer < kLayers; ++layer)
    for (int32_t head = 0; head < kKvHeads; ++head)
      for (int32_t segment = 0; segment * kSegment < context; ++segment)
        kernels.attend(sample.task(layer, head, segment));
}

void attention(const VectorKernels& kernels, KvFormat format, int32_t group, int32_t rows,
               int32_t context, bool cold) {
  AttentionSample sample = sample_of(kernels, format, kLayers, context, rows, group);
  // As weights do between two steps: pushes the KV out of the caches.
  std::vector<unsigned char> weights(cold ? 96 << 20 : 0, 1);
  const auto evict = [&] {
    unsigned sum = 0;
    for (size_t i = 0; i < weights.size(); i += 64) sum += weights[i];
    return sum;
  };
  char name[96];
  std::snprintf(name, sizeof(name), "attend %s group %d rows %d context %d%s, 30 layers",
                format == KvFormat::f16 ? "f16" : "int8", group, rows, context,
                cold ? " cold" : "");
  const double pairs = 1.0 * rows * (context - (rows - 1) / 2.0);
  std::vector<double> times;
  unsigned sink = 0;
  for (int i = 0; i < (rows > 1 || context > 1000 ? 15 : 40); ++i) {
    sink += evict();
    const double start = cpu_seconds();
    attend_all(kernels, sample, context);
    times.push_back(1e6 * (cpu_seconds() - start));
  }
  std::sort(times.begin(), times.end());
  std::printf("%-56s best %9.2f us  median %9.2f us  %6.1f GFLOP/s  %5.1f GB/s%s\n", name,
              times.front(), times[times.size() / 2],
              4e-3 * pairs * group * kKvHeads * kDim * kLayers / times.front(),
              1e-3 * static_cast<double>(sample.bytes()) / times.front(), sink == 1 ? " " : "");
}

void rows(const VectorKernels& kernels) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(49152), y(49152), z(49152);
  for (float& v : x) v = normal(random);
  for (float& v : y) v = normal(random);
  std::vector<int8_t> q(1536);
  std::vector<float> s(48), p(48);
  std::vector<int32_t> sums(4 * 48);
  const QuantisedRow row{.q = q.data(),
                         .s = s.data(),
                         .p = p.data(),
                         .minus8 = &sums[0],
                         .minus128 = &sums[48],
                         .minus128_of = {&sums[96], &sums[144]},
                         .q_stride = 32,
                         .stride = 1};
  report("rms_norm 576", 2000, 0,
         [&] { kernels.rms_norm(x.data(), y.data(), 576, 1e-5f, z.data()); });
  report("quantise 576", 2000, 0, [&] { kernels.quantise(x.data(), 576, row); });
  report("add 576", 2000, 0, [&] { kernels.add(z.data(), y.data(), 576); });
  report("silu_mul 1536", 2000, 0, [&] { kernels.silu_mul(x.data(), y.data(), 1536, z.data()); });
  report("rotate 12 heads of 64", 2000, 0, [&] {
    for (int h = 0; h < 12; ++h)
      kernels.rotate(&z[static_cast<size_t>(h) * 64], 64, &x[0], &y[0], 0.125f);
  });
  AttentionSample kv = sample_of(kernels, KvFormat::f16, 1, 16, 1, 1);
  report("write_kv f16, 3 heads", 2000, 0, [&] {
    for (int h = 0; h < 3; ++h)
      kernels.write_kv(kv.layout(), kv.layer(0) + kv.layout().unit(0, h), 3, &x[0], &y[0]);
  });
  bool finite = true;
  report("argmax 49152", 500, 0, [&] { kernels.argmax(x.data(), 49152, &finite); });
  report("exact_block_sum x 192 (49152)", 300, 0, [&] {
    for (size_t i = 0; i < x.size(); i += 256)
      z[i] = exact_block_sum(std::span(x).subspan(i, 256)).sum;
  });
  report("exact_exp_scaled 49152", 300, 0, [&] { exact_exp_scaled(x, 12.0f, 1.25f, z); });
  SamplerScratch scratch;
  const auto draw = [&](const char* name, SlotOpen open) {
    const SamplerSlot slot(open);
    int32_t position = 0;
    report(name, 300, 0, [&] { slot.draw(x, position++, scratch); });
  };
  draw("draw greedy", {.temperature = 0});
  draw("draw temperature 1", {.temperature = 1});
  draw("draw temperature 0.7 top_p 0.9", {.temperature = 0.7f, .top_p = 0.9f});
  draw("draw temperature 0.7 top_k 40", {.temperature = 0.7f, .top_k = 40});
  draw("draw temperature 1 min_p 0.05", {.temperature = 1, .min_p = 0.05f});
  draw("draw temperature 1, 5 logprobs", {.temperature = 1, .n_logprobs = 5});
  report("rope table, 256 positions of 32 pairs", 50, 0,
         [] { RopeTable({.base = 100000}, 64, 256, {}); });
}

}  // namespace

int main(int argc, char** argv) {
  const Isa isa = argc > 1 ? isa_named(argv[1]).value_or(best_isa()) : best_isa();
  if (!can_run(isa)) return std::fprintf(stderr, "this processor can't run that\n"), 1;
  std::printf("isa %s\n", name_of(isa).data());
  const VectorKernels& kernels = vector_kernels_for(isa);
  rows(kernels);
  for (int32_t context : {32, 256, 1024, 4096})
    attention(kernels, KvFormat::f16, 3, 1, context, false);
  attention(kernels, KvFormat::f16, 3, 1, 256, true);
  attention(kernels, KvFormat::f16, 3, 1, 4096, true);
  attention(kernels, KvFormat::int8, 3, 1, 256, true);
  attention(kernels, KvFormat::f16, 1, 1, 256, true);
  attention(kernels, KvFormat::f16, 8, 1, 256, true);
  attention(kernels, KvFormat::f16, 3, 8, 256, false);
  attention(kernels, KvFormat::f16, 3, 16, 256, false);
  attention(kernels, KvFormat::f16, 3, 16, 1024, false);
  attention(kernels, KvFormat::int8, 3, 16, 256, false);
}
