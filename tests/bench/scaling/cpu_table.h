// The native engine on one machine as a table, measured by `troupe bench`: seconds of a decode
// step by the sequences in it, and of a prompt's row. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/result.h"
#include "tests/bench/scaling/modelled_device.h"

namespace troupe::scaling {

struct CpuTable {
  /// (sequences, seconds of a step), ascending; straight between, on above.
  std::vector<std::pair<double, double>> decode;
  double prompt_row = 0;         ///< seconds, in a chunk of the usual size
  double bench_positions = 192;  ///< positions a sequence had on average while that was measured
  double kv_per_position = 0;    ///< bytes
  double bandwidth = 0;          ///< bytes/s, for the KV of longer contexts
  double exchange = 0;           ///< seconds that a tensor split adds to a step
  double hop = 0;                ///< seconds between two stages
  int tensor = 1, pipeline = 1;

  double decode_step(double sequences) const;
  PlanTime operator()(const StepPlan& plan) const;
};

/// "1:0.0037,16:0.014": what `--decode` takes.
Result<std::vector<std::pair<double, double>>> parse_decode(const std::string& text);

}  // namespace troupe::scaling
