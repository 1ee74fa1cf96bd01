// A device lane: one thread that owns a Partition and runs its steps, so that no step ever runs on
// a CAF worker. The lane answers by messages; tests inject one that answers inline.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <variant>

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
  /// Answers once through `done` (any thread). Before any run().
  virtual void load(LoadOrder order, std::function<void(Result<LoadedModel>)> done) = 0;
  /// At most kPlansInFlightMax plans that were not answered yet; they run one after another.
  /// `timeout` counts from when this one may start. Answers through `done`: StepDone or StepFailed.
  virtual void run(std::shared_ptr<const StepPlan> plan, Duration timeout,
                   std::function<void(BatcherInput)> done) = 0;
  /// A run in progress fails soon; later ones fail at once.
  virtual void abort() noexcept = 0;
};

/// The real one. The destructor aborts and joins; if the partition hangs the process must be killed
/// instead.
class DeviceLane final : public Lane {
 public:
  DeviceLane();
  ~DeviceLane() override;
  void load(LoadOrder order, std::function<void(Result<LoadedModel>)> done) override;
  void run(std::shared_ptr<const StepPlan> plan, Duration timeout,
           std::function<void(BatcherInput)> done) override;
  void abort() noexcept override;

 private:
  struct LoadJob {
    LoadOrder order;
    std::function<void(Result<LoadedModel>)> done;
  };
  struct RunJob {
    std::shared_ptr<const StepPlan> plan;
    Duration timeout;
    std::function<void(BatcherInput)> done;
  };
  using Job = std::variant<std::monostate, LoadJob, RunJob>;
  /// Those that wait: a plan may wait while another one runs.
  static constexpr size_t kWaitingMax = kPlansInFlightMax;
  void post(Job job);
  void loop();
  Result<LoadedModel> load_now(const LoadOrder& order);
  BatcherInput run_now(const RunJob& job);

  std::mutex mutex_;
  std::condition_variable ready_;
  std::array<Job, kWaitingMax> waiting_;  ///< guarded; oldest first
  size_t waiting_count_ = 0;              ///< guarded
  bool stopping_ = false;                 ///< guarded
  bool aborted_ = false;                  ///< guarded
  std::unique_ptr<Partition> partition_;  ///< made by the lane thread; guarded while it is made
  std::thread thread_;
};

MachineFacts machine_facts();

}  // namespace troupe
