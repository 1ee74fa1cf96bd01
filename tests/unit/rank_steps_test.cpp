// How ranks of a pipeline go through steps together, with work that only moves bytes: over shared
// memory, because there a large message waits for its receiver.
#include "model/rank_steps.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "config/limits.h"
#include "model/step_answer.h"
#include "net/shm_collective.h"
#include "tests/support/message_of.h"
#include "tests/support/step_driver.h"

using namespace troupe;
using namespace troupe::test;

namespace rank_steps_test {
namespace {

constexpr int32_t kVocab = 1'000'000;
constexpr int32_t kLanesMax = 4, kBlocksOfLane = 400;

/// A stage whose rows are some bytes that each stage adds one to; the last one draws their number
/// plus what it was fed, or scores every row with that number and gives all alternatives.
class AddingWork final : public RankWork {
 public:
  AddingWork(RankSteps& steps, size_t row_bytes) : steps_(steps), rows_(row_bytes) {}

  Result<void> compute(const StepPlan& plan, std::span<const int32_t> tokens, Duration) override {
    std::fill(rows_.begin(), rows_.end(), std::byte{0});
    if (!steps_.group().first_stage())
      if (auto ok = steps_.group().receive_on(rows_); !ok) return ok;
    for (std::byte& b : rows_) b = std::byte(std::to_integer<int>(b) + 1);
    started(plan);
    if (!steps_.group().last_stage()) return {};
    output = StepOutput{.key = plan.key, .plan_hash = plan.hash};
    for (const Slice& slice : plan.slices) {
      if (slice.out == Out::score) {
        const auto scored = static_cast<size_t>(slice.n_rows);
        output.slices.push_back({.slot = slice.slot});
        output.scores.assign(scored, static_cast<float>(std::to_integer<int>(rows_.back())));
        output.top.resize(scored * kTopLogprobsMax);
        continue;
      }
      const int32_t fed = tokens[static_cast<size_t>(slice.tok_off + slice.n_rows - 1)];
      output.slices.push_back({.slot = slice.slot,
                               .n_tokens = 1,
                               .tok_off = static_cast<int32_t>(output.tokens.size())});
      output.tokens.push_back(fed + std::to_integer<int>(rows_.back()));
      output.logprob.push_back(0);
    }
    return {};
  }
  Result<void> hand_over() override {
    auto sent = steps_.group().send_on(rows_);
    handed_over();
    return sent;
  }

  std::function<void(const StepPlan&)> started = [](const StepPlan&) {};
  std::function<void()> handed_over = [] {};
  StepOutput output;

 private:
  RankSteps& steps_;
  std::vector<std::byte> rows_;
};

struct Rank {
  std::unique_ptr<Collective> link;
  RankSteps steps;
  std::unique_ptr<AddingWork> work;
};

/// Ranks as threads; the test is rank 0.
class Pipeline {
 public:
  Pipeline(int32_t stages, size_t row_bytes) {
    PartitionPlan plan{.pipeline_parallel = stages};
    for (int32_t stage = 0; stage < stages; ++stage) plan.ranks.push_back({.stage = stage});
    auto map = ShmMap::create(stages, 1);
    REQUIRE(map.has_value());
    for (int r = 0; r < stages; ++r) {
      auto link = make_shm_collective(*map, r);
      REQUIRE(link.has_value());
      auto rank = std::make_unique<Rank>();
      rank->link = std::move(*link);
      const Budget budget{.kv_blocks = kLanesMax * kBlocksOfLane,
                          .max_rows = 1'000,
                          .max_slots = kLanesMax,
                          .context = kBlocksOfLane * kBlockPositions,
                          .host = rank->link.get(),
                          .generation = 1};
      const auto joined = rank->steps.join(plan, r, budget, kVocab);
      REQUIRE_MESSAGE(joined.has_value(), message_of(joined));
      rank->work = std::make_unique<AddingWork>(rank->steps, row_bytes);
      ranks.push_back(std::move(rank));
    }
    queue.serve_stages(stages);
  }
  ~Pipeline() {
    ranks.front()->steps.abort();
    for (std::thread& t : threads_) t.join();
  }
  void follow() {
    for (size_t r = 1; r < ranks.size(); ++r)
      threads_.emplace_back([rank = ranks[r].get()] {
        while (rank->steps.follow(*rank->work, 60s, rank->work->output)) continue;
      });
  }
  /// One row of slot `lane` in a lane of its own, fed what the lane drew before.
  void submit(uint32_t lane) {
    const auto slot = static_cast<int32_t>(lane);
    const bool first = positions_[lane] == 0;
    submit(lane, {.slot = slot, .tokens = {first ? 100 * slot : -1}});
  }
  /// So many rows of slot `lane`, all scored.
  void submit_scored(uint32_t lane, size_t rows) {
    const std::vector<int32_t> tokens(rows);
    submit(lane, {.slot = static_cast<int32_t>(lane),
                  .tokens = tokens,
                  .out = Out::score,
                  .out_row0 = 0,
                  .score = tokens});
  }
  /// The oldest plan's answer.
  Result<StepOutput> finish(Duration time = 20s) {
    StepOutput output;
    Rank& first = *ranks.front();
    auto done = first.steps.finish_oldest(queue, *first.work, time, output);
    if (!done) return std::unexpected(done.error());
    REQUIRE(queue.pop(tickets_[finished_++]) != nullptr);
    return output;
  }

  std::vector<std::unique_ptr<Rank>> ranks;
  StepQueue queue;

 private:
  void submit(uint32_t lane, Piece piece) {
    int32_t& position = positions_[lane];
    if (position == 0) builder_.open({.slot = piece.slot});
    piece.pos0 = position;
    position += static_cast<int32_t>(piece.tokens.size());
    piece.table = table_from(piece.slot * kBlocksOfLane, static_cast<size_t>(position));
    builder_.add(piece);
    plans_.push_back(std::make_unique<StepPlan>(builder_.seal(lane)));
    tickets_.push_back(queue.push(*plans_.back()));
  }
  struct Nothing final : Partition {
    Result<Capabilities> load(const WeightSource&, const ModelSpec&, const PartitionPlan&, int,
                              const Budget&) override {
      return {};
    }
    Ticket submit(const StepPlan&) override { return {}; }
    Result<const StepOutput*> wait(Ticket, Duration) override { return nullptr; }
    void abort() noexcept override {}
    Result<void> export_block(BlockId, BlockImage&) override { return {}; }
    Result<void> import_block(BlockId, const BlockImage&) override { return {}; }
  } nothing_;
  StepDriver builder_{nothing_};
  std::array<int32_t, kLanesMax> positions_{};  ///< by lane
  std::vector<std::unique_ptr<StepPlan>> plans_;
  std::vector<Ticket> tickets_;
  size_t finished_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("rank steps: the first stage starts the next lane's plan while the last one runs this") {
  Pipeline pipeline(2, 64);
  std::atomic<bool> second_began = false;
  pipeline.ranks[0]->work->started = [&](const StepPlan& plan) {
    if (plan.key.lane != 1) return;
    second_began = true;
    second_began.notify_all();
  };
  // The last stage does not end the first plan before the first stage has begun the second.
  pipeline.ranks[1]->work->started = [&](const StepPlan&) { second_began.wait(false); };
  pipeline.submit(0);
  pipeline.submit(1);
  pipeline.follow();
  const auto first = pipeline.finish(), second = pipeline.finish();
  second_began = true;  // whatever was found: let the stage go
  second_began.notify_all();
  REQUIRE_MESSAGE(first.has_value(), message_of(first));
  REQUIRE_MESSAGE(second.has_value(), message_of(second));
  CHECK(first->tokens == std::vector<int32_t>{2});
  CHECK(second->tokens == std::vector<int32_t>{102});
}

TEST_CASE("rank steps: a lane's next plan waits for its answer and feeds what that drew") {
  Pipeline pipeline(3, 64);
  pipeline.follow();
  pipeline.submit(0);
  pipeline.submit(0);
  for (int32_t i = 1; i < 20; ++i) {
    const auto output = pipeline.finish();
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    CHECK(output->tokens == std::vector<int32_t>{3 * i});
    pipeline.submit(0);
  }
}

TEST_CASE("rank steps: a stage has its next plan at hand before the answer to this one is taken") {
  for (int32_t stages : {2, 3}) {
    CAPTURE(stages);
    Pipeline pipeline(stages, 64);
    const auto lanes = static_cast<uint32_t>(stages);
    std::atomic<int> handed = 0;
    pipeline.ranks.front()->work->handed_over = [&] {
      ++handed;
      handed.notify_all();
    };
    // The last stage does not end the first plan before the first stage gave away one for each
    // stage.
    pipeline.ranks.back()->work->started = [&](const StepPlan& plan) {
      for (int now = handed; plan.key.lane == 0 && now < stages; now = handed) handed.wait(now);
    };
    for (uint32_t lane = 0; lane < lanes; ++lane) pipeline.submit(lane);
    pipeline.follow();
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      const auto output = pipeline.finish();
      handed = stages;  // whatever was found: let the stage go
      handed.notify_all();
      REQUIRE_MESSAGE(output.has_value(), message_of(output));
      CHECK(output->tokens == std::vector<int32_t>{100 * static_cast<int32_t>(lane) + stages});
    }
  }
}

TEST_CASE("rank steps: messages larger than what fits between two ranks never wait in a circle") {
  // Rows of some MiB; answers with their alternatives: a ring holds kShmRingBytes.
  constexpr size_t kRows = 1'000;
  static_assert(kRows * kTopLogprobsMax * sizeof(TokenLogprob) > kShmRingBytes);
  for (int32_t stages = 2; stages <= kLanesMax; ++stages) {
    CAPTURE(stages);
    Pipeline pipeline(stages, 3 << 20);
    pipeline.follow();
    const auto lanes = static_cast<uint32_t>(stages);
    for (uint32_t lane = 0; lane < lanes; ++lane) pipeline.submit_scored(lane, kRows);
    for (uint32_t i = 0; i < 5 * lanes; ++i) {
      pipeline.submit_scored(i % lanes, kRows);
      const auto output = pipeline.finish();
      REQUIRE_MESSAGE(output.has_value(), message_of(output));
      CHECK(output->scores == std::vector<float>(kRows, static_cast<float>(stages)));
      CHECK(output->top.size() == kRows * kTopLogprobsMax);
    }
  }
}

TEST_CASE("rank steps: a plan of a lane that the pipeline does not have ends the group") {
  Pipeline pipeline(2, 64);
  pipeline.follow();
  pipeline.submit(2);
  const auto output = pipeline.finish();
  REQUIRE_FALSE(output.has_value());
  CHECK(output.error().message.find("lane 2 of a group with 2 lanes") != std::string::npos);
}

}  // namespace rank_steps_test
