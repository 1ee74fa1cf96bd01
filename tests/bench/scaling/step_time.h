// How long one step takes on hardware that is modelled. Pure: the sources of the figures and what
// is left out stand in docs/scaling.md.
//
// Of a pipeline stage with 1/p of the layers, on n tensor ranks:
//   weights = max(W / (n * BW * e), 2 * P * rows / (n * F * u))     reading them or computing
//   kv      = max(K / (n' * BW * e), A / (n * F * u))               n' = min(n, kv heads)
//   reduce  = 2 * layers * AR(rows * hidden * 2 bytes, n)
//   launch  = layers * kernels * time of one
// and between stages a hop. W bytes of weights, P their number, K bytes of keys and values read, A
// operations of attention, e and u what is reached of bandwidth BW and arithmetic F.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/time.h"
#include "model/step.h"

namespace troupe::scaling {

struct ModelShape {
  std::string name;
  double layers = 0, hidden = 0, ffn = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  double weight_bytes = 2;  ///< of one weight
  double kv_bytes = 2;      ///< of one element of a key or value

  double layer_weights() const;  ///< number, of one layer
  double head_weights() const;
  double weights() const;          ///< all that a step reads
  double kv_per_position() const;  ///< bytes, all layers
};

struct Device {
  std::string name;
  double bandwidth = 0;        ///< bytes/s
  double operations = 0;       ///< per second, in the format of the weights, dense
  double memory = 0;           ///< bytes
  double read_share = 0.7;     ///< e
  double compute_share = 0.5;  ///< u
  double kernels_per_layer = 8;
  double kernel_seconds = 1.3e-6;
};

/// Sums among the ranks of one tensor group.
struct Fabric {
  struct Point {
    double bytes = 0, seconds = 0;
  };
  struct Row {
    int ranks = 0;
    std::vector<Point> points;  ///< ascending
  };
  std::vector<Row> rows;
  double bus_bandwidth = 0;  ///< bytes/s and rank: what larger messages are moved with
  double hop_seconds = 0;    ///< from stage to stage ...
  double hop_bandwidth = 0;  ///< ... and what its bytes take
};

struct Layout {
  int tensor = 1, pipeline = 1;
  int devices() const { return tensor * pipeline; }
};

/// What of a plan takes time.
struct StepLoad {
  int64_t rows = 0, out_rows = 0;
  int64_t kv_positions = 0;  ///< read, over all sequences
  int64_t pairs = 0;         ///< of a row and a position that it sees
};
StepLoad load_of(const StepPlan& plan);

struct StageTime {
  double weights = 0, kv = 0, reduce = 0, launch = 0;  ///< seconds
  double total() const { return weights + kv + reduce + launch; }
};

class StepTime {
 public:
  StepTime(ModelShape model, Device device, Fabric fabric, Layout layout);

  /// Of one stage; the last one has the head.
  StageTime stage(int stage, const StepLoad& load) const;
  /// Between two stages.
  double hop(const StepLoad& load) const;
  /// A plan alone on the pipeline.
  double through(const StepLoad& load) const;
  /// A sum of so many bytes among the tensor ranks.
  double all_reduce(double bytes) const;
  /// Positions of KV that fit beside the weights, with `share` of the memory in use.
  int64_t kv_positions(double share) const;

  const ModelShape& model() const { return model_; }
  const Layout& layout() const { return layout_; }

 private:
  ModelShape model_;
  Device device_;
  Fabric fabric_;
  Layout layout_;
};

}  // namespace troupe::scaling
