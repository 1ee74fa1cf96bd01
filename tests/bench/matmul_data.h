// What the benches of the matrix kernels multiply: weights in huge pages, and a tile of
// activations. Any numbers will do, as long as they are finite and small.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>

#include "model/native/matmul.h"
#include "model/native/pack.h"

namespace troupe::bench {

/// Never freed: a bench ends with its process.
inline unsigned char* huge_pages(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t rounded = (bytes + 2 * kHuge) / kHuge * kHuge;
  void* at = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) std::abort();
  const auto start = (reinterpret_cast<uintptr_t>(at) + kHuge - 1) / kHuge * kHuge;
  auto* aligned = reinterpret_cast<unsigned char*>(start);
  madvise(aligned, rounded - kHuge, MADV_HUGEPAGE);
  return aligned;
}

struct Kind {
  std::string_view name;
  native::PackFormat format;
};
inline constexpr Kind kKinds[] = {{"w4", {native::PackKind::w4, native::ScaleType::f16}},
                                  {"w4m", {native::PackKind::w4m, native::ScaleType::f16}},
                                  {"w4m/f32", {native::PackKind::w4m, native::ScaleType::f32}},
                                  {"w8", {native::PackKind::w8, native::ScaleType::f16}},
                                  {"w8m", {native::PackKind::w8m, native::ScaleType::f16}},
                                  {"q6", {native::PackKind::q6, native::ScaleType::f16}},
                                  {"f32", {native::PackKind::f32, native::ScaleType::f16}},
                                  {"f16", {native::PackKind::f16, native::ScaleType::f16}},
                                  {"bf16", {native::PackKind::bf16, native::ScaleType::f16}}};

class Tile {
 public:
  Tile(int32_t rows, int32_t groups)
      : q_(std::aligned_alloc(64, static_cast<size_t>(rows * groups) * 64)),
        floats_(std::aligned_alloc(64, static_cast<size_t>(rows * groups) * 64 * 4)) {
    const auto n = static_cast<size_t>(rows * groups);
    auto* f = static_cast<float*>(floats_);
    std::fill(f, f + 64 * n, 0.5f);
    std::memset(q_, 3, 64 * n);
    auto* sums = reinterpret_cast<int32_t*>(static_cast<char*>(q_) + 32 * n);
    tile = {.rows = rows,
            .groups = groups,
            .q = static_cast<int8_t*>(q_),
            .s = f,
            .p = f + n,
            .minus8 = sums,
            .minus128 = sums + n,
            .minus128_of = {sums + 2 * n, sums + 3 * n},
            .x = f + (2 * n + 15) / 16 * 16,
            .x_stride = 32 * groups};
  }
  ~Tile() {
    std::free(q_);
    std::free(floats_);
  }
  Tile(const Tile&) = delete;
  Tile& operator=(const Tile&) = delete;
  native::ActivationTile tile;

 private:
  void* q_;
  void* floats_;
};

/// Finite scales, any weights.
inline void fill(const native::PackedMatrix& shape, unsigned char* at) {
  const auto bytes = static_cast<size_t>(shape.bytes());
  std::mt19937_64 rng(1);
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = rng() & 0x3f3f3f3f3f3f3f3full;  // small halves, floats and bytes
    std::memcpy(at + i, &word, 8);
  }
}

}  // namespace troupe::bench
