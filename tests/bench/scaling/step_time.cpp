#include "tests/bench/scaling/step_time.h"

#include <algorithm>
#include <cmath>

#include "config/check.h"

namespace troupe::scaling {

double ModelShape::layer_weights() const {
  const double q = heads * head_dim, kv = kv_heads * head_dim;
  return hidden * (2 * q + 2 * kv + 3 * ffn);
}
double ModelShape::head_weights() const { return hidden * vocab; }
double ModelShape::weights() const { return layers * layer_weights() + head_weights(); }
double ModelShape::kv_per_position() const { return 2 * layers * kv_heads * head_dim * kv_bytes; }

StepLoad load_of(const StepPlan& plan) {
  StepLoad load;
  for (const Slice& slice : plan.slices) {
    load.rows += slice.n_rows;
    load.out_rows += slice.n_rows - slice.out_row0;
    load.kv_positions += slice.pos0 + slice.n_rows;
    load.pairs +=
        int64_t{slice.n_rows} * slice.pos0 + int64_t{slice.n_rows} * (slice.n_rows + 1) / 2;
  }
  return load;
}

StepTime::StepTime(ModelShape model, Device device, Fabric fabric, Layout layout)
    : model_(std::move(model)),
      device_(std::move(device)),
      fabric_(std::move(fabric)),
      layout_(layout) {
  TROUPE_CHECK(layout_.tensor >= 1 && layout_.pipeline >= 1, layout_.tensor, layout_.pipeline);
  TROUPE_CHECK(device_.bandwidth > 0 && device_.operations > 0);
}

StageTime StepTime::stage(int stage, const StepLoad& load) const {
  const double n = layout_.tensor;
  const double layers = model_.layers / layout_.pipeline;
  const bool last = stage == layout_.pipeline - 1;
  const double read = n * device_.bandwidth * device_.read_share;
  const double compute = n * device_.operations * device_.compute_share;
  const auto rows = static_cast<double>(load.rows);

  const auto matrix = [&](double weights, double with_rows) {
    return std::max(weights * model_.weight_bytes / read, 2 * weights * with_rows / compute);
  };
  StageTime time;
  time.weights = matrix(layers * model_.layer_weights(), rows);
  if (last && load.out_rows > 0)
    time.weights += matrix(model_.head_weights(), static_cast<double>(load.out_rows));
  const double kv_ranks = std::min(n, model_.kv_heads);
  const double kv_read = static_cast<double>(load.kv_positions) * model_.kv_per_position() /
                         layout_.pipeline / (kv_ranks * device_.bandwidth * device_.read_share);
  const double attention =
      4 * layers * model_.heads * model_.head_dim * static_cast<double>(load.pairs) / compute;
  time.kv = std::max(kv_read, attention);
  time.reduce = 2 * layers * all_reduce(rows * model_.hidden * 2);
  time.launch = layers * device_.kernels_per_layer * device_.kernel_seconds;
  return time;
}

double StepTime::hop(const StepLoad& load) const {
  if (layout_.pipeline == 1) return 0;
  return fabric_.hop_seconds +
         static_cast<double>(load.rows) * model_.hidden * 2 / fabric_.hop_bandwidth;
}

double StepTime::through(const StepLoad& load) const {
  double seconds = (layout_.pipeline - 1) * hop(load);
  for (int s = 0; s < layout_.pipeline; ++s) seconds += stage(s, load).total();
  return seconds;
}

double StepTime::all_reduce(double bytes) const {
  if (layout_.tensor == 1 || bytes <= 0) return 0;
  const auto row = std::ranges::find(fabric_.rows, layout_.tensor, &Fabric::Row::ranks);
  TROUPE_CHECK(row != fabric_.rows.end() && !row->points.empty(), layout_.tensor);
  const auto& points = row->points;
  if (bytes <= points.front().bytes) return points.front().seconds;
  if (bytes >= points.back().bytes) {
    const double n = layout_.tensor;
    return points.back().seconds +
           2 * (n - 1) / n * (bytes - points.back().bytes) / fabric_.bus_bandwidth;
  }
  const auto above = std::ranges::find_if(points, [&](const auto& p) { return p.bytes >= bytes; });
  const auto below = above - 1;
  // Straight in both logarithms: each side is a latency or a bandwidth.
  const double at = std::log(bytes / below->bytes) / std::log(above->bytes / below->bytes);
  return below->seconds * std::pow(above->seconds / below->seconds, at);
}

int64_t StepTime::kv_positions(double share) const {
  const double weights =
      (model_.weights() + model_.head_weights()) * model_.weight_bytes / layout_.devices();
  const double left = device_.memory * share - weights;
  const double kv_ranks = std::min<double>(layout_.tensor, model_.kv_heads) * layout_.pipeline;
  return std::max<int64_t>(0, static_cast<int64_t>(left * kv_ranks / model_.kv_per_position()));
}

}  // namespace troupe::scaling
