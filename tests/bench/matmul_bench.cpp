// Speed of the matrix kernels, one thread: GB/s of weights read and GOP/s (2 x rows x weights) for
// each kind, instruction set and number of rows; once with weights larger than any cache in huge
// pages ("cold") and once with weights that stay in L2 ("warm"). Thread CPU time, best decile.
//   matmul_bench [--isa NAME] [--kind NAME] [--rows N] [--cols N]
#include <immintrin.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "tests/bench/matmul_data.h"

using namespace troupe::native;
using troupe::bench::fill;
using troupe::bench::huge_pages;
using troupe::bench::Kind;
using troupe::bench::kKinds;
using troupe::bench::Tile;

namespace {

struct Options {
  std::string_view isa, kind;
  int32_t rows = 0;  // 0: a choice of them
  int32_t cols = 576;
};

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Seconds of one call that a tenth of all calls, made for at least `seconds`, stayed below: the
/// very best is now and then a flaw of the clock.
template <class F>
double best_of(double seconds, F f) {
  f();
  std::vector<double> all;
  for (double spent = 0; spent < seconds || all.size() < 20; spent += all.back()) {
    const double start = thread_seconds();
    f();
    all.push_back(thread_seconds() - start);
  }
  std::ranges::sort(all);
  return all[all.size() / 10];
}

void measure(Isa isa, const Kind& kind, int32_t rows, int32_t cols, size_t bytes, double seconds,
             unsigned char* memory, double out[2]) {
  PackedMatrix w = shape_of(kind.format, 16, cols);
  w.panels = static_cast<int32_t>(static_cast<int64_t>(bytes) / w.panel_bytes());
  w.data = memory;
  fill(w, memory);
  Tile x(rows, w.groups);
  // Chunks of the size a thread takes from the pool; results as near as those of one matrix.
  const int32_t chunk = std::max<int32_t>(1, static_cast<int32_t>(65536 / w.panel_bytes()));
  const int64_t stride = int64_t{16} * chunk;
  auto* result = static_cast<float*>(
      std::aligned_alloc(64, static_cast<size_t>(stride * rows) * sizeof(float)));
  const MatmulFn matmul = matmul_for(isa);
  const double took = best_of(seconds, [&] {
    for (int32_t first = 0; first < w.panels; first += chunk)
      matmul(w, first, std::min(chunk, w.panels - first), x.tile, result, stride);
  });
  std::free(result);
  out[0] = static_cast<double>(w.bytes()) / took / 1e9;
  out[1] = 2.0 * 16 * w.panels * rows * 32 * w.groups / took / 1e9;
}

[[gnu::target("avx512f")]] double read_gb_per_s(const unsigned char* at, size_t bytes) {
  __m512i sum[4] = {};
  const double took = best_of(
      0.5, [&]() __attribute__((target("avx512f"))) {
        for (size_t i = 0; i < bytes; i += 256)
          for (size_t j = 0; j < 4; ++j)
            sum[j] = _mm512_xor_si512(sum[j], _mm512_load_si512(at + i + 64 * j));
      });
  volatile int64_t sink = 0;
  for (const __m512i& s : sum) sink = sink + _mm512_reduce_add_epi64(s);
  return static_cast<double>(bytes) / took / 1e9;
}

/// What the multiplying pipes do when nothing else is asked of them.
[[gnu::target("avx512f,avx512vnni")]] double vnni_gop_per_s() {
  __m512i sum[12] = {};
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  constexpr int kLoops = 100000;
  const double took = best_of(
      0.3, [&]() __attribute__((target("avx512f,avx512vnni"))) {
        for (int i = 0; i < kLoops; ++i) {
#pragma GCC unroll 12
          for (int j = 0; j < 12; ++j)
            asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum[j]) : "v"(a), "v"(b));
        }
      });
  volatile int64_t sink = 0;
  for (const __m512i& s : sum) sink = sink + _mm512_reduce_add_epi64(s);
  return 12.0 * kLoops * 128 / took / 1e9;
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--isa") o.isa = argv[i + 1];
    if (name == "--kind") o.kind = argv[i + 1];
    if (name == "--rows") o.rows = std::atoi(argv[i + 1]);
    if (name == "--cols") o.cols = std::atoi(argv[i + 1]);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  constexpr size_t kCold = size_t{96} << 20, kWarm = size_t{256} << 10;
  unsigned char* memory = huge_pages(kCold);
  std::memset(memory, 1, kCold);
  if (can_run(Isa::avx512)) {
    std::printf("read of %zu MiB in huge pages: %.1f GB/s\n", kCold >> 20,
                read_gb_per_s(memory, kCold));
    std::printf("vpdpbusd alone: %.0f GOP/s\n", vnni_gop_per_s());
  }
  std::printf("%-8s %-8s %4s | cold GB/s  GOP/s | warm GB/s  GOP/s\n", "isa", "kind", "rows");
  for (int i = 0; i < kIsaCount; ++i) {
    const auto isa = static_cast<Isa>(i);
    if (!can_run(isa) || (options.isa.empty() ? i == 0 : options.isa != name_of(isa))) continue;
    for (const Kind& kind : kKinds) {
      if (!options.kind.empty() && options.kind != kind.name) continue;
      for (int32_t rows = 1; rows <= 16; ++rows) {
        const bool chosen = rows == 1 || rows == 2 || rows == 4 || rows == 8 || rows == 16;
        if (options.rows == 0 ? !chosen : options.rows > 0 && options.rows != rows) continue;
        double cold[2], warm[2];
        measure(isa, kind, rows, options.cols, kCold, 0.25, memory, cold);
        measure(isa, kind, rows, options.cols, kWarm, 0.05, memory, warm);
        const std::string_view isa_name = name_of(isa);
        std::printf("%-8.*s %-8.*s %4d | %9.1f %6.0f | %9.1f %6.0f\n",
                    static_cast<int>(isa_name.size()), isa_name.data(),
                    static_cast<int>(kind.name.size()), kind.name.data(), rows, cold[0], cold[1],
                    warm[0], warm[1]);
      }
    }
  }
}
