#include "model/native/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "config/check.h"
#include "model/native/arena.h"
#include "model/native/pack.h"
#include "model/native/phase_cut.h"

namespace troupe::native {

namespace {

int64_t unit_macs(const UnitPanels& unit) {
  return int64_t{unit.panels} * kPanelRows * unit.matrix.groups * kGroup;
}
int64_t unit_bytes(const UnitPanels& unit) { return unit.panels * unit.matrix.panel_bytes(); }

}  // namespace

Result<std::unique_ptr<Decoder>> Decoder::make(const WeightSource& source, const ModelSpec& spec,
                                               const PartitionPlan& plan, int rank,
                                               RankGroup* group, const Budget& budget, KvFormat kv,
                                               MatmulFn matmul, const VectorKernels& kernels,
                                               ThreadPool& pool) {
  const RankPlan& share = plan.ranks[static_cast<size_t>(rank)];
  std::unique_ptr<Decoder> d(new Decoder(spec, share, matmul, kernels, pool));
  auto weights = load_native_weights(source, spec, share, pool);
  if (!weights) return std::unexpected(weights.error());
  d->weights_ = std::move(*weights);
  d->rope_ = std::make_unique<RopeTable>(spec.rope, spec.head_dim, budget.context,
                                         d->weights_.rope_divisors);
  auto store = KvStore::make({.format = kv,
                              .head_dim = spec.head_dim,
                              .kv_heads = static_cast<int32_t>(share.kv_heads.size()),
                              .blocks = budget.kv_blocks,
                              .layers = share.last_layer - share.first_layer},
                             {.model_layers = spec.n_layers,
                              .model_heads = spec.n_kv_heads,
                              .first_layer = share.first_layer,
                              .first_head = static_cast<int32_t>(share.kv_heads.begin)});
  if (!store) return std::unexpected(store.error());
  d->kv_ = std::move(*store);
  auto attention = Attention::make(spec, {share.q_heads, share.kv_heads}, kernels, budget.max_rows,
                                   budget.context, pool.threads());
  if (!attention) return std::unexpected(attention.error());
  d->attention_ = std::move(*attention);
  d->q_scale_ = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  if (group != nullptr) {
    auto exchange = Exchange::make(*group, pool, budget.max_rows,
                                   std::max({spec.hidden, spec.q_dim(), spec.ffn}));
    if (!exchange) return std::unexpected(exchange.error());
    d->exchange_ = std::move(*exchange);
    d->shares_layers_ = plan.tensor_parallel > 1;
  }
  for (int32_t tp = 0; tp < plan.tensor_parallel; ++tp) {
    const RankPlan& r = plan.ranks[static_cast<size_t>(tp)];
    d->splits_.hidden.push_back(r.hidden);
    d->splits_.heads.push_back({r.q_heads.begin * spec.head_dim, r.q_heads.end * spec.head_dim});
    d->splits_.ffn.push_back(r.ffn);
  }
  if (auto ok = d->make_buffers(budget); !ok) return std::unexpected(ok.error());
  return d;
}

Result<void> Decoder::make_buffers(const Budget& budget) {
  TileReaders normed, rest, attended, gated;
  for (const LayerWeights& w : weights_.layers) {
    for (const UnitPanels* unit : {&w.q, &w.k, &w.v, &w.gate, &w.up}) normed.add(unit->matrix.kind);
    for (const UnitPanels* unit : {&w.k, &w.v}) rest.add(unit->matrix.kind);
    attended.add(w.o.kind);
    gated.add(w.down.kind);
  }
  if (rank_.has_head) {
    normed.add(weights_.head.kind);
    rest.add(weights_.head.kind);
  }
  rest.floats = false;  // a float matrix reads what was quantised as it was
  for (auto [to, width, readers] : {std::tuple{&normed_, spec_.hidden, normed},
                                    {&rest_, spec_.hidden, rest},
                                    {&attended_, spec_.q_dim(), attended},
                                    {&gated_, spec_.ffn, gated}}) {
    auto made = Activations::make(budget.max_rows, width, readers);
    if (!made) return std::unexpected(made.error());
    *to = std::move(*made);
  }
  // The widest piece a thread computes at once: k, v of a head and a second term of one of them, a
  // gate/up unit, or a norm's row.
  const int64_t head = padded(spec_.head_dim);
  scratch_floats_ =
      std::max(kTileRows * std::max<int64_t>(3 * head, 2 * kFfnUnit), padded(spec_.hidden));
  const int64_t x = padded(int64_t{budget.max_rows} * spec_.hidden);
  const int64_t q = padded(int64_t{budget.max_rows} * rank_.q_heads.size() * spec_.head_dim);
  auto memory =
      HugeBuffer::make(static_cast<size_t>((x + q + scratch_floats_ * pool_->threads()) * 4));
  if (!memory) return std::unexpected(memory.error());
  memory_ = std::move(*memory);
  x_ = reinterpret_cast<float*>(memory_.data());
  q_ = x_ + x;
  scratch_ = q_ + q;
  rows_.reserve(static_cast<size_t>(budget.max_rows));
  return {};
}

Result<void> Decoder::forward(std::span<const SequenceRows> sequences, const StepStop& stop) {
  finite_.store(true, std::memory_order_relaxed);
  plan_rows(sequences);
  const auto all = static_cast<int32_t>(rows_.size());
  if (rank_.embeds)
    embed();
  else if (auto ok = exchange_->receive_on(x_, spec_.hidden, all, splits_.hidden); !ok)
    return ok;
  attention_.plan(all_rows_);
  const auto layers = static_cast<int32_t>(weights_.layers.size());
  for (int32_t layer = 0; layer < layers; ++layer) {
    if (auto ok = stop.check(); !ok) return ok;
    const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
    normed_.set_rows(all);
    rest_.set_rows(all);
    const bool floats = is_float(w.k.matrix.kind) && is_float(w.v.matrix.kind);
    norm(w.attention_norm, floats ? nullptr : &rest_);
    project_heads(layer);
    // After the model's last KV is written, only rows that give output go on.
    const bool last = rank_.has_head && layer + 1 == layers;
    if (last) keep_wanted_rows();
    const int32_t rows = last ? out_rows_ : all;
    if (rows == 0) break;
    if (auto ok = attend(w, layer, rows); !ok) return ok;
    if (auto ok = add_projection(w.o, w.o_bias, attended_); !ok) return ok;
    normed_.set_rows(rows);
    norm(w.ffn_norm, nullptr);
    if (auto ok = feed_forward(w); !ok) return ok;
  }
  if (rank_.has_head && out_rows_ > 0) {
    normed_.set_rows(out_rows_);
    rest_.set_single_rows(out_rows_);
    norm(weights_.output_norm, is_float(weights_.head.kind) ? nullptr : &rest_);
  }
  if (!finite_.load(std::memory_order_relaxed))
    return fail(ErrorCode::internal,
                "A hidden state of the step is not finite: the weights or the KV memory are "
                "damaged, and the group starts anew.");
  return {};
}

Result<void> Decoder::hand_over() {
  return exchange_->send_on(x_, spec_.hidden, static_cast<int32_t>(rows_.size()), splits_.hidden);
}

void Decoder::plan_rows(std::span<const SequenceRows> sequences) {
  rows_.clear();
  all_rows_.clear();
  wanted_rows_.clear();
  out_rows_ = 0;
  int32_t positions = 0;
  for (const SequenceRows& s : sequences) {
    const auto row0 = static_cast<int32_t>(rows_.size());
    for (int32_t i = 0; i < s.rows; ++i) {
      const int32_t position = s.position + i;
      rows_.push_back({s.tokens[i], position, s.table[position / kKvBlock]});
    }
    positions = std::max(positions, s.position + s.rows);
    all_rows_.push_back({s.table, row0, row0, s.position, s.rows});
    const int32_t wanted = s.rows - s.first_out;
    if (wanted > 0)
      wanted_rows_.push_back(
          {s.table, row0 + s.first_out, out_rows_, s.position + s.first_out, wanted});
    out_rows_ += wanted;
  }
  rope_->ensure(positions);
}

void Decoder::embed() {
  pool_->run(static_cast<int>(rows_.size()), [&](int row, int) {
    unpack_row(weights_.embedding, rows_[static_cast<size_t>(row)].token,
               {x(row), static_cast<size_t>(spec_.hidden)});
  });
}

void Decoder::norm(const std::vector<float>& weight, Activations* rest) {
  // A tile to a thread: two that write scales of one tile would write the same cache lines.
  const Tiling& tiling = normed_.tiling();
  pool_->run(tiling.count, [&](int tile, int thread) {
    float* y = scratch(thread);
    const int32_t end = tiling.first(tile) + tiling.size(tile);
    for (int32_t row = tiling.first(tile); row < end; ++row) {
      kernels_->rms_norm(x(row), weight.data(), spec_.hidden, spec_.rms_eps, y);
      check_finite(normed_.put(*kernels_, row, 0, y, spec_.hidden));
      if (rest != nullptr) normed_.put_rest(*kernels_, row, y, *rest);
    }
  });
}

void Decoder::project_heads(int32_t layer) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const Tiling& tiling = normed_.tiling();
  // k and v of a head are written together, and computed from two terms.
  const int64_t terms = is_float(w.k.matrix.kind) ? 1 : 2;
  const PhaseCut queries(static_cast<int32_t>(rank_.q_heads.size()), unit_bytes(w.q),
                         unit_macs(w.q), tiling, pool_->threads());
  const PhaseCut keys(static_cast<int32_t>(rank_.kv_heads.size()), 2 * unit_bytes(w.k),
                      2 * terms * unit_macs(w.k), tiling, pool_->threads());
  const int32_t key_chunks = keys.chunks();
  pool_->run(key_chunks + queries.chunks(), [&](int chunk, int thread) {
    float* y = scratch(thread);
    if (chunk < key_chunks)
      keys.each(chunk, [&](int32_t head, int32_t tile) { key_value_head(layer, head, tile, y); });
    else
      queries.each(chunk - key_chunks,
                   [&](int32_t head, int32_t tile) { query_head(layer, head, tile, y); });
  });
}

void Decoder::query_head(int32_t layer, int32_t head, int32_t tile, float* y) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int32_t dim = spec_.head_dim;
  const int64_t stride = padded(dim), row_floats = rank_.q_heads.size() * dim;
  const int64_t bias = (rank_.q_heads.begin + head) * dim;
  matmul_(w.q.matrix, w.q.panel(head), w.q.panels, normed_.tile(tile), y, stride);
  const int32_t first = normed_.tiling().first(tile), rows = normed_.tiling().size(tile);
  for (int32_t r = 0; r < rows; ++r, y += stride) {
    const int32_t position = rows_[static_cast<size_t>(first + r)].position;
    if (!w.q_bias.empty()) kernels_->add(y, w.q_bias.data() + bias, dim);
    if (!w.q_norm.empty()) kernels_->rms_norm(y, w.q_norm.data(), dim, spec_.rms_eps, y);
    kernels_->rotate(y, dim, rope_->cos(position), rope_->sin(position), q_scale_);
    std::memcpy(q_ + (first + r) * row_floats + head * dim, y, static_cast<size_t>(dim) * 4);
  }
}

void Decoder::project_key_or_value(const UnitPanels& w, int32_t head, int32_t tile, float* y,
                                   float* more) const {
  const int64_t stride = padded(spec_.head_dim);
  matmul_(w.matrix, w.panel(head), w.panels, normed_.tile(tile), y, stride);
  if (is_float(w.matrix.kind)) return;
  matmul_(w.matrix, w.panel(head), w.panels, rest_.tile(tile), more, stride);
  kernels_->add(y, more, static_cast<int32_t>(normed_.tiling().size(tile) * stride));
}

void Decoder::key_value_head(int32_t layer, int32_t head, int32_t tile, float* y) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int32_t dim = spec_.head_dim;
  const int64_t stride = padded(dim), bias = (rank_.kv_heads.begin + head) * dim;
  const int32_t first = normed_.tiling().first(tile), rows = normed_.tiling().size(tile);
  float* k = y;
  float* v = k + rows * stride;
  project_key_or_value(w.k, head, tile, k, v + rows * stride);
  project_key_or_value(w.v, head, tile, v, v + rows * stride);
  for (int32_t r = 0; r < rows; ++r, k += stride, v += stride) {
    const Row& row = rows_[static_cast<size_t>(first + r)];
    if (!w.k_bias.empty()) kernels_->add(k, w.k_bias.data() + bias, dim);
    if (!w.v_bias.empty()) kernels_->add(v, w.v_bias.data() + bias, dim);
    if (!w.k_norm.empty()) kernels_->rms_norm(k, w.k_norm.data(), dim, spec_.rms_eps, k);
    kernels_->rotate(k, dim, rope_->cos(row.position), rope_->sin(row.position), 1);
    kernels_->write_kv(kv_.layout(), kv_.unit(layer, row.block, head), row.position % kKvBlock, k,
                       v);
  }
}

void Decoder::keep_wanted_rows() {
  // Ascending, and a row never moves behind itself, so nothing is overwritten that is still needed.
  for (const AttentionRows& r : wanted_rows_)
    for (int32_t i = 0; i < r.rows; ++i)
      if (r.out_row != r.q_row)
        std::memmove(x(r.out_row + i), x(r.q_row + i), static_cast<size_t>(spec_.hidden) * 4);
  attention_.plan(wanted_rows_);
}

Result<void> Decoder::attend(const LayerWeights& w, int32_t layer, int32_t rows) {
  attended_.set_rows(rows);
  check_finite(attention_.run(*pool_, kv_, layer, q_, attended_));
  if (float* floats = attention_.floats()) {
    if (shares_layers_)
      if (auto ok = exchange_->gather_floats(floats, spec_.q_dim(), rows, splits_.heads); !ok)
        return ok;
    check_finite(attention_.quantise(*pool_, attended_));
    return {};
  }
  return shares_layers_ ? exchange_->gather(attended_, w.o.kind, splits_.heads, finite_)
                        : Result<void>{};
}

Result<void> Decoder::add_projection(const PackedMatrix& matrix, const std::vector<float>& bias,
                                     const Activations& in) {
  const Tiling& tiling = in.tiling();
  const auto first = static_cast<int32_t>(rank_.hidden.begin);
  const auto end = static_cast<int32_t>(rank_.hidden.end);
  const PhaseCut cut(matrix.panels, matrix.panel_bytes(),
                     int64_t{kPanelRows} * matrix.groups * kGroup, tiling, pool_->threads());
  pool_->run(cut.chunks(), [&](int chunk, int thread) {
    float* y = scratch(thread);
    cut.each(chunk, [&](int32_t panel, int32_t tile) {
      matmul_(matrix, panel, 1, in.tile(tile), y, kPanelRows);
      const int32_t column = first + panel * kPanelRows, n = std::min(kPanelRows, end - column);
      if (!bias.empty())
        for (int32_t r = 0; r < tiling.size(tile); ++r)
          kernels_->add(y + r * kPanelRows, bias.data() + column, n);
      kernels_->add_rows(x(tiling.first(tile)) + column, spec_.hidden, y, kPanelRows,
                         tiling.size(tile), n);
    });
  });
  return shares_layers_ ? exchange_->gather_floats(x_, spec_.hidden, tiling.rows, splits_.hidden)
                        : Result<void>{};
}

Result<void> Decoder::feed_forward(const LayerWeights& w) {
  const Tiling& tiling = normed_.tiling();
  gated_.set_rows(tiling.rows);
  const auto first = static_cast<int32_t>(rank_.ffn.begin),
             end = static_cast<int32_t>(rank_.ffn.end);
  const PhaseCut cut(weights_.ffn_units, unit_bytes(w.gate) + unit_bytes(w.up),
                     unit_macs(w.gate) + unit_macs(w.up), tiling, pool_->threads());
  pool_->run(cut.chunks(), [&](int chunk, int thread) {
    float* gate = scratch(thread);
    cut.each(chunk, [&](int32_t unit, int32_t tile) {
      const ActivationTile in = normed_.tile(tile);
      float* up = gate + in.rows * kFfnUnit;
      matmul_(w.gate.matrix, w.gate.panel(unit), w.gate.panels, in, gate, kFfnUnit);
      matmul_(w.up.matrix, w.up.panel(unit), w.up.panels, in, up, kFfnUnit);
      const int32_t column = first + unit * kFfnUnit, n = std::min(kFfnUnit, end - column);
      for (int32_t r = 0; r < in.rows; ++r) {
        float* g = gate + r * kFfnUnit;
        float* u = up + r * kFfnUnit;
        if (!w.gate_bias.empty()) kernels_->add(g, w.gate_bias.data() + column, n);
        if (!w.up_bias.empty()) kernels_->add(u, w.up_bias.data() + column, n);
        kernels_->silu_mul(g, u, n, g);
      }
      check_finite(gated_.put_tile(*kernels_, tile, column, gate, kFfnUnit, n));
    });
  });
  if (shares_layers_)
    if (auto ok = exchange_->gather(gated_, w.down.kind, splits_.ffn, finite_); !ok) return ok;
  return add_projection(w.down, w.down_bias, gated_);
}

}  // namespace troupe::native
