#include "model/native/attention.h"

#include <algorithm>
#include <atomic>

#include "config/check.h"
#include "model/native/arena.h"
#include "model/native/packed_matrix.h"

namespace troupe::native {

namespace {

/// Queries whose scores and sums stay in the first-level caches.
constexpr int32_t kQueriesPerTask = 32;
/// Tasks of few queries over long contexts are split by segments while all partial results fit.
constexpr int64_t kPartialBytesMax = int64_t{8} << 20;

}  // namespace

Result<Attention> Attention::make(const ModelSpec& spec, const HeadShare& heads,
                                  const VectorKernels& kernels, int32_t max_rows, int32_t context,
                                  int32_t threads) {
  Attention a;
  a.kernels_ = &kernels;
  const int32_t ratio = spec.n_heads / spec.n_kv_heads;
  const bool whole = heads.q.size() == spec.n_heads;
  for (int64_t kv = heads.kv.begin; kv < heads.kv.end; ++kv) {
    const int64_t begin = std::max(heads.q.begin, kv * ratio);
    const int64_t end = std::min(heads.q.end, (kv + 1) * ratio);
    a.runs_.push_back(
        {static_cast<int32_t>(begin - heads.q.begin), static_cast<int32_t>(end - begin)});
  }
  a.head_dim_ = spec.head_dim;
  a.q_dim_ = spec.q_dim();
  a.q_stride_ = static_cast<int32_t>(heads.q.size()) * spec.head_dim;
  a.first_column_ = static_cast<int32_t>(heads.q.begin) * spec.head_dim;
  a.window_ = spec.sliding_window;
  a.threads_ = threads;
  a.rows_per_task_ = std::clamp(kQueriesPerTask / ratio, 1, kTileRows);
  a.queries_max_ = a.rows_per_task_ * ratio;
  const int64_t column = padded(a.queries_max_);
  const int64_t partial = 2 * column + column * padded(a.head_dim_);
  for (int32_t i = 0; i < threads; ++i) {
    Scratch& s = a.scratch_.emplace_back();
    const int64_t scores = column * kSegment, row = padded(int64_t{ratio} * a.head_dim_);
    auto memory = HugeBuffer::make(static_cast<size_t>((scores + 2 * partial + row) * 4));
    if (!memory) return std::unexpected(memory.error());
    s.memory = std::move(*memory);
    auto* at = reinterpret_cast<float*>(s.memory.data());
    s.scores = at;
    at += scores;
    for (Partial* p : {&s.sum, &s.next}) {
      *p = {at, at + column, at + 2 * column};
      at += partial;
    }
    s.row = at;
  }
  const int64_t segments = (int64_t{context} + kSegment - 1) / kSegment;
  a.partials_max_ =
      static_cast<int32_t>(std::min(kPartialBytesMax / (partial * 4), 4 * threads * segments));
  auto partials = HugeBuffer::make(static_cast<size_t>(a.partials_max_ * partial * 4));
  if (!partials) return std::unexpected(partials.error());
  a.partials_ = std::move(*partials);
  a.partial_base_ = reinterpret_cast<float*>(a.partials_.data());
  // A share of the heads may begin at any head.
  if ((whole ? ratio : 1) * a.head_dim_ % kGroup != 0) {
    auto gathered = HugeBuffer::make(static_cast<size_t>(int64_t{max_rows} * a.q_dim_ * 4));
    if (!gathered) return std::unexpected(gathered.error());
    a.gathered_ = std::move(*gathered);
  }
  return a;
}

Attention::Partial Attention::partial(int32_t index) const {
  const int64_t column = padded(queries_max_);
  float* at = partial_base_ + index * (2 * column + column * padded(head_dim_));
  return {at, at + column, at + 2 * column};
}

void Attention::plan(std::span<const AttentionRows> rows) {
  tasks_.clear();
  pieces_.clear();
  q_offset_.clear();
  position_.clear();
  out_rows_.clear();
  int64_t segments = 0;
  for (const AttentionRows& r : rows) {
    for (int32_t at = 0; at < r.rows; at += rows_per_task_) {
      const int32_t count = std::min(rows_per_task_, r.rows - at);
      const int32_t position = r.position + at, last = position + count - 1;
      for (int32_t i = 0; i < count; ++i) out_rows_.push_back(r.out_row + at + i);
      const int32_t seen_from = window_ > 0 ? std::max(0, position - window_ + 1) : 0;
      Task task{.table = r.table,
                .rows = count,
                .out_row = r.out_row + at,
                .first_segment = seen_from / kSegment};
      task.segments = last / kSegment + 1 - task.first_segment;
      for (const HeadRun& run : runs_) {
        task.head0 = run.head0;
        if (task.heads != run.heads) {
          // Heads of one kv head after another have the same queries, but for where they begin.
          task.heads = run.heads;
          task.query0 = static_cast<int32_t>(q_offset_.size());
          for (int32_t i = 0; i < count; ++i)
            for (int32_t head = 0; head < run.heads; ++head) {
              q_offset_.push_back((r.q_row + at + i) * q_stride_ + head * head_dim_);
              position_.push_back(position + i);
            }
        }
        tasks_.push_back(task);
        ++task.kv_head;
        segments += task.segments;
      }
    }
  }
  // Few tasks over long contexts: their segments are spread over the threads.
  const auto count = static_cast<int64_t>(tasks_.size());
  if (threads_ == 1 || count >= 4 * threads_ || segments <= count || segments > partials_max_)
    return;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    tasks_[i].partial0 = static_cast<int32_t>(pieces_.size());
    for (int32_t s = 0; s < tasks_[i].segments; ++s)
      pieces_.push_back({static_cast<int32_t>(i), tasks_[i].first_segment + s});
  }
}

int32_t Attention::first_query(const Task& task, int32_t segment) const {
  int32_t first = 0;
  while (position_[static_cast<size_t>(task.query0 + first)] < segment * kSegment) ++first;
  return first;
}

void Attention::attend(const Task& task, int32_t segment, const KvStore& kv, int32_t layer,
                       const float* q, float* scores, const Partial& to) const {
  const int32_t skip = first_query(task, segment);
  const auto first = static_cast<size_t>(task.query0 + skip);
  const int64_t stride = padded(head_dim_);
  kernels_->attend({.layout = kv.layout(),
                    .layer = kv.layer(layer),
                    .table = task.table,
                    .kv_head = task.kv_head,
                    .segment = segment,
                    .window = window_,
                    .queries = queries_of(task) - skip,
                    .q = q + int64_t{task.head0} * head_dim_,
                    .q_offset = q_offset_.data() + first,
                    .position = position_.data() + first,
                    .scores = scores,
                    .m = to.m + skip,
                    .l = to.l + skip,
                    .out = to.out + skip * stride,
                    .out_stride = stride});
}

void Attention::merge(const Task& task, int32_t segment, const Partial& sum,
                      const Partial& next) const {
  const int64_t stride = padded(head_dim_);
  for (int32_t i = first_query(task, segment); i < queries_of(task); ++i)
    kernels_->merge(sum.m + i, sum.l + i, sum.out + i * stride, next.m[i], next.l[i],
                    next.out + i * stride, head_dim_);
}

bool Attention::hand_out(const Task& task, const Partial& sum, float* row, const Activations& out) {
  const int64_t stride = padded(head_dim_);
  const int32_t width = task.heads * head_dim_, column = first_column_ + task.head0 * head_dim_;
  bool finite = true;
  for (int32_t r = 0; r < task.rows; ++r) {
    float* to =
        gathered_.size() > 0 ? gathered() + int64_t{task.out_row + r} * q_dim_ + column : row;
    for (int32_t head = 0; head < task.heads; ++head) {
      const int32_t i = r * task.heads + head;
      kernels_->finish(sum.out + i * stride, sum.l[i], head_dim_, to + head * head_dim_);
    }
    if (gathered_.size() == 0) finite &= out.put(*kernels_, task.out_row + r, column, row, width);
  }
  return finite;
}

bool Attention::run(ThreadPool& pool, const KvStore& kv, int32_t layer, const float* q,
                    const Activations& out) {
  std::atomic<bool> finite = true;
  const auto count = static_cast<int>(tasks_.size());
  const auto done = [&](const Task& task, const Partial& sum, int thread) {
    if (!hand_out(task, sum, scratch_[static_cast<size_t>(thread)].row, out))
      finite.store(false, std::memory_order_relaxed);
  };
  if (pieces_.empty()) {
    pool.run(count, [&](int i, int thread) {
      const Task& task = tasks_[static_cast<size_t>(i)];
      Scratch& s = scratch_[static_cast<size_t>(thread)];
      attend(task, task.first_segment, kv, layer, q, s.scores, s.sum);
      for (int32_t n = 1; n < task.segments; ++n) {
        attend(task, task.first_segment + n, kv, layer, q, s.scores, s.next);
        merge(task, task.first_segment + n, s.sum, s.next);
      }
      done(task, s.sum, thread);
    });
  } else {
    pool.run(static_cast<int>(pieces_.size()), [&](int i, int thread) {
      const Piece& piece = pieces_[static_cast<size_t>(i)];
      attend(tasks_[static_cast<size_t>(piece.task)], piece.segment, kv, layer, q,
             scratch_[static_cast<size_t>(thread)].scores, partial(i));
    });
    pool.run(count, [&](int i, int thread) {
      const Task& task = tasks_[static_cast<size_t>(i)];
      const Partial sum = partial(task.partial0);
      for (int32_t n = 1; n < task.segments; ++n)
        merge(task, task.first_segment + n, sum, partial(task.partial0 + n));
      done(task, sum, thread);
    });
  }
  return finite.load();
}

bool Attention::quantise(ThreadPool& pool, const Activations& out) {
  std::atomic<bool> finite = true;
  pool.run(static_cast<int>(out_rows_.size()), [&](int i, int) {
    const int32_t row = out_rows_[static_cast<size_t>(i)];
    if (!out.put(*kernels_, row, 0, gathered() + int64_t{row} * q_dim_, q_dim_))
      finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

}  // namespace troupe::native
