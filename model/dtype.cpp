#include "model/dtype.h"

#include <array>
#include <bit>
#include <cstring>

#include "config/check.h"

namespace troupe {

namespace {

constexpr std::array<DTypeTraits, 11> kTraits = {{{"F32", 1, 4},
                                                  {"F16", 1, 2},
                                                  {"BF16", 1, 2},
                                                  {"Q4_0", 32, 18},
                                                  {"Q4_1", 32, 20},
                                                  {"Q5_0", 32, 22},
                                                  {"Q5_1", 32, 24},
                                                  {"Q8_0", 32, 34},
                                                  {"Q4_K", 256, 144},
                                                  {"Q5_K", 256, 176},
                                                  {"Q6_K", 256, 210}}};

// Files are little-endian and so is every machine we build for.
static_assert(std::endian::native == std::endian::little);

template <class T>
T read(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float read_half(const uint8_t* at) { return f16_to_f32(read<uint16_t>(at)); }

// Every product below (half x 6-bit scale x at most 6-bit weight) fits in 24 bits, so it is exact
// and a fused multiply-add gives the same bits as a plain one.

void q4_0(const uint8_t* in, float* out) {
  const float d = read_half(in);
  const uint8_t* qs = in + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((qs[j] & 15) - 8) * d;
    out[j + 16] = static_cast<float>((qs[j] >> 4) - 8) * d;
  }
}

void q4_1(const uint8_t* in, float* out) {
  const float d = read_half(in), m = read_half(in + 2);
  const uint8_t* qs = in + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(qs[j] & 15) * d + m;
    out[j + 16] = static_cast<float>(qs[j] >> 4) * d + m;
  }
}

/// The fifth bit of weight j of a Q5 block, in place (16 or 0).
int fifth(uint32_t high, int j) { return static_cast<int>((high >> j) & 1u) << 4; }

void q5_0(const uint8_t* in, float* out) {
  const float d = read_half(in);
  const auto high = read<uint32_t>(in + 2);
  const uint8_t* qs = in + 6;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(((qs[j] & 15) | fifth(high, j)) - 16) * d;
    out[j + 16] = static_cast<float>(((qs[j] >> 4) | fifth(high, j + 16)) - 16) * d;
  }
}

void q5_1(const uint8_t* in, float* out) {
  const float d = read_half(in), m = read_half(in + 2);
  const auto high = read<uint32_t>(in + 4);
  const uint8_t* qs = in + 8;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((qs[j] & 15) | fifth(high, j)) * d + m;
    out[j + 16] = static_cast<float>((qs[j] >> 4) | fifth(high, j + 16)) * d + m;
  }
}

void q8_0(const uint8_t* in, float* out) {
  const float d = read_half(in);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(static_cast<int8_t>(in[2 + j])) * d;
}

struct ScaleMin {
  int scale, min;
};

/// Sub-block i of 8 in the 12 bytes of 6-bit scales and minima that Q4_K and Q5_K share.
ScaleMin scale_min(const uint8_t* packed, int i) {
  if (i < 4) return {packed[i] & 63, packed[i + 4] & 63};
  return {(packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4),
          (packed[i + 4] >> 4) | ((packed[i] >> 6) << 4)};
}

void q4_k(const uint8_t* in, float* out) {
  const float d = read_half(in), dmin = read_half(in + 2);
  const uint8_t* qs = in + 16;
  for (int i = 0; i < 8; ++i) {  // sub-blocks of 32; two share 32 bytes, low nibbles first
    const auto [scale, min] = scale_min(in + 4, i);
    const float step = d * static_cast<float>(scale), floor = dmin * static_cast<float>(min);
    const uint8_t* q = qs + 32 * (i / 2);
    for (int j = 0; j < 32; ++j)
      out[32 * i + j] = step * static_cast<float>((q[j] >> (4 * (i & 1))) & 15) - floor;
  }
}

void q5_k(const uint8_t* in, float* out) {
  const float d = read_half(in), dmin = read_half(in + 2);
  const uint8_t* high = in + 16;
  const uint8_t* qs = in + 48;
  for (int i = 0; i < 8; ++i) {
    const auto [scale, min] = scale_min(in + 4, i);
    const float step = d * static_cast<float>(scale), floor = dmin * static_cast<float>(min);
    const uint8_t* q = qs + 32 * (i / 2);
    for (int j = 0; j < 32; ++j) {
      const int weight = ((q[j] >> (4 * (i & 1))) & 15) | (((high[j] >> i) & 1) << 4);
      out[32 * i + j] = step * static_cast<float>(weight) - floor;
    }
  }
}

void q6_k(const uint8_t* in, float* out) {
  const float d = read_half(in + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = in + 64 * half;
    const uint8_t* high = in + 128 + 32 * half;
    const uint8_t* scales = in + 192 + 8 * half;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int j = 0; j < 32; ++j) {
        const int nibble = (low[j + 32 * (quarter & 1)] >> (4 * (quarter / 2))) & 15;
        const int weight = (nibble | (((high[j] >> (2 * quarter)) & 3) << 4)) - 32;
        const auto scale = static_cast<int8_t>(scales[2 * quarter + j / 16]);
        out[128 * half + 32 * quarter + j] =
            d * static_cast<float>(scale) * static_cast<float>(weight);
      }
    }
  }
}

template <class Block>
void each_block(const DTypeTraits& t, std::span<const std::byte> bytes, std::span<float> out,
                Block block) {
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  const size_t count = out.size() / static_cast<size_t>(t.block);
  for (size_t i = 0; i < count; ++i)
    block(in + i * static_cast<size_t>(t.bytes), out.data() + i * static_cast<size_t>(t.block));
}

}  // namespace

const DTypeTraits& traits_of(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  TROUPE_CHECK(index < kTraits.size(), index);
  return kTraits[index];
}

std::optional<DType> dtype_from_ggml(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:
      return DType::f32;
    case 1:
      return DType::f16;
    case 2:
      return DType::q4_0;
    case 3:
      return DType::q4_1;
    case 6:
      return DType::q5_0;
    case 7:
      return DType::q5_1;
    case 8:
      return DType::q8_0;
    case 12:
      return DType::q4_k;
    case 13:
      return DType::q5_k;
    case 14:
      return DType::q6_k;
    case 30:
      return DType::bf16;
    default:
      return std::nullopt;
  }
}

float f16_to_f32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u, mantissa = half & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // subnormal: mantissa x 2^-24, exact in float32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

float bf16_to_f32(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)  // NaN: keep what fits of the payload, and keep it a quiet NaN
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below 2^-14 a half counts units of 2^-24; adding 0.5 makes the float adder round to those
    // units.
    const float units = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(units) - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

void dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  const DTypeTraits& t = traits_of(dtype);
  TROUPE_CHECK(out.size() % static_cast<size_t>(t.block) == 0, t.name, out.size());
  TROUPE_CHECK(
      bytes.size() == out.size() / static_cast<size_t>(t.block) * static_cast<size_t>(t.bytes),
      t.name, bytes.size(), out.size());
  switch (dtype) {
    case DType::f32:
      if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
      return;
    case DType::f16:
      return each_block(t, bytes, out, [](const uint8_t* in, float* o) { *o = read_half(in); });
    case DType::bf16:
      return each_block(t, bytes, out,
                        [](const uint8_t* in, float* o) { *o = bf16_to_f32(read<uint16_t>(in)); });
    case DType::q4_0:
      return each_block(t, bytes, out, q4_0);
    case DType::q4_1:
      return each_block(t, bytes, out, q4_1);
    case DType::q5_0:
      return each_block(t, bytes, out, q5_0);
    case DType::q5_1:
      return each_block(t, bytes, out, q5_1);
    case DType::q8_0:
      return each_block(t, bytes, out, q8_0);
    case DType::q4_k:
      return each_block(t, bytes, out, q4_k);
    case DType::q5_k:
      return each_block(t, bytes, out, q5_k);
    case DType::q6_k:
      return each_block(t, bytes, out, q6_k);
  }
}

}  // namespace troupe
