#include "model/native/native_weights.h"

#include <algorithm>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>

#include "model/dtype.h"
#include "model/native/pack.h"

namespace troupe::native {

namespace {

using Kind = TensorKind;

std::string describe(TensorId id) {
  std::string text(name_of(id.kind));
  return id.layer < 0 ? text : text + " of layer " + std::to_string(id.layer);
}

/// Row of the file that stands at row `row` of a head in packed order: pairs (2i, 2i+1) are taken
/// apart to (i, i + head_dim/2) where the file has them side by side.
int32_t file_row(int32_t row, int32_t head_dim, RopePairs pairs) {
  if (pairs == RopePairs::halves) return row;
  return row < head_dim / 2 ? 2 * row : 2 * (row - head_dim / 2) + 1;
}

/// One matrix to be packed: which file rows stand where.
struct MatrixPlan {
  PackedMatrix shape;
  std::vector<PackSource> sources;
  std::vector<PackRow> rows;
  std::vector<PackedMatrix*> users;  ///< told where the bytes are
};

/// Collects what is to be packed, allocates once, packs in parallel.
class Packer {
 public:
  explicit Packer(const WeightSource& source) : source_(source) {}

  /// Rows `range` of a tensor that has `rows`; a PackRow counts from the first of them.
  Result<PackSource> tensor(TensorId id, int64_t rows, int64_t cols, RowRange range) {
    const auto info = source_.info(id);
    if (!info)
      return fail(ErrorCode::data_loss, "The model file lacks the tensor " + describe(id) +
                                            ", which its metadata promises: get a complete file.");
    if (info->rows * info->cols != rows * cols || (rows > 1 && info->rows != rows))
      return fail(ErrorCode::data_loss, "The tensor " + describe(id) + " has the shape [" +
                                            std::to_string(info->rows) + ", " +
                                            std::to_string(info->cols) + "] instead of [" +
                                            std::to_string(rows) + ", " + std::to_string(cols) +
                                            "]: the model file is damaged or of another kind.");
    const auto bytes = source_.rows(id, rows > 1 ? range : RowRange{0, info->rows});
    if (!bytes) return std::unexpected(bytes.error());
    return PackSource{.dtype = info->dtype,
                      .bytes = bytes->data(),
                      .row_bytes = row_bytes(traits_of(info->dtype), info->cols),
                      .cols = static_cast<int32_t>(info->cols)};
  }

  /// All sources have one format. The plan stays at its address.
  MatrixPlan& plan(std::vector<PackSource> sources, std::vector<PackRow> rows) {
    MatrixPlan& made = plans_.emplace_back();
    made.shape =
        shape_of(format_of(sources[0].dtype), static_cast<int64_t>(rows.size()), sources[0].cols);
    made.sources = std::move(sources);
    made.rows = std::move(rows);
    return made;
  }

  Result<HugeBuffer> run(ThreadPool& pool) {
    struct Job {
      const MatrixPlan* plan;
      int32_t first, count;
      std::byte* into;
    };
    int64_t bytes = 0;
    for (const MatrixPlan& plan : plans_) bytes += aligned(plan.shape.bytes());
    auto memory = HugeBuffer::make(static_cast<size_t>(bytes));
    if (!memory) return std::unexpected(memory.error());
    std::vector<Job> jobs;
    std::byte* at = memory->data();
    for (MatrixPlan& plan : plans_) {
      plan.shape.data = reinterpret_cast<const unsigned char*>(at);
      for (PackedMatrix* user : plan.users) *user = plan.shape;
      const auto step = static_cast<int32_t>(
          std::max<int64_t>(1, kJobBytes / std::max<int64_t>(1, plan.shape.panel_bytes())));
      for (int32_t panel = 0; panel < plan.shape.panels; panel += step)
        jobs.push_back({&plan, panel, std::min(step, plan.shape.panels - panel), at});
      at += aligned(plan.shape.bytes());
    }
    pool.run(static_cast<int>(jobs.size()), [&](int i, int) {
      const Job& job = jobs[static_cast<size_t>(i)];
      pack_panels(job.plan->shape, job.plan->sources, job.plan->rows, job.first, job.count,
                  job.into);
    });
    return std::move(*memory);
  }

 private:
  static constexpr int64_t kJobBytes = 1 << 19;
  static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  const WeightSource& source_;
  std::deque<MatrixPlan> plans_;
};

/// Builds NativeWeights tensor by tensor; the first failure sticks.
class Loader {
 public:
  Loader(const WeightSource& source, const ModelSpec& spec, const RankPlan& rank,
         NativeWeights& weights)
      : packer_(source), spec_(spec), rank_(rank), weights_(weights) {}

  Result<void> run(ThreadPool& pool) {
    weights_.ffn_units = static_cast<int32_t>((rank_.ffn.size() + kFfnUnit - 1) / kFfnUnit);
    weights_.layers.resize(static_cast<size_t>(rank_.last_layer - rank_.first_layer));
    for (int32_t layer = rank_.first_layer; layer < rank_.last_layer && !failure_; ++layer)
      plan_layer(layer);
    plan_outside();
    if (failure_) return std::unexpected(*failure_);
    auto memory = packer_.run(pool);
    if (!memory) return std::unexpected(memory.error());
    weights_.memory = std::move(*memory);
    if (spec_.tied_embeddings && rank_.has_head && rank_.embeds)
      weights_.head = rows_of(weights_.embedding, rank_.vocab);
    return {};
  }

 private:
  std::optional<PackSource> tensor(TensorId id, int64_t rows, int64_t cols, RowRange range) {
    if (failure_) return std::nullopt;
    auto found = packer_.tensor(id, rows, cols, range);
    if (!found) {
      failure_ = found.error();
      return std::nullopt;
    }
    return *found;
  }

  std::vector<float> vector(TensorId id, int64_t size) {
    const auto source = tensor(id, 1, size, {0, 1});
    if (!source) return {};
    std::vector<float> out(static_cast<size_t>(size));
    dequantise(source->dtype, {source->bytes, static_cast<size_t>(source->row_bytes)}, out);
    return out;
  }

  /// A vector of whole heads in packed order.
  std::vector<float> head_vector(TensorId id, int32_t heads) {
    const std::vector<float> in = vector(id, int64_t{heads} * spec_.head_dim);
    std::vector<float> out(in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      const auto dim = static_cast<size_t>(spec_.head_dim), head = i / dim;
      const auto row = file_row(static_cast<int32_t>(i % dim), spec_.head_dim, spec_.rope.pairs);
      out[i] = in[head * dim + static_cast<size_t>(row)];
    }
    return out;
  }

  /// Rows `range` of a tensor as they stand.
  void part(TensorId id, int64_t rows, int64_t cols, RowRange range,
            std::initializer_list<PackedMatrix*> users) {
    const auto source = tensor(id, rows, cols, range);
    if (!source) return;
    std::vector<PackRow> map(static_cast<size_t>(range.size()));
    for (size_t i = 0; i < map.size(); ++i) map[i] = {0, static_cast<int32_t>(i)};
    add({*source}, std::move(map), users);
  }

  void add(std::vector<PackSource> sources, std::vector<PackRow> rows,
           std::initializer_list<PackedMatrix*> users) {
    MatrixPlan& plan = packer_.plan(std::move(sources), std::move(rows));
    plan.users = users;
  }

  /// Appends the rows of one head, padded to whole panels.
  void append_head(std::vector<PackRow>& map, int32_t source, int32_t head, RopePairs pairs) const {
    for (int32_t i = 0; i < head_panels() * kPanelRows; ++i)
      map.push_back(i < spec_.head_dim ? PackRow{source, head * spec_.head_dim +
                                                             file_row(i, spec_.head_dim, pairs)}
                                       : PackRow{});
  }
  int32_t head_panels() const { return (spec_.head_dim + kPanelRows - 1) / kPanelRows; }

  void plan_attention(int32_t layer, LayerWeights& w) {
    const auto rows_of_heads = [this](const RowRange& heads) {
      return RowRange{heads.begin * spec_.head_dim, heads.end * spec_.head_dim};
    };
    const RowRange q_rows = rows_of_heads(rank_.q_heads), kv_rows = rows_of_heads(rank_.kv_heads);
    const auto q_heads = static_cast<int32_t>(rank_.q_heads.size());
    const auto kv_heads = static_cast<int32_t>(rank_.kv_heads.size());
    const auto q = tensor({Kind::q, layer}, spec_.q_dim(), spec_.hidden, q_rows);
    const auto k = tensor({Kind::k, layer}, spec_.kv_dim(), spec_.hidden, kv_rows);
    const auto v = tensor({Kind::v, layer}, spec_.kv_dim(), spec_.hidden, kv_rows);
    if (!q || !k || !v) return;
    const int32_t hp = head_panels();
    const RopePairs pairs = spec_.rope.pairs;
    const auto units = [hp](UnitPanels& to, int32_t first, int32_t step) {
      to.first = first, to.step = step, to.panels = hp;
    };
    if (format_of(q->dtype) == format_of(k->dtype) && format_of(q->dtype) == format_of(v->dtype)) {
      std::vector<PackRow> map;  // q heads, then k and v of each kv head side by side
      for (int32_t h = 0; h < q_heads; ++h) append_head(map, 0, h, pairs);
      for (int32_t h = 0; h < kv_heads; ++h) {
        append_head(map, 1, h, pairs);
        append_head(map, 2, h, RopePairs::halves);
      }
      units(w.q, 0, hp);
      units(w.k, q_heads * hp, 2 * hp);
      units(w.v, (q_heads + 1) * hp, 2 * hp);
      add({*q, *k, *v}, std::move(map), {&w.q.matrix, &w.k.matrix, &w.v.matrix});
      return;
    }
    const auto alone = [&](const PackSource& source, int32_t heads, RopePairs order,
                           UnitPanels& to) {
      std::vector<PackRow> map;
      for (int32_t h = 0; h < heads; ++h) append_head(map, 0, h, order);
      units(to, 0, hp);
      add({source}, std::move(map), {&to.matrix});
    };
    alone(*q, q_heads, pairs, w.q);
    alone(*k, kv_heads, pairs, w.k);
    alone(*v, kv_heads, RopePairs::halves, w.v);
  }

  void plan_ffn(int32_t layer, LayerWeights& w) {
    const auto gate = tensor({Kind::gate, layer}, spec_.ffn, spec_.hidden, rank_.ffn);
    const auto up = tensor({Kind::up, layer}, spec_.ffn, spec_.hidden, rank_.ffn);
    if (!gate || !up) return;
    constexpr int32_t kUnitPanels = kFfnUnit / kPanelRows;
    const auto append = [&](std::vector<PackRow>& map, int32_t source, int32_t unit) {
      for (int32_t i = unit * kFfnUnit; i < (unit + 1) * kFfnUnit; ++i)
        map.push_back(i < rank_.ffn.size() ? PackRow{source, i} : PackRow{});
    };
    std::vector<PackRow> map;
    if (format_of(gate->dtype) == format_of(up->dtype)) {
      for (int32_t unit = 0; unit < weights_.ffn_units; ++unit) {
        append(map, 0, unit);
        append(map, 1, unit);
      }
      w.gate.step = w.up.step = 2 * kUnitPanels;
      w.up.first = kUnitPanels;
      add({*gate, *up}, std::move(map), {&w.gate.matrix, &w.up.matrix});
    } else {
      for (int32_t unit = 0; unit < weights_.ffn_units; ++unit) append(map, 0, unit);
      w.gate.step = w.up.step = kUnitPanels;
      add({*gate}, map, {&w.gate.matrix});
      add({*up}, std::move(map), {&w.up.matrix});
    }
    w.gate.panels = w.up.panels = kUnitPanels;
    part({Kind::down, layer}, spec_.hidden, spec_.ffn, rank_.hidden, {&w.down});
  }

  void plan_layer(int32_t layer) {
    LayerWeights& w = weights_.layers[static_cast<size_t>(layer - rank_.first_layer)];
    w.attention_norm = vector({Kind::attention_norm, layer}, spec_.hidden);
    plan_attention(layer, w);
    if (spec_.qkv_bias) {
      w.q_bias = head_vector({Kind::q_bias, layer}, spec_.n_heads);
      w.k_bias = head_vector({Kind::k_bias, layer}, spec_.n_kv_heads);
      w.v_bias = vector({Kind::v_bias, layer}, spec_.kv_dim());
    }
    if (spec_.qk_norm) {
      w.q_norm = head_vector({Kind::q_norm, layer}, 1);
      w.k_norm = head_vector({Kind::k_norm, layer}, 1);
    }
    part({Kind::o, layer}, spec_.hidden, spec_.q_dim(), rank_.hidden, {&w.o});
    if (spec_.o_bias) w.o_bias = vector({Kind::o_bias, layer}, spec_.hidden);
    w.ffn_norm = vector({Kind::ffn_norm, layer}, spec_.hidden);
    plan_ffn(layer, w);
    if (spec_.mlp_bias) {
      w.gate_bias = vector({Kind::gate_bias, layer}, spec_.ffn);
      w.up_bias = vector({Kind::up_bias, layer}, spec_.ffn);
      w.down_bias = vector({Kind::down_bias, layer}, spec_.hidden);
    }
  }

  void plan_outside() {
    const RowRange all{0, spec_.vocab};
    if (spec_.rope.has_freq_divisors)
      weights_.rope_divisors = vector({Kind::rope_freqs, -1}, spec_.head_dim / 2);
    if (rank_.has_head) weights_.output_norm = vector({Kind::output_norm, -1}, spec_.hidden);
    if (rank_.embeds)
      part({Kind::token_embedding, -1}, spec_.vocab, spec_.hidden, all, {&weights_.embedding});
    // A rank that embeds has the rows of a tied head already.
    if (rank_.has_head && !(spec_.tied_embeddings && rank_.embeds))
      part({spec_.tied_embeddings ? Kind::token_embedding : Kind::output, -1}, spec_.vocab,
           spec_.hidden, rank_.vocab, {&weights_.head});
  }

  /// Part of a matrix; `rows` begins at a whole panel.
  static PackedMatrix rows_of(PackedMatrix matrix, const RowRange& rows) {
    matrix.data += matrix.panel_bytes() * (rows.begin / kPanelRows);
    matrix.panels = static_cast<int32_t>((rows.size() + kPanelRows - 1) / kPanelRows);
    return matrix;
  }

  Packer packer_;
  const ModelSpec& spec_;
  const RankPlan& rank_;
  NativeWeights& weights_;
  std::optional<Error> failure_;
};

}  // namespace

Result<NativeWeights> load_native_weights(const WeightSource& source, const ModelSpec& spec,
                                          const RankPlan& rank, ThreadPool& pool) {
  NativeWeights weights;
  if (auto ok = Loader(source, spec, rank, weights).run(pool); !ok)
    return std::unexpected(ok.error());
  return weights;
}

}  // namespace troupe::native
