// Random weights as a model file holds them, for the tests of the native backend's kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "model/dtype.h"
#include "model/native/pack.h"

namespace troupe::test {

inline constexpr DType kAllDTypes[] = {DType::f32,  DType::f16,  DType::bf16, DType::q4_0,
                                       DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0,
                                       DType::q4_k, DType::q5_k, DType::q6_k};

/// Memory aligned to a cache line, without slack behind it: the sanitizer sees a read beyond.
template <class T>
class Lines {
 public:
  explicit Lines(size_t size) : size_(size), at_(new (std::align_val_t{64}) T[size](), Deleter{}) {}
  T* data() { return at_.get(); }
  const T* data() const { return at_.get(); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return at_.get()[i]; }
  const T& operator[](size_t i) const { return at_.get()[i]; }

 private:
  struct Deleter {
    void operator()(T* at) const { ::operator delete[](at, std::align_val_t{64}); }
  };
  size_t size_;
  std::unique_ptr<T[], Deleter> at_;
};

struct FileRows {
  DType dtype;
  int32_t rows, cols;
  std::vector<std::byte> bytes;

  int64_t stride() const { return row_bytes(traits_of(dtype), cols); }
  std::span<const std::byte> row(int32_t r) const {
    return std::span(bytes).subspan(static_cast<size_t>(stride() * r),
                                    static_cast<size_t>(stride()));
  }
  native::PackSource source() const { return {dtype, bytes.data(), stride(), cols}; }
};

/// Offsets of the float16 scales in a block of a quantised dtype.
inline std::vector<int> scale_offsets(DType dtype) {
  switch (dtype) {
    case DType::q6_k:
      return {208};
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
      return {0, 2};
    case DType::q4_0:
    case DType::q5_0:
    case DType::q8_0:
      return {0};
    default:
      return {};
  }
}

/// Mostly ordinary, now and then zero, subnormal or the largest.
inline uint16_t random_half(std::mt19937& rng) {
  const auto sign = static_cast<uint16_t>((rng() & 1) << 15);
  switch (rng() % 16) {
    case 0:
      return sign;
    case 1:
      return static_cast<uint16_t>(sign | (1 + rng() % 1023));
    case 2:
      return static_cast<uint16_t>(sign | 0x7bff);
    default:
      return static_cast<uint16_t>(sign | ((5 + rng() % 15) << 10) | (rng() & 1023));
  }
}

inline void put_half(std::byte* at, uint16_t half) { std::memcpy(at, &half, sizeof half); }

/// Every weight is a random pattern of bits (so -128 occurs); scales and floats are finite.
inline FileRows random_rows(std::mt19937& rng, DType dtype, int32_t rows, int32_t cols) {
  FileRows result{dtype, rows, cols, {}};
  const DTypeTraits& t = traits_of(dtype);
  result.bytes.resize(static_cast<size_t>(result.stride() * rows));
  for (std::byte& byte : result.bytes) byte = static_cast<std::byte>(rng());
  std::uniform_real_distribution<float> number(-2, 2);
  for (size_t at = 0; at < result.bytes.size(); at += static_cast<size_t>(t.bytes)) {
    std::byte* block = result.bytes.data() + at;
    for (int offset : scale_offsets(dtype)) put_half(block + offset, random_half(rng));
    const float value = number(rng);
    if (dtype == DType::f32) std::memcpy(block, &value, sizeof value);
    if (dtype == DType::f16) put_half(block, random_half(rng));
    if (dtype == DType::bf16) std::memcpy(block, reinterpret_cast<const char*>(&value) + 2, 2);
  }
  return result;
}

/// A packed matrix and its memory.
struct Packed {
  native::PackedMatrix matrix;
  Lines<std::byte> bytes;
};

inline Packed pack(std::span<const native::PackSource> sources,
                   std::span<const native::PackRow> rows) {
  const native::PackSource& one = sources.front();
  native::PackedMatrix matrix =
      native::shape_of(native::format_of(one.dtype), static_cast<int64_t>(rows.size()), one.cols);
  Lines<std::byte> bytes(static_cast<size_t>(matrix.bytes()));
  native::pack_panels(matrix, sources, rows, 0, matrix.panels, bytes.data());
  matrix.data = reinterpret_cast<const unsigned char*>(bytes.data());
  return {matrix, std::move(bytes)};
}

/// The rows in their own order.
inline Packed pack(const FileRows& rows) {
  std::vector<native::PackRow> map;
  for (int32_t r = 0; r < rows.rows; ++r) map.push_back({0, r});
  const native::PackSource source = rows.source();
  return pack({&source, 1}, map);
}

/// A width the dtype allows, of at most `groups_max` groups of 32.
inline int32_t random_cols(std::mt19937& rng, DType dtype, int32_t groups_max) {
  const int32_t block = traits_of(dtype).block;
  return block * static_cast<int32_t>(1 + rng() % static_cast<uint32_t>(groups_max * 32 / block));
}

}  // namespace troupe::test
