// The oracle: N7 and N8 of docs/performance.md in plain C++, one output at a time.
#include <cmath>
#include <cstring>

#include "model/dtype.h"
#include "model/native/matmul_isa.h"

namespace troupe::native {

namespace {

template <class T>
T load(const unsigned char* column, int64_t i) {
  T value;
  std::memcpy(&value, column + static_cast<int64_t>(sizeof(T)) * i, sizeof value);
  return value;
}

float scale_at(ScaleType scales, const unsigned char* column, int lane) {
  return scales == ScaleType::f32 ? load<float>(column, lane)
                                  : f16_to_f32(load<uint16_t>(column, lane));
}

/// w4, w4m: sum over k of q (or q - 8) times the activation.
int32_t dot_nibbles(const unsigned char* group, int lane, const int8_t* a, int zero) {
  int32_t sum = 0;
  for (int k = 0; k < kGroup; ++k) {
    const int byte = group[64 * (k / 8) + 4 * lane + k % 4];
    sum += ((k % 8 < 4 ? byte & 15 : byte >> 4) - zero) * a[k];
  }
  return sum;
}

/// int8 weights, inputs [from, to).
int32_t dot_bytes(const unsigned char* group, int lane, const int8_t* a, int from, int to) {
  int32_t sum = 0;
  for (int k = from; k < to; ++k)
    sum += static_cast<int8_t>(group[64 * (k / 4) + 4 * lane + k % 4]) * a[k];
  return sum;
}

int32_t dot(PackKind kind, const unsigned char* group, int lane, const int8_t* a) {
  switch (kind) {
    case PackKind::w4:
      return dot_nibbles(group, lane, a, 8);
    case PackKind::w4m:
      return dot_nibbles(group, lane, a, 0);
    case PackKind::q6:
      return load<int8_t>(group + 512, lane) * dot_bytes(group, lane, a, 0, 16) +
             load<int8_t>(group + 528, lane) * dot_bytes(group, lane, a, 16, 32);
    default:
      return dot_bytes(group, lane, a, 0, 32);
  }
}

/// Where the 16 d of a group begin.
int scales_offset(PackKind kind) {
  if (kind == PackKind::q6) return 544;
  return kind == PackKind::w4 || kind == PackKind::w4m ? 256 : 512;
}

float integer_output(const PackedMatrix& w, const unsigned char* panel, int lane,
                     const ActivationTile& x, int row) {
  const int column_bytes = w.scales == ScaleType::f32 ? 64 : 32;
  float acc = 0;
  for (int32_t g = 0; g < w.groups; ++g) {
    const unsigned char* group = panel + int64_t{g} * group_bytes(w.kind, w.scales);
    const unsigned char* column = group + scales_offset(w.kind);
    const int64_t at = int64_t{g} * x.rows + row;
    const float scale = scale_at(w.scales, column, lane) * x.s[at];
    const int32_t sum = dot(w.kind, group, lane, x.q + at * kGroup);
    acc = std::fma(scale, static_cast<float>(sum), acc);
    if (has_min(w.kind))
      acc = std::fma(scale_at(w.scales, column + column_bytes, lane), x.p[at], acc);
  }
  return acc;
}

float number_at(PackKind kind, const unsigned char* panel, int64_t index) {
  switch (kind) {
    case PackKind::f16:
      return f16_to_f32(load<uint16_t>(panel, index));
    case PackKind::bf16:
      return bf16_to_f32(load<uint16_t>(panel, index));
    default:
      return load<float>(panel, index);
  }
}

float float_output(const PackedMatrix& w, const unsigned char* panel, int lane,
                   const ActivationTile& x, int row) {
  const float* inputs = x.x + x.x_stride * row;
  float acc = 0;
  for (int64_t g = 0; g < w.groups; ++g) {
    float block = 0;
    for (int64_t k = g * kGroup; k < (g + 1) * kGroup; ++k)
      block = std::fma(number_at(w.kind, panel, k * kPanelRows + lane), inputs[k], block);
    acc = acc + block;
  }
  return acc;
}

}  // namespace

void matmul_scalar(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                   float* out, int64_t out_stride) {
  for (int32_t i = 0; i < count; ++i) {
    const unsigned char* panel = w.data + w.panel_bytes() * (first + i);
    for (int row = 0; row < x.rows; ++row) {
      for (int lane = 0; lane < kPanelRows; ++lane) {
        out[row * out_stride + int64_t{kPanelRows} * i + lane] =
            is_float(w.kind) ? float_output(w, panel, lane, x, row)
                             : integer_output(w, panel, lane, x, row);
      }
    }
  }
}

}  // namespace troupe::native
