#include "tests/bench/scaling/cpu_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "tests/bench/scaling/step_time.h"

namespace troupe::scaling {

double CpuTable::decode_step(double sequences) const {
  if (sequences <= 0) return 0;
  if (decode.size() == 1 || sequences <= decode.front().first) return decode.front().second;
  const auto above =
      std::ranges::find_if(decode, [&](const auto& p) { return p.first >= sequences; });
  const auto b = above == decode.end() ? decode.end() - 1 : above;
  const auto a = b - 1;
  return a->second + (b->second - a->second) * (sequences - a->first) / (b->first - a->first);
}

PlanTime CpuTable::operator()(const StepPlan& plan) const {
  double decoding = 0, prompt_rows = 0, positions = 0;
  for (const Slice& slice : plan.slices) {
    const bool decodes = slice.n_rows - slice.n_draft == 1 && slice.out == Out::sample;
    if (decodes)
      ++decoding;
    else
      prompt_rows += slice.n_rows;
    if (decodes) positions += slice.pos0 + slice.n_rows - bench_positions;
  }
  const double kv = std::max(0.0, positions) * kv_per_position / bandwidth;
  const double all = decode_step(decoding) + prompt_rows * prompt_row + kv;
  const double stage = all / (tensor * pipeline) + exchange;
  const auto ns = [](double seconds) { return Duration(static_cast<int64_t>(seconds * 1e9)); };
  return {std::vector<Duration>(static_cast<size_t>(pipeline), ns(stage)), ns(hop)};
}

Result<std::vector<std::pair<double, double>>> parse_decode(const std::string& text) {
  std::vector<std::pair<double, double>> points;
  const char* at = text.c_str();
  while (*at != 0) {
    char* end = nullptr;
    const double sequences = std::strtod(at, &end);
    if (end == at || *end != ':') break;
    at = end + 1;
    const double seconds = std::strtod(at, &end);
    if (end == at || sequences <= 0 || seconds <= 0) break;
    if (!points.empty() && sequences <= points.back().first) break;
    points.emplace_back(sequences, seconds);
    at = *end == ',' ? end + 1 : end;
    if (*end == 0) return points;
  }
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("'{}' is no list of SEQUENCES:SECONDS in ascending order, as 1:0.004,16:0.02",
                  text),
      "decode");
}

}  // namespace troupe::scaling
