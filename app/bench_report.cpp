#include "app/bench_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "net/json_writer.h"

namespace troupe {

namespace {

/// Of the bandwidth, by the weights of the steps alone: KV and activations come on top.
double bandwidth_share(const BenchReport& report, const BenchRates& decode) {
  const double steps = median(decode.per_second) / decode.batch;
  return steps * static_cast<double>(report.weight_bytes) / report.read_bytes_per_s;
}

std::string line(const std::string& what, const BenchRates& rates) {
  const auto [low, high] = std::ranges::minmax(rates.per_second);
  return fmt::format("{:<22}{:>9.1f} tokens/s   {:.1f} to {:.1f} in {} rounds", what,
                     median(rates.per_second), low, high, rates.per_second.size());
}

void write_rates(JsonWriter& w, const BenchReport& report, const std::vector<BenchRates>& all,
                 std::string_view name) {
  w.key(name).begin_array();
  for (const BenchRates& rates : all) {
    w.begin_object().field("batch", int64_t{rates.batch}).field("tokens", int64_t{rates.tokens});
    w.key("tokens_per_second").real(median(rates.per_second));
    if (name == "decode" && report.read_bytes_per_s > 0)
      w.key("bandwidth_share").real(bandwidth_share(report, rates));
    w.key("rounds").begin_array();
    for (double value : rates.per_second) w.real(value);
    w.end_array().end_object();
  }
  w.end_array();
}

}  // namespace

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string bench_text(const BenchReport& report) {
  std::string out = fmt::format("{}: {}\n", report.model, report.describe);
  out +=
      fmt::format("loaded in {:.3f} s; first token of a {}-token prompt {:.3f} s after the start\n",
                  report.load_s, report.prompt_tokens, report.start_to_token_s);
  if (report.read_bytes_per_s > 0)
    out += fmt::format("{:<22}{:>9.1f} GB/s       {:.1f} MB in huge pages, {} threads\n",
                       "read bandwidth", report.read_bytes_per_s / 1e9,
                       static_cast<double>(report.weight_bytes) / 1e6, report.threads);
  for (const BenchRates& rates : report.prefill)
    out += fmt::format("{}, chunks of {}\n",
                       line(fmt::format("prefill of {}", rates.tokens), rates), report.chunk);
  for (const BenchRates& rates : report.decode) {
    out += line(fmt::format("decode, batch {}", rates.batch), rates);
    if (report.read_bytes_per_s > 0)
      out += fmt::format(", weights at {:.0f} % of the bandwidth",
                         100 * bandwidth_share(report, rates));
    out += '\n';
  }
  return out;
}

std::string bench_json(const BenchReport& report) {
  std::string out;
  JsonWriter w(out);
  w.begin_object().field("model", report.model).field("backend", report.backend);
  w.field("describe", report.describe).field("threads", int64_t{report.threads});
  w.field("chunk", int64_t{report.chunk}).field("prompt_tokens", int64_t{report.prompt_tokens});
  w.key("load_s").real(report.load_s).key("start_to_first_token_s").real(report.start_to_token_s);
  w.field("weight_bytes_per_token", report.weight_bytes);
  w.key("read_bytes_per_second");
  report.read_bytes_per_s > 0 ? w.real(report.read_bytes_per_s) : w.null();
  write_rates(w, report, report.prefill, "prefill");
  write_rates(w, report, report.decode, "decode");
  w.end_object();
  return out + '\n';
}

}  // namespace troupe
