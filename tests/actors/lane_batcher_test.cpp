// A batcher over the device lanes of a pipeline, all real but for the actors between them: what
// travels as a message there is a queue here.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "actors/lane.h"
#include "model/oracle/oracle_reference.h"
#include "net/clock.h"
#include "net/shm_collective.h"
#include "tests/support/message_of.h"

using namespace troupe;

namespace lane_batcher_test {
namespace {

constexpr uint32_t kGeneration = 3;

/// What lanes answer, from their threads.
class Inbox {
 public:
  void put(BatcherInput input) {
    const std::lock_guard lock(mutex_);
    inputs_.push_back(std::move(input));
    came_.notify_one();
  }
  BatcherInput take() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [&] { return !inputs_.empty(); });
    BatcherInput input = std::move(inputs_.front());
    inputs_.pop_front();
    return input;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<BatcherInput> inputs_;
};

class Pipeline {
 public:
  explicit Pipeline(int32_t stages) {
    if (stages > 1) {
      auto made = ShmMap::create(stages, kGeneration);
      REQUIRE(made.has_value());
      map_ = *made;
    }
    std::vector<std::future<Result<LoadedModel>>> loads;
    for (int32_t rank = 0; rank < stages; ++rank) {
      auto memory = std::make_shared<RankMemory>();
      if (map_)
        memory->put(GroupId(1), Generation(kGeneration),
                    FileDescriptor(::fcntl(map_->descriptor(), F_DUPFD_CLOEXEC, 0)));
      lanes_.push_back(std::make_unique<DeviceLane>(memory));
      LoadOrder order;
      order.group = GroupId(1);
      order.generation = Generation(kGeneration);
      order.model = order.backend = "oracle";
      order.pipeline_parallel = stages;
      order.rank = rank;
      order.kv_blocks = 200;
      order.max_slots = 20;
      auto promise = std::make_shared<std::promise<Result<LoadedModel>>>();
      loads.push_back(promise->get_future());
      lanes_.back()->load(
          order, [](HostPort) {}, [promise](Result<LoadedModel> l) { promise->set_value(l); });
    }
    for (auto& load : loads) {
      const auto loaded = load.get();
      REQUIRE_MESSAGE(loaded.has_value(), test::message_of(loaded));
      if (batcher_) continue;
      const Budget& budget = loaded->plan.budget;
      batcher_.emplace(BatcherConfig{.generation = Generation(kGeneration),
                                     .epoch = 1,
                                     .kv_blocks = budget.kv_blocks,
                                     .max_rows = budget.max_rows,
                                     .max_slots = budget.max_slots,
                                     .prefill_chunk = loaded->plan.prefill_chunk,
                                     .lanes = stages,
                                     .context = budget.context,
                                     .vocab = kOracleVocab,
                                     .queue_max = 100,
                                     .canary_interval = 60s});
    }
    for (int32_t rank = 1; rank < stages; ++rank) {
      auto promise = std::make_shared<std::promise<Error>>();
      ends_.push_back(promise->get_future());
      lanes_[static_cast<size_t>(rank)]->follow(
          60s, [] {}, [promise](Error why) { promise->set_value(why); });
    }
    feed(batcher_in::Tick{});
  }
  ~Pipeline() {
    lanes_.front()->abort();
    for (auto& end : ends_) CHECK(end.get().code == ErrorCode::aborted);
  }

  void ask(uint64_t id, const std::vector<int32_t>& prompt, int32_t length) {
    Enqueue e{.key = {RequestId{0, id}, 0},
              .attempt = {Incarnation(1), OwnerEpoch(0), Attempt(1)},
              .generation = Generation(kGeneration),
              .max_new = length,
              .deadline_left = 600s};
    for (int32_t token : prompt) e.prompt.emplace_back(token);
    ++open_;
    feed(batcher_in::FromRouter{RouterId(1), e});
  }
  void settle() {
    while (open_ > 0) feed(inbox_.take());
  }

  std::map<uint64_t, std::vector<int32_t>> said;
  std::set<uint32_t> lanes_used;
  size_t most_in_flight = 0;

 private:
  void feed(const BatcherInput& input) {
    in_flight_ -= std::holds_alternative<batcher_in::StepDone>(input) ? 1 : 0;
    BatcherEffects effects;
    batcher_->step(steady_now(), input, effects);
    batcher_->check();
    for (const BatcherEffect& effect : effects) perform(effect);
  }
  void perform(const BatcherEffect& effect) {
    if (const auto* run = std::get_if<batcher_out::RunStep>(&effect)) {
      lanes_used.insert(run->plan->key.lane);
      most_in_flight = std::max(most_in_flight, ++in_flight_);
      lanes_.front()->run(run->plan, 60s,
                          [this](BatcherInput done) { inbox_.put(std::move(done)); });
    } else if (const auto* to = std::get_if<batcher_out::ToRouter>(&effect)) {
      const auto* batch = std::get_if<TokenBatch>(&to->message);
      REQUIRE(batch != nullptr);
      for (const TokenChunk& chunk : batch->chunks) {
        for (TokenId token : chunk.tokens) said[chunk.key.id.low].push_back(token.value);
        open_ -= chunk.finish != Finish::none ? 1 : 0;
      }
    } else {
      FAIL("neither a plan nor tokens");
    }
  }

  std::shared_ptr<ShmMap> map_;
  Inbox inbox_;
  std::vector<std::unique_ptr<DeviceLane>> lanes_;
  std::vector<std::future<Error>> ends_;
  std::optional<Batcher> batcher_;
  int open_ = 0;
  size_t in_flight_ = 0;
};

}  // namespace

TEST_CASE("device lane: streams of a batcher over any pipeline are told what the oracle says") {
  for (int32_t stages : {1, 2, 3, 4}) {
    CAPTURE(stages);
    Pipeline pipeline(stages);
    std::map<uint64_t, std::vector<int32_t>> prompts;
    for (uint64_t id = 1; id <= 12; ++id) {
      for (int32_t i = 0; i < static_cast<int32_t>(1 + 9 * id); ++i)
        prompts[id].push_back(1 + (i * 7 + static_cast<int32_t>(id / 3)) % 4'000);
      pipeline.ask(id, prompts[id], static_cast<int32_t>(5 * id));
    }
    pipeline.settle();
    for (const auto& [id, prompt] : prompts)
      CHECK(pipeline.said[id] == oracle_continue_past_end(kOracleSeed, prompt, 5 * id));
    CHECK(pipeline.lanes_used.size() == static_cast<size_t>(stages));
    CHECK(pipeline.most_in_flight >= static_cast<size_t>(stages));
    CHECK(pipeline.most_in_flight <= static_cast<size_t>(plans_in_flight_max(stages)));
  }
}

}  // namespace lane_batcher_test
