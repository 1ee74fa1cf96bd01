#include "model/native/self_test.h"

#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "config/mix.h"
#include "model/dtype.h"
#include "model/native/activations.h"
#include "model/native/attention_sample.h"
#include "model/native/cpu_thread.h"
#include "model/native/matmul.h"
#include "model/native/pack.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {

namespace {

constexpr int32_t kCols = 256, kRows = 32, kTokens = 5, kDim = 32;

/// Numbers that any build makes alike.
class Source {
 public:
  uint64_t next() { return state_ = mix64(state_); }
  float real() { return static_cast<float>(static_cast<int32_t>(next() >> 40)) * 0x1p-22f - 2; }
  std::vector<float> reals(size_t count) {
    std::vector<float> out(count);
    for (float& x : out) x = real();
    return out;
  }

 private:
  uint64_t state_ = 1;
};

/// Rows of a dtype with sound scales: 16-bit scale fields are kept small and finite.
std::vector<std::byte> rows_of(DType dtype, Source& source) {
  const DTypeTraits& t = traits_of(dtype);
  std::vector<std::byte> bytes(static_cast<size_t>(kRows * row_bytes(t, kCols)));
  for (std::byte& b : bytes) b = static_cast<std::byte>(source.next() & 0xff);
  const auto half = [&](size_t at) {
    const uint16_t value = f32_to_f16(source.real() * 0.01f);
    std::memcpy(bytes.data() + at, &value, sizeof value);
  };
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(t.bytes)) {
    half(dtype == DType::q6_k ? at + 208 : at);
    // Where a second scale or a minimum may stand; elsewhere these are weights like all others.
    if (dtype != DType::q6_k && dtype != DType::f16) half(at + 2);
  }
  return bytes;
}

class Hash {
 public:
  void add(std::span<const float> values) {
    for (float v : values) add(std::bit_cast<uint32_t>(v));
  }
  void add(uint64_t value) { hash_ = mix64(hash_, value); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0;
};

void hash_matmuls(Isa isa, Source& source, Hash& hash) {
  const VectorKernels& kernels = vector_kernels_for(isa);
  TileReaders readers{.floats = true, .minus8 = true, .minus128 = true, .halves = true};
  auto x = Activations::make(kTokens, kCols, readers);
  readers.floats = false;
  auto rest = Activations::make(kTokens, kCols, readers);
  if (!x || !rest) return;  // no memory: the load that follows says so
  x->set_rows(kTokens);
  rest->set_single_rows(kTokens);
  for (int32_t row = 0; row < kTokens; ++row) {
    std::vector<float> values = source.reals(kCols);
    x->put(kernels, row, 0, values.data(), kCols);
    x->put_rest(kernels, row, values.data(), *rest);
  }
  for (DType dtype : {DType::q4_0, DType::q4_1, DType::q8_0, DType::q5_1, DType::q4_k, DType::q5_k,
                      DType::q6_k, DType::f16}) {
    const std::vector<std::byte> bytes = rows_of(dtype, source);
    const PackSource from{.dtype = dtype,
                          .bytes = bytes.data(),
                          .row_bytes = row_bytes(traits_of(dtype), kCols),
                          .cols = kCols};
    std::vector<PackRow> rows;
    for (int32_t i = 0; i < kRows; ++i) rows.push_back({0, i});
    PackedMatrix w = shape_of(format_of(dtype), kRows, kCols);
    auto memory = HugeBuffer::make(static_cast<size_t>(w.bytes()));
    if (!memory) return;
    pack_panels(w, {&from, 1}, rows, 0, w.panels, memory->data());
    w.data = reinterpret_cast<const unsigned char*>(memory->data());
    alignas(64) std::array<float, kTokens * kRows> out;
    matmul_for(isa)(w, 0, w.panels, x->tile(0), out.data(), kRows);
    hash.add(out);
    if (is_float(w.kind)) continue;
    matmul_for(isa)(w, 0, w.panels, rest->tile(kTokens - 1), out.data(), kRows);
    hash.add(std::span(out).first(kRows));
  }
}

void hash_attention(Isa isa, Source& source, Hash& hash) {
  const VectorKernels& kernels = vector_kernels_for(isa);
  for (KvFormat format : {KvFormat::f16, KvFormat::int8}) {
    const KvLayout layout{.format = format, .head_dim = kDim, .kv_heads = 1, .blocks = 2};
    constexpr int32_t kPositions = 21;
    auto sample =
        AttentionSample::make(kernels, layout, kPositions, {0, 1}, {11, kPositions - 1}, source);
    if (!sample) return;
    kernels.attend(sample->task(0, 0, 0));
    const std::span<float> m = sample->m(), l = sample->l();
    float* const out = sample->out(0);
    kernels.merge(&m[0], &l[0], out, m[1], l[1], sample->out(1), kDim);
    kernels.finish(out, l[0], kDim, out);
    hash.add(m);
    hash.add(l);
    hash.add(std::span<const float>(out, 2 * kDim));
  }
}

void hash_rows(Isa isa, Source& source, Hash& hash) {
  const VectorKernels& kernels = vector_kernels_for(isa);
  constexpr int32_t kWidth = 90;
  std::vector<float> x = source.reals(kWidth), y(kWidth);
  const std::vector<float> w = source.reals(kWidth), cos = source.reals(kWidth / 2),
                           sin = source.reals(kWidth / 2);
  kernels.rms_norm(x.data(), w.data(), kWidth, 1e-5f, y.data());
  kernels.rotate(y.data(), kWidth, cos.data(), sin.data(), 0.125f);
  kernels.silu_mul(y.data(), w.data(), kWidth, x.data());
  kernels.add(x.data(), y.data(), kWidth);
  hash.add(x);
  bool finite = true;
  hash.add(static_cast<uint64_t>(kernels.argmax(x.data(), kWidth, &finite)));
}

}  // namespace

uint64_t self_test_digest(Isa isa) {
  set_float_mode();
  Source source;
  Hash hash;
  hash_matmuls(isa, source, hash);
  hash_attention(isa, source, hash);
  hash_rows(isa, source, hash);
  return hash.value();
}

}  // namespace troupe::native
