#include "model/native/file_group.h"

#include <bit>
#include <cstring>

namespace troupe::native {

namespace {

constexpr uint32_t kNibbles = 0x0f0f0f0fu;

uint32_t word_at(const std::byte* at) {
  uint32_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

uint16_t half_at(const std::byte* at) {
  uint16_t half;
  std::memcpy(&half, at, sizeof half);
  return half;
}

uint8_t byte_at(const std::byte* at, int i) { return std::to_integer<uint8_t>(at[i]); }

/// 16 bytes hold weights 0..15 in their low and 16..31 in their high nibbles.
void halves_of_nibbles(const std::byte* at, FileGroup& group) {
  for (int w = 0; w < 4; ++w) {
    const uint32_t word = word_at(at + 4 * w);
    group.words[w] = word & kNibbles;
    group.words[w + 4] = (word >> 4) & kNibbles;
  }
}

/// Puts bit 4w+b of `bits` into bit 4 of byte b of word w.
void add_fifth_bits(uint32_t bits, FileGroup& group) {
  for (int w = 0; w < 8; ++w) {
    const uint32_t four = (bits >> (4 * w)) & 15u;
    group.words[w] |= (four & 1u) << 4 | (four & 2u) << 11 | (four & 4u) << 18 | (four & 8u) << 25;
  }
}

/// byte - value in each of the four bytes; every byte is in 0..2 * value - 1, value a power of 2.
uint32_t each_byte_minus(uint32_t word, uint32_t value) {
  const uint32_t values = value * 0x01010101u;
  return ((word | 0x80808080u) - values) ^ 0x80808080u;
}

FileGroup q4_0(const std::byte* row, int32_t g) {
  const std::byte* at = row + int64_t{18} * g;
  FileGroup group{.d = half_at(at)};
  halves_of_nibbles(at + 2, group);
  return group;
}

FileGroup q4_1(const std::byte* row, int32_t g) {
  const std::byte* at = row + int64_t{20} * g;
  FileGroup group{.d = half_at(at), .m = half_at(at + 2)};
  halves_of_nibbles(at + 4, group);
  return group;
}

FileGroup q5_0(const std::byte* row, int32_t g) {
  const std::byte* at = row + int64_t{22} * g;
  FileGroup group{.d = half_at(at)};
  halves_of_nibbles(at + 6, group);
  add_fifth_bits(word_at(at + 2), group);
  for (uint32_t& word : group.words) word = each_byte_minus(word, 16);
  return group;
}

FileGroup q5_1(const std::byte* row, int32_t g) {
  const std::byte* at = row + int64_t{24} * g;
  FileGroup group{.d = half_at(at), .m = half_at(at + 2)};
  halves_of_nibbles(at + 8, group);
  add_fifth_bits(word_at(at + 4), group);
  return group;
}

FileGroup q8_0(const std::byte* row, int32_t g) {
  const std::byte* at = row + int64_t{34} * g;
  FileGroup group{.d = half_at(at)};
  std::memcpy(group.words, at + 2, sizeof group.words);
  return group;
}

/// d and m of group i of 8 of a Q4_K or Q5_K block, as float32. Both products are exact.
void scale_of_eight(const std::byte* block, int i, FileGroup& group) {
  const std::byte* packed = block + 4;  // 12 bytes: 8 scales and 8 minima of 6 bits
  int scale, min;
  if (i < 4) {
    scale = byte_at(packed, i) & 63;
    min = byte_at(packed, i + 4) & 63;
  } else {
    scale = (byte_at(packed, i + 4) & 15) | (byte_at(packed, i - 4) >> 6) << 4;
    min = (byte_at(packed, i + 4) >> 4) | (byte_at(packed, i) >> 6) << 4;
  }
  group.d = std::bit_cast<uint32_t>(f16_to_f32(half_at(block)) * static_cast<float>(scale));
  group.m = std::bit_cast<uint32_t>(-(f16_to_f32(half_at(block + 2)) * static_cast<float>(min)));
}

FileGroup q4_k(const std::byte* row, int32_t g) {
  const std::byte* block = row + int64_t{144} * (g / 8);
  const int i = g % 8;
  FileGroup group;
  scale_of_eight(block, i, group);
  for (int w = 0; w < 8; ++w)
    group.words[w] = (word_at(block + 16 + 32 * (i / 2) + 4 * w) >> (4 * (i % 2))) & kNibbles;
  return group;
}

FileGroup q5_k(const std::byte* row, int32_t g) {
  const std::byte* block = row + int64_t{176} * (g / 8);
  const int i = g % 8;
  FileGroup group;
  scale_of_eight(block, i, group);
  for (int w = 0; w < 8; ++w) {
    const uint32_t low = word_at(block + 48 + 32 * (i / 2) + 4 * w) >> (4 * (i % 2));
    const uint32_t high = word_at(block + 16 + 4 * w) >> i;
    group.words[w] = (low & kNibbles) | (high & 0x01010101u) << 4;
  }
  return group;
}

FileGroup q6_k(const std::byte* row, int32_t g) {
  const std::byte* block = row + int64_t{210} * (g / 8);
  const int half = g % 8 / 4, quarter = g % 4;
  const std::byte* scales = block + 192 + 8 * half + 2 * quarter;
  FileGroup group{.d = half_at(block + 208), .sc0 = byte_at(scales, 0), .sc1 = byte_at(scales, 1)};
  for (int w = 0; w < 8; ++w) {
    const uint32_t low = word_at(block + 64 * half + 32 * (quarter % 2) + 4 * w);
    const uint32_t high = word_at(block + 128 + 32 * half + 4 * w);
    const uint32_t six =
        ((low >> (4 * (quarter / 2))) & kNibbles) | ((high >> (2 * quarter)) & 0x03030303u) << 4;
    group.words[w] = each_byte_minus(six, 32);
  }
  return group;
}

}  // namespace

ReadFileGroup file_group_reader(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return q4_0;
    case DType::q4_1:
      return q4_1;
    case DType::q5_0:
      return q5_0;
    case DType::q5_1:
      return q5_1;
    case DType::q8_0:
      return q8_0;
    case DType::q4_k:
      return q4_k;
    case DType::q5_k:
      return q5_k;
    case DType::q6_k:
      return q6_k;
    default:
      return nullptr;
  }
}

}  // namespace troupe::native
