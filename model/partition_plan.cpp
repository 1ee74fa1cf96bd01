#include "model/partition_plan.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace troupe {

namespace {

/// Part `index` of `total` rows in `parts` parts of whole units. What is left over goes to the
/// first parts, or to the last ones.
enum class Rest : uint8_t { first, last };
RowRange share(int64_t total, int64_t unit, int64_t parts, int64_t index, Rest rest) {
  const int64_t units = (total + unit - 1) / unit, each = units / parts, more = units % parts;
  const auto begin_of = [&](int64_t i) {
    const int64_t extra =
        rest == Rest::first ? std::min(i, more) : std::max<int64_t>(0, i - (parts - more));
    return std::min(total, (i * each + extra) * unit);
  };
  return {begin_of(index), begin_of(index + 1)};
}

/// Layers of consecutive stages.
class StageCut {
 public:
  StageCut(const StageCosts& costs, int32_t stages) : costs_(costs), stages_(stages) {}

  /// First layer of each stage, and the number of layers.
  std::vector<int32_t> run() {
    const double dearest = least_dearest();
    std::vector<int32_t> starts{0};
    for (int32_t stage = 0; stage + 1 < stages_; ++stage)
      starts.push_back(end_of(starts.back(), stage, dearest));
    starts.push_back(layers());
    return starts;
  }

 private:
  int32_t layers() const { return static_cast<int32_t>(costs_.layers.size()); }
  double cost(int32_t layer) const { return costs_.layers[static_cast<size_t>(layer)]; }
  double before(int32_t stage) const { return stage == 0 ? costs_.embedding : 0; }
  double behind(int32_t stage) const { return stage + 1 == stages_ ? costs_.head : 0; }

  /// Whether the layers from `first` on fit into the stages from `stage` on, none dearer than
  /// `dearest`. A stage takes what it can, so if this does not fit nothing does.
  bool fits(int32_t first, int32_t stage, double dearest) const {
    for (; stage < stages_; ++stage) {
      double sum = before(stage) + behind(stage);
      const int32_t most = layers() - (stages_ - 1 - stage);
      int32_t end = first;
      while (end < most && (sum + cost(end) <= dearest)) sum += cost(end++);
      if (end == first) return false;
      first = end;
    }
    return first == layers();
  }

  double least_dearest() const {
    double low = 0, high = costs_.embedding + costs_.head;
    for (double c : costs_.layers) high += c;
    high *= 1 + 1e-9;
    // 60 halvings are below the last bit of any ratio that matters.
    for (int i = 0; i < 60; ++i) {
      const double middle = low + (high - low) / 2;
      (fits(0, 0, middle) ? high : low) = middle;
    }
    return high;
  }

  /// Where a stage that begins at `first` ends: as near to an even share of what is left as
  /// `dearest` allows.
  int32_t end_of(int32_t first, int32_t stage, double dearest) const {
    double left = before(stage) + costs_.head;
    for (int32_t i = first; i < layers(); ++i) left += cost(i);
    const double fair = left / (stages_ - stage);
    double sum = before(stage) + cost(first);
    int32_t end = first + 1;
    const int32_t most = layers() - (stages_ - 1 - stage);
    while (end < most && (!fits(end, stage + 1, dearest) ||
                          (sum + cost(end) <= dearest && sum + cost(end) / 2 <= fair)))
      sum += cost(end++);
    return end;
  }

  const StageCosts& costs_;
  int32_t stages_;
};

Result<void> check_layout(const ModelSpec& spec, int32_t tensor_parallel,
                          int32_t pipeline_parallel) {
  const auto number = [](int32_t n) { return std::to_string(n); };
  const int32_t tp = std::clamp(tensor_parallel, 1, spec.n_heads);
  const int32_t pp = std::clamp(pipeline_parallel, 1, spec.n_layers);
  const std::string nearest = ": the nearest layout is tensor_parallel " + number(tp) +
                              " with pipeline_parallel " + number(pp) + ".";
  const auto check = [&](const char* field, int32_t value, int32_t allowed,
                         const std::string& why) -> Result<void> {
    if (value == allowed) return {};
    return fail(ErrorCode::invalid_argument,
                std::string(field) + " is " + number(value) + ", but " + why + nearest, field);
  };
  if (auto ok = check("tensor_parallel", tensor_parallel, tp,
                      tensor_parallel < 1 ? "a group has at least one rank"
                                          : "a rank needs a query head of its own and the model "
                                            "has " +
                                                number(spec.n_heads));
      !ok)
    return ok;
  return check("pipeline_parallel", pipeline_parallel, pp,
               pipeline_parallel < 1
                   ? "a group has at least one stage"
                   : "a stage needs a layer of its own and the model has " + number(spec.n_layers));
}

Result<void> check_costs(const ModelSpec& spec, const StageCosts& costs) {
  const auto sound = [](double cost) { return std::isfinite(cost) && cost >= 0; };
  if (costs.layers.size() == static_cast<size_t>(spec.n_layers) && sound(costs.embedding) &&
      sound(costs.head) && std::ranges::all_of(costs.layers, sound))
    return {};
  return fail(ErrorCode::invalid_argument,
              "The stage costs need a number of 0 or more for each of the " +
                  std::to_string(spec.n_layers) +
                  " layers, the embedding and the head: measure them again.",
              "costs");
}

}  // namespace

StageCosts parameter_costs(const ModelSpec& spec) {
  const double hidden = spec.hidden;
  const double layer =
      hidden * (2.0 * spec.q_dim() + 2.0 * spec.kv_dim() + 3.0 * static_cast<double>(spec.ffn));
  return {.embedding = hidden,
          .head = hidden * spec.vocab,
          .layers = std::vector<double>(static_cast<size_t>(spec.n_layers), layer)};
}

PartitionPlan whole_model(const ModelSpec& spec) {
  RankPlan rank;
  rank.last_layer = spec.n_layers;
  rank.q_heads = {0, spec.n_heads};
  rank.kv_heads = {0, spec.n_kv_heads};
  rank.ffn = {0, spec.ffn};
  rank.vocab = {0, spec.vocab};
  rank.hidden = {0, spec.hidden};
  rank.embeds = true;
  rank.has_head = true;
  return PartitionPlan{.ranks = {rank}};
}

Result<PartitionPlan> plan_partitions(const ModelSpec& spec, int32_t tensor_parallel,
                                      int32_t pipeline_parallel, const StageCosts& costs) {
  if (auto ok = check_layout(spec, tensor_parallel, pipeline_parallel); !ok)
    return std::unexpected(ok.error());
  if (auto ok = check_costs(spec, costs); !ok) return std::unexpected(ok.error());
  PartitionPlan plan;
  plan.tensor_parallel = tensor_parallel;
  plan.pipeline_parallel = pipeline_parallel;
  const std::vector<int32_t> starts = StageCut(costs, pipeline_parallel).run();
  const int32_t ratio = spec.n_heads / spec.n_kv_heads;
  for (int32_t stage = 0; stage < pipeline_parallel; ++stage)
    for (int32_t tp = 0; tp < tensor_parallel; ++tp) {
      RankPlan& rank = plan.ranks.emplace_back();
      rank.stage = stage;
      rank.tp = tp;
      rank.first_layer = starts[static_cast<size_t>(stage)];
      rank.last_layer = starts[static_cast<size_t>(stage) + 1];
      rank.q_heads = share(spec.n_heads, 1, tensor_parallel, tp, Rest::first);
      rank.kv_heads = {rank.q_heads.begin / ratio, (rank.q_heads.end + ratio - 1) / ratio};
      // Who has a head more gets a unit less of the others, and rank 0 draws tokens besides.
      rank.ffn = share(spec.ffn, kFfnSplitUnit, tensor_parallel, tp, Rest::last);
      rank.vocab = share(spec.vocab, kVocabSplitUnit, tensor_parallel, tp, Rest::last);
      rank.hidden = share(spec.hidden, kHiddenSplitUnit, tensor_parallel, tp, Rest::last);
      rank.embeds = stage == 0;
      rank.has_head = stage + 1 == pipeline_parallel;
    }
  return plan;
}

Result<PartitionPlan> plan_partitions(const ModelSpec& spec, int32_t tensor_parallel,
                                      int32_t pipeline_parallel) {
  return plan_partitions(spec, tensor_parallel, pipeline_parallel, parameter_costs(spec));
}

}  // namespace troupe
