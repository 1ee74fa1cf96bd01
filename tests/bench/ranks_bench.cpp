// Decode rates of a real model on two ranks of one host, as two processes of one thread each that
// share memory, beside one process with two threads: greedy streams, which must say the same.
//   ranks_bench [MODEL.gguf] [tokens] [rounds]
// The layouts take turns within a round; medians. Also what the head rank is sent for a token.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/mix.h"
#include "model/backends.h"
#include "model/files/model_files.h"
#include "model/follower.h"
#include "model/rank_weights.h"
#include "net/shm_collective.h"
#include "tests/support/step_driver.h"

namespace {

using namespace troupe;
using Clock = std::chrono::steady_clock;

constexpr int32_t kPrompt = 32;
constexpr int32_t kStreams[] = {1, 4, 8, 16};

struct Layout {
  const char* name;
  int32_t tp, pp, threads;
};
constexpr Layout kLayouts[] = {{"one process, 2 threads", 1, 1, 2},
                               {"one process, 1 thread", 1, 1, 1},
                               {"tensor parallel, 2 x 1", 2, 1, 1},
                               {"pipeline, 2 x 1", 1, 2, 1}};

[[noreturn]] void give_up(const Error& why) {
  fmt::print(stderr, "{}\n", why.message);
  ::_exit(1);
}
template <class Value>
Value must(Result<Value> result) {
  if (!result) give_up(result.error());
  return std::move(*result);
}

/// Counts what a rank sends to another one by send().
class CountingCollective final : public Collective {
 public:
  CountingCollective(std::unique_ptr<Collective> inner, std::atomic<uint64_t>* bytes)
      : inner_(std::move(inner)), bytes_(bytes) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Result<void> all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                            std::span<const size_t> counts, CallTag tag) override {
    return inner_->all_gather_v(mine, all, counts, tag);
  }
  Result<void> all_reduce(Buffer data, CallTag tag) override {
    return inner_->all_reduce(data, tag);
  }
  Result<void> broadcast(Buffer data, int root, CallTag tag) override {
    return inner_->broadcast(data, root, tag);
  }
  Result<void> send(Buffer data, int peer, CallTag tag) override {
    *bytes_ += data.bytes.size();
    return inner_->send(data, peer, tag);
  }
  Result<void> recv(Buffer data, int peer, CallTag tag) override {
    return inner_->recv(data, peer, tag);
  }
  void abort(uint32_t generation) noexcept override { inner_->abort(generation); }
  std::unique_ptr<Collective> among(std::span<const int> ranks) override {
    auto inner = inner_->among(ranks);
    return inner ? std::make_unique<CountingCollective>(std::move(inner), bytes_) : nullptr;
  }

 private:
  std::unique_ptr<Collective> inner_;
  std::atomic<uint64_t>* bytes_;
};

/// Streams in lanes, as the batcher plans for a pipeline: each lane's next plan is submitted while
/// its last one runs, and names its rows.
class Streams {
 public:
  Streams(test::StepDriver& driver, int32_t streams, int32_t lanes, const SlotOpen& sampling)
      : driver_(driver), lanes_(std::min(lanes, streams)), said_(static_cast<size_t>(streams)) {
    for (int32_t s = 0; s < streams; ++s) by_lane_[s % lanes_].push_back(s);
    for (auto& [lane, slots] : by_lane_) {
      for (int32_t s : slots) {
        SlotOpen open = sampling;
        open.slot = s;
        open.n_prompt = kPrompt;
        driver_.open(open);
        std::vector<int32_t> prompt;
        for (int32_t i = 0; i < kPrompt; ++i) prompt.push_back(100 + (s * 977 + i * 31) % 20'000);
        driver_.add({.slot = s, .tokens = prompt, .table = table(s)});
      }
      launch(lane);
      land();
    }
    position_ = kPrompt;
  }
  ~Streams() {
    for (size_t s = 0; s < said_.size(); ++s) driver_.close(static_cast<int32_t>(s));
  }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  /// So many more tokens of each stream.
  void run(int32_t tokens) {
    const size_t ahead = static_cast<size_t>(lanes_) + 1;
    for (int32_t i = 0; i < tokens; ++i, ++position_) {
      for (auto& [lane, slots] : by_lane_) {
        for (size_t row = 0; row < slots.size(); ++row)
          driver_.add({.slot = slots[row],
                       .pos0 = position_,
                       .tokens = {-1 - static_cast<int32_t>(row)},
                       .table = table(slots[row])});
        launch(lane);
        if (flights_.size() == ahead) land();
      }
    }
    while (!flights_.empty()) land();
  }
  const std::vector<std::vector<int32_t>>& said() const { return said_; }

 private:
  static constexpr int32_t kBlocksEach = 32;
  struct Flight {
    std::unique_ptr<StepPlan> plan;
    Ticket ticket;
  };
  std::vector<int32_t> table(int32_t stream) const {
    return test::table_from(stream * kBlocksEach, kBlocksEach * kBlockPositions);
  }
  void launch(int32_t lane) {
    auto plan = std::make_unique<StepPlan>(driver_.seal(static_cast<uint32_t>(lane)));
    const Ticket ticket = driver_.send(*plan);
    flights_.push_back({std::move(plan), ticket});
  }
  void land() {
    const StepOutput output = must(driver_.receive(flights_.front().ticket));
    flights_.pop_front();
    for (const SliceOut& slice : output.slices)
      said_[static_cast<size_t>(slice.slot)].push_back(
          output.tokens[static_cast<size_t>(slice.tok_off)]);
  }

  test::StepDriver& driver_;
  int32_t lanes_, position_ = 0;
  std::map<int32_t, std::vector<int32_t>> by_lane_;
  std::deque<Flight> flights_;
  std::vector<std::vector<int32_t>> said_;
};

struct Sampling {
  const char* name;
  SlotOpen open;
};
const Sampling kSamplings[] = {
    {"greedy", {.temperature = 0, .n_logprobs = -1}},
    {"greedy, 5 log-probabilities", {.temperature = 0, .n_logprobs = 5}},
    {"temperature, top_k 40", {.temperature = 0.8f, .top_p = 0.95f, .top_k = 40, .n_logprobs = -1}},
    {"temperature alone", {.temperature = 0.8f, .n_logprobs = -1}}};

/// What one group saw; in memory that the processes share.
struct Figures {
  double rate[std::size(kStreams)] = {};     ///< tokens a second
  double bytes[std::size(kSamplings)] = {};  ///< to the head rank, of a token
  uint64_t said = 0;                         ///< digest of all tokens
  std::atomic<uint64_t> sent = 0;            ///< by rank 1, with send()
};

std::unique_ptr<Partition> load(const OpenedModel& model, const Layout& layout, int rank,
                                Collective* host) {
  auto partition = must(make_partition("native", {}));
  Budget budget{.threads = layout.threads,
                .kv_blocks = 16 * 32,
                .max_rows = 512,
                .max_slots = 16,
                .context = 512};
  budget.host = host;
  budget.generation = 1;
  const auto plan = must(plan_partitions(model.bundle.spec, layout.tp, layout.pp,
                                         decode_costs(*model.weights, model.bundle.spec)));
  must(partition->load(*model.weights, model.bundle.spec, plan, rank, budget));
  return partition;
}

void lead(Partition& partition, const Layout& layout, int32_t tokens, Figures& f) {
  test::StepDriver driver(partition);
  for (size_t i = 0; i < std::size(kStreams); ++i) {
    Streams streams(driver, kStreams[i], layout.pp, kSamplings[0].open);
    streams.run(4);
    const auto begin = Clock::now();
    streams.run(tokens);
    const std::chrono::duration<double> took = Clock::now() - begin;
    f.rate[i] = tokens * kStreams[i] / took.count();
    for (const auto& stream : streams.said())
      for (int32_t token : stream) f.said = mix64(f.said, static_cast<uint64_t>(token));
  }
  if (layout.tp == 1) return;
  for (size_t i = 0; i < std::size(kSamplings); ++i) {
    Streams streams(driver, 1, 1, kSamplings[i].open);
    const uint64_t before = f.sent;
    streams.run(16);
    f.bytes[i] = static_cast<double>(f.sent - before) / 16;
  }
}

/// Each rank in a process of its own, which ends with rank 0.
void run(const OpenedModel& model, const Layout& layout, int32_t tokens, Figures& f) {
  const int ranks = layout.tp * layout.pp;
  const auto map = ranks > 1 ? must(ShmMap::create(ranks, 1)) : nullptr;
  std::vector<pid_t> children;
  for (int rank = ranks; rank-- > 0;) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(600);
      std::unique_ptr<Collective> host;
      if (map)
        host = std::make_unique<CountingCollective>(must(make_shm_collective(map, rank)), &f.sent);
      const auto partition = load(model, layout, rank, host.get());
      if (rank == 0)
        lead(*partition, layout, tokens, f);
      else
        follow_steps(*partition, 60s);
      if (rank == 0 && map) set_abort(*map, 1);
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path =
      argc > 1 ? argv[1] : std::string(TROUPE_DEPS_DIR) + "/models/smollm2.gguf";
  const int32_t tokens = argc > 2 ? std::atoi(argv[2]) : 64;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const OpenedModel model = must(open_model(path));
  auto* const shared = static_cast<Figures*>(
      ::mmap(nullptr, sizeof(Figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::vector<double> rates[std::size(kLayouts)][std::size(kStreams)];
  uint64_t said = 0;
  for (int round = 0; round < rounds; ++round)
    for (size_t l = 0; l < std::size(kLayouts); ++l) {
      Figures& f = *new (shared) Figures();
      run(model, kLayouts[l], tokens, f);
      for (size_t i = 0; i < std::size(kStreams); ++i) rates[l][i].push_back(f.rate[i]);
      if (said == 0) said = f.said;
      if (f.said != said)
        give_up({ErrorCode::internal, "A layout says something else: a defect.", {}});
      if (round > 0 || kLayouts[l].tp == 1) continue;
      for (size_t i = 0; i < std::size(kSamplings); ++i)
        fmt::print("{:<40} {:>9.0f} bytes a token to the head rank\n", kSamplings[i].name,
                   f.bytes[i]);
    }
  fmt::print("{:<28}", "tokens/s (of the first)");
  for (const int32_t streams : kStreams) fmt::print("{:>9} streams", streams);
  fmt::print("\n");
  for (size_t l = 0; l < std::size(kLayouts); ++l) {
    fmt::print("{:<28}", kLayouts[l].name);
    for (size_t i = 0; i < std::size(kStreams); ++i) {
      const double rate = median(rates[l][i]);
      fmt::print("{:>9.0f} ({:.2f})", rate, rate / median(rates[0][i]));
    }
    fmt::print("\n");
  }
  return 0;
}
