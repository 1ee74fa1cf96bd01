#include "model/native/rope_table.h"

#include <bit>
#include <new>

#include "config/check.h"
#include "config/mix.h"
#include "model/native/exact_trig.h"
#include "model/rope_scaling.h"

namespace troupe::native {

namespace {

constexpr std::align_val_t kTableAlign{64};

double frequency_of(const RopeSpec& rope, int32_t head_dim, size_t pair,
                    std::span<const float> divisors) {
  const double frequency = exact_inverse_power(rope.base, 2 * static_cast<int32_t>(pair), head_dim);
  if (!divisors.empty()) return frequency / static_cast<double>(divisors[pair]);
  return scaled_frequency(frequency, rope);
}

}  // namespace

void RopeTable::Free::operator()(float* block) const { operator delete(block, kTableAlign); }

RopeTable::RopeTable(const RopeSpec& rope, int32_t head_dim, int32_t context,
                     std::span<const float> divisors) {
  TROUPE_CHECK(head_dim > 0 && head_dim % 2 == 0 && context > 0);
  const auto pairs = static_cast<size_t>(head_dim / 2);
  TROUPE_CHECK(divisors.empty() || divisors.size() == pairs);
  for (size_t i = 0; i < pairs; ++i)
    frequencies_.push_back(frequency_of(rope, head_dim, i, divisors));
  chunks_.resize(static_cast<size_t>((context + kChunk - 1) / kChunk));
  ensure(1);
}

void RopeTable::ensure(int32_t positions) {
  const int32_t wanted = (positions + kChunk - 1) / kChunk;
  TROUPE_CHECK(wanted <= static_cast<int32_t>(chunks_.size()));
  const size_t pairs = frequencies_.size();
  for (; ready_ < wanted; ++ready_) {
    auto* block =
        static_cast<float*>(operator new(sizeof(float) * 2 * kChunk * pairs, kTableAlign));
    chunks_[static_cast<size_t>(ready_)].reset(block);
    for (int32_t i = 0; i < kChunk; ++i, block += 2 * pairs)
      exact_rotation(ready_ * kChunk + i, frequencies_, block, block + pairs);
  }
}

uint64_t RopeTable::checksum(int32_t context) const {
  uint64_t hash = 0;
  for (double frequency : frequencies_) hash = mix64(hash, std::bit_cast<uint64_t>(frequency));
  const auto add = [&](const float* values, size_t count) {
    for (size_t i = 0; i < count; ++i) hash = mix64(hash, std::bit_cast<uint32_t>(values[i]));
  };
  add(chunks_.front().get(), 2 * kChunk * frequencies_.size());
  std::vector<float> both(2 * frequencies_.size());
  for (int64_t position = kChunk; position < context; position *= 2) {
    exact_rotation(static_cast<int32_t>(position), frequencies_, both.data(),
                   both.data() + frequencies_.size());
    add(both.data(), both.size());
  }
  return hash;
}

}  // namespace troupe::native
