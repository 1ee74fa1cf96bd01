// A device lane: one thread that owns a Partition and runs its steps, so that no step ever runs on
// a CAF worker. The lane answers by messages; tests inject one that answers inline.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>

#include "actors/rank_meeting.h"
#include "cluster/batcher.h"
#include "cluster/load_plan.h"
#include "cluster/messages.h"
#include "model/model_bundle.h"
#include "model/partition.h"

namespace troupe {

/// A model in memory, ready to step.
struct LoadedModel {
  Capabilities capabilities;
  LoadPlan plan;
  ModelBundle bundle;
};

class Lane {
 public:
  virtual ~Lane() = default;
  /// Answers once through `done` (any thread). Before any run(). A rank that has to meet those of
  /// other hosts tells `listening` first (any thread) where it waits, and join() is to follow.
  virtual void load(LoadOrder order, std::function<void(HostPort)> listening,
                    std::function<void(Result<LoadedModel>)> done) = 0;
  /// Where all ranks of the group listen.
  virtual void join(RankJoin join) = 0;
  /// At most plans_in_flight_max(stages) plans that were not answered yet; each stage runs them one
  /// after another.
  /// `timeout` counts from when this one may start. Answers through `done`: StepDone or StepFailed.
  virtual void run(std::shared_ptr<const StepPlan> plan, Duration timeout,
                   std::function<void(BatcherInput)> done) = 0;
  /// Ranks other than 0, once after load(), in place of run(): takes part in the group's steps,
  /// waiting up to `idle` for each. `stepped` after each of them (the lane's thread); `ended` once,
  /// with why there are no more.
  virtual void follow(Duration idle, std::function<void()> stepped,
                      std::function<void(Error)> ended) = 0;
  /// A load, run or follow in progress fails soon; later ones fail at once.
  virtual void abort() noexcept = 0;
};

/// The real one. The destructor aborts and joins; if the partition hangs the process must be killed
/// instead.
class DeviceLane final : public Lane {
 public:
  /// `memory`: where what the ranks of this host share arrives. `own`: for those of other hosts.
  explicit DeviceLane(std::shared_ptr<RankMemory> memory, RankListen own = {});
  ~DeviceLane() override;
  void load(LoadOrder order, std::function<void(HostPort)> listening,
            std::function<void(Result<LoadedModel>)> done) override;
  void join(RankJoin join) override { meeting_.join(std::move(join)); }
  void run(std::shared_ptr<const StepPlan> plan, Duration timeout,
           std::function<void(BatcherInput)> done) override;
  void follow(Duration idle, std::function<void()> stepped,
              std::function<void(Error)> ended) override;
  void abort() noexcept override;

 private:
  struct LoadJob {
    LoadOrder order;
    std::function<void(HostPort)> listening;
    std::function<void(Result<LoadedModel>)> done;
  };
  struct RunJob {
    std::shared_ptr<const StepPlan> plan;
    Duration timeout;
    std::function<void(BatcherInput)> done;
  };
  struct FollowJob {
    Duration idle{};
    std::function<void()> stepped;
    std::function<void(Error)> ended;
  };
  using Job = std::variant<LoadJob, RunJob, FollowJob>;
  /// A plan that the partition has.
  struct Submitted {
    RunJob job;
    Ticket ticket;
  };
  static constexpr size_t kWaitingMax = plans_in_flight_max(kCollectiveRanksMax);
  void post(Job job);
  void loop();
  /// With plans submitted: none unless one is there, or comes soon where it would be missed.
  std::optional<Job> next_job();
  bool misses_a_plan() const;
  void finish_oldest();
  Result<LoadedModel> load_now(const LoadJob& job);
  /// The group's other ranks; does nothing in a group of one.
  Result<void> meet(const LoadJob& job);
  /// Sizes that all ranks of the group agree on.
  Result<LoadPlan> plan_together(const LoadOrder& order, const ModelSpec& spec,
                                 const std::string& backend, const WeightSource& weights,
                                 const PartitionPlan& partitions);

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> waiting_;  ///< guarded; oldest first
  bool stopping_ = false;    ///< guarded
  bool aborted_ = false;     ///< guarded
  RankMeeting meeting_;
  // Made by the lane thread, guarded while they are made; the partition uses the collective.
  std::unique_ptr<Collective> collective_;
  uint32_t generation_ = 0;
  std::unique_ptr<Partition> partition_;
  // Of the lane thread.
  std::deque<Submitted> submitted_;  ///< oldest first
  uint32_t finished_lane_ = 0;       ///< of the plan that was finished last
  std::thread thread_;
};

}  // namespace troupe
