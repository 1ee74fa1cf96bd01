// What the matrix kernels leave of the memory's bandwidth: the weights that a decoded token reads,
// once by a plain sum and once multiplied by one row of activations (a GEMV), by the same threads
// of the engine's pool and in turns. Prints JSON with a value for each round, in GB/s.
//   gemv_bench [--isa NAME] [--threads N] [--rounds N] [--w4m MB] [--w8 MB] ...
// Weights are SmolLM2's unless given: 66.4 MB of w4m (its layers, Q4_1) and 30.1 MB of w8 (its
// head, Q8_0), in huge pages.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "model/native/thread_pool.h"
#include "tests/bench/matmul_data.h"

using namespace troupe::native;
using namespace troupe::bench;

namespace {

constexpr int32_t kCols = 576;
constexpr int64_t kChunkBytes = 192 * 1024;  // some 10 us of a thread, as in a decode step
constexpr double kRoundSeconds = 0.25;

struct Options {
  Isa isa = best_isa();
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int rounds = 5;
  std::vector<std::pair<Kind, double>> weights;  // MB
};

std::optional<Options> parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc || !name.starts_with("--")) return std::nullopt;
    const std::string value = argv[i + 1];
    const auto kind = std::ranges::find(kKinds, name.substr(2), &Kind::name);
    if (name == "--isa") {
      const auto isa = isa_named(value);
      if (!isa || !can_run(*isa)) return std::nullopt;
      o.isa = *isa;
    } else if (name == "--threads") {
      o.threads = std::clamp(std::atoi(value.c_str()), 1, kPoolThreadsMax);
    } else if (name == "--rounds") {
      o.rounds = std::max(1, std::atoi(value.c_str()));
    } else if (kind != std::end(kKinds)) {
      o.weights.emplace_back(*kind, std::atof(value.c_str()));
    } else {
      return std::nullopt;
    }
  }
  if (o.weights.empty()) o.weights = {{kKinds[1], 66.4}, {kKinds[3], 30.1}};
  return o;
}

/// One matrix, and what a pass over it needs.
struct Weights {
  PackedMatrix matrix;
  int32_t chunk = 1;  // panels

  int chunks() const { return (matrix.panels + chunk - 1) / chunk; }
  int32_t panels_of(int c) const { return std::min(chunk, matrix.panels - c * chunk); }
};

Weights weights_of(const Kind& kind, double megabytes) {
  Weights w{.matrix = shape_of(kind.format, kPanelRows, kCols)};
  w.matrix.panels = std::max(
      1, static_cast<int32_t>(megabytes * 1e6 / static_cast<double>(w.matrix.panel_bytes())));
  unsigned char* at = huge_pages(static_cast<size_t>(w.matrix.bytes()));
  w.matrix.data = at;
  fill(w.matrix, at);
  w.chunk = std::max(1, static_cast<int32_t>(kChunkBytes / w.matrix.panel_bytes()));
  return w;
}

/// 32 bytes, because a plain sum of words may not keep up with the memory.
using Lanes __attribute__((vector_size(32))) = uint64_t;

uint64_t sum_of(const unsigned char* at, int64_t bytes) {
  const auto* lanes = reinterpret_cast<const Lanes*>(at);
  Lanes a{}, b{};
  for (int64_t i = 0; i + 2 <= bytes / static_cast<int64_t>(sizeof(Lanes)); i += 2) {
    a += lanes[i];
    b += lanes[i + 1];
  }
  a += b;
  return a[0] + a[1] + a[2] + a[3];
}

/// Bytes a second over passes of a round.
template <class Pass>
double rate(int64_t bytes, Pass pass) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  double took = 0;
  int64_t passes = 0;
  for (; took < kRoundSeconds; ++passes) {
    pass();
    took = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return static_cast<double>(bytes * passes) / took;
}

std::string list(const std::vector<double>& values) {
  std::string out;
  for (double v : values) out += fmt::format("{}{:.3f}", out.empty() ? "" : ", ", v / 1e9);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options) {
    fmt::print(stderr,
               "gemv_bench [--isa NAME] [--threads N] [--rounds N] [--KIND MB]...: NAME is one "
               "this processor runs, KIND as w4m\n");
    return 2;
  }
  std::vector<Weights> all;
  int64_t bytes = 0;
  for (const auto& [kind, megabytes] : options->weights) {
    all.push_back(weights_of(kind, megabytes));
    bytes += all.back().matrix.bytes();
  }
  ThreadPool pool(options->threads);
  const MatmulFn matmul = matmul_for(options->isa);
  const Tile x(1, kCols / kGroup);
  const int64_t stride = int64_t{kPanelRows} * std::ranges::max(all, {}, &Weights::chunk).chunk;
  auto* results = static_cast<float*>(
      std::aligned_alloc(64, static_cast<size_t>(stride * pool.threads()) * sizeof(float)));
  std::vector<uint64_t> sums(static_cast<size_t>(pool.threads()) * 8);  // a cache line each

  const auto read = [&] {
    for (const Weights& w : all)
      pool.run(w.chunks(), [&](int c, int thread) {
        const int64_t panel = w.matrix.panel_bytes();
        sums[static_cast<size_t>(thread) * 8] +=
            sum_of(w.matrix.data + c * w.chunk * panel, w.panels_of(c) * panel);
      });
  };
  const auto multiply = [&] {
    for (const Weights& w : all)
      pool.run(w.chunks(), [&](int c, int thread) {
        matmul(w.matrix, c * w.chunk, w.panels_of(c), x.tile, results + thread * stride, stride);
      });
  };
  rate(bytes, read);
  rate(bytes, multiply);
  std::vector<double> reads, products;
  for (int round = 0; round < options->rounds; ++round) {
    reads.push_back(rate(bytes, read));
    products.push_back(rate(bytes, multiply));
  }
  uint64_t sum = 0;
  for (uint64_t s : sums) sum += s;
  fmt::print(
      "{{\"isa\": \"{}\", \"threads\": {}, \"bytes\": {}, \"read_gb_per_s\": [{}], "
      "\"gemv_gb_per_s\": [{}], \"sum\": {}}}\n",
      name_of(options->isa), pool.threads(), bytes, list(reads), list(products), sum);
  return 0;
}
