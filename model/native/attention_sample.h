// KV memory full of numbers and queries that attend to it: what the self-test hashes and
// vector_bench times. Owner: who made it; one thread. `next` is a source of numbers with
// reals(count): per layer, kv head and position a key and a value are drawn, then the queries.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "model/native/arena.h"
#include "model/native/vector_kernels.h"

namespace troupe::native {

class AttentionSample {
 public:
  /// Positions [0, positions) of one sequence whose blocks are table[0], table[1], ...; `query_at`:
  /// the position of each query that shares a kv head, ascending. Nothing when memory is short.
  template <class Source>
  static std::optional<AttentionSample> make(const VectorKernels& kernels, const KvLayout& layout,
                                             int32_t positions, std::vector<int32_t> table,
                                             std::vector<int32_t> query_at, Source& next) {
    AttentionSample a;
    a.layout_ = layout;
    a.table_ = std::move(table);
    a.position_ = std::move(query_at);
    auto memory = HugeBuffer::make(static_cast<size_t>(layout.bytes()));
    if (!memory) return std::nullopt;
    a.memory_ = std::move(*memory);
    const auto dim = static_cast<size_t>(layout.head_dim);
    for (int32_t layer = 0; layer < layout.layers; ++layer)
      for (int32_t head = 0; head < layout.kv_heads; ++head)
        for (int32_t p = 0; p < positions; ++p) {
          // Drawn one after the other: compilers differ in the order of a call's arguments.
          const std::vector<float> key = next.reals(dim), value = next.reals(dim);
          const int32_t block = a.table_[static_cast<size_t>(p / kKvBlock)];
          kernels.write_kv(layout, a.layer(layer) + layout.unit(block, head), p % kKvBlock,
                           key.data(), value.data());
        }
    const size_t queries = a.position_.size();
    a.q_ = next.reals(queries * dim);
    for (size_t i = 0; i < queries; ++i) a.offset_.push_back(static_cast<int32_t>(i * dim));
    a.scores_.resize(queries * kSegment / kLine);
    a.out_.resize(queries * a.stride() / kLine);
    a.m_.resize(queries);
    a.l_.resize(queries);
    return a;
  }

  /// One segment of one kv head; the results of all tasks go to the same place.
  AttentionTask task(int32_t layer, int32_t kv_head, int32_t segment) {
    return {.layout = layout_,
            .layer = this->layer(layer),
            .table = table_.data(),
            .kv_head = kv_head,
            .segment = segment,
            .queries = static_cast<int32_t>(position_.size()),
            .q = q_.data(),
            .q_offset = offset_.data(),
            .position = position_.data(),
            .scores = scores_.front().number,
            .m = m_.data(),
            .l = l_.data(),
            .out = out(0),
            .out_stride = static_cast<int64_t>(stride())};
  }
  std::span<float> m() { return m_; }
  std::span<float> l() { return l_; }
  /// Sums of query i, head_dim of them, 64-byte aligned.
  float* out(size_t i) { return out_.front().number + i * stride(); }
  const KvLayout& layout() const { return layout_; }
  unsigned char* layer(int32_t layer) {
    return reinterpret_cast<unsigned char*>(memory_.data()) + layout_.layer(layer);
  }
  size_t bytes() const { return memory_.size(); }

 private:
  static constexpr size_t kLine = 16;
  struct alignas(64) Line {
    float number[kLine];
  };
  size_t stride() const {
    return (static_cast<size_t>(layout_.head_dim) + kLine - 1) / kLine * kLine;
  }

  KvLayout layout_;
  HugeBuffer memory_;
  std::vector<int32_t> table_, offset_, position_;
  std::vector<float> q_, m_, l_;
  std::vector<Line> scores_, out_;
};

}  // namespace troupe::native
