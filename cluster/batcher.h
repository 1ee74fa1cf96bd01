// Continuous batching for one group: which sequences run in the next step, on which KV blocks.
// Requests join and leave between steps; prompts are prefilled in chunks; full prefix blocks are
// shared; when blocks run out the youngest sequence is preempted by recompute, never the oldest
// failed. While one plan runs the next may be made and sent already: then tokens that are not known
// yet are named by the row that draws them, and what turns out to be surplus (an answer that ended
// before) is dropped.
//
// For a pipeline plans are made in lanes, as many as it has stages, so that each stage has one to
// run: sequences are divided among the lanes, and a lane's next plan names tokens by the rows of
// its plan before.
//
// Pure. Owned by the batcher actor of the group's rank 0; one per generation's life of the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/messages.h"
#include "cluster/sequence.h"
#include "config/limits.h"
#include "model/step.h"

namespace troupe {

struct BatcherConfig {
  GroupId group;
  Generation generation;
  uint64_t epoch = 0;  ///< incarnation of this process: StepKey::epoch
  Digest weights_id{}, numerics_id{};
  int32_t kv_blocks = 0;
  int32_t max_rows = 0;       ///< per step
  int32_t max_slots = 0;      ///< running sequences
  int32_t prefill_chunk = 0;  ///< prompt rows in a step, until it is known how long they take
  int32_t plans_in_flight = kPlansInFlightMax;  ///< of a lane; 1: each waits for the one before
  int32_t lanes = 1;                            ///< stages of the group's pipeline
  int32_t context = 0;
  int32_t vocab = 0;
  int32_t queue_max = 0;
  Duration canary_interval{};  ///< an idle group proves itself with one position so often
  double timing_scale = 1;
  bool multi_rank = false;
  std::vector<std::byte> bundle;  ///< encoded, for routers
};

// -- inputs
// ------------------------------------------------------------------------------------------------------

namespace batcher_in {
struct FromRouter {
  RouterId router;
  std::variant<Enqueue, Cancel, BundleRequest, PrefixRequest> message;
};
/// A router's Hello was accepted: it is told how the group does, now and each
/// kGroupStatusInterval, whatever becomes of the group. If it was here before, that link is over
/// and with it what it asked for.
struct RouterJoined {
  RouterId router;
};
/// The router's process or link is gone: its sequences are cancelled.
struct RouterLost {
  RouterId router;
};
/// The oldest plan in flight is done. Its `output` belongs to the plan by key and hash; others are
/// dropped, counted.
struct StepDone {
  std::shared_ptr<const StepOutput> output;
};
struct StepFailed {
  StepKey key;
  Error error;
};
struct Drain {};
/// The deadline() passed (or any other reason to look at the clock).
struct Tick {};
}  // namespace batcher_in
using BatcherInput =
    std::variant<batcher_in::FromRouter, batcher_in::RouterJoined, batcher_in::RouterLost,
                 batcher_in::StepDone, batcher_in::StepFailed, batcher_in::Drain, batcher_in::Tick>;

// -- effects
// -----------------------------------------------------------------------------------------------------

namespace batcher_out {
/// Run this plan, behind the one emitted before; if that is of another lane, one stage behind it.
/// `deadline` counts from when that one is done: no StepDone by then and the machine itself emits
/// Fault at its next Tick.
struct RunStep {
  std::shared_ptr<const StepPlan> plan;
  Duration deadline{};
};
struct ToRouter {
  RouterId router;
  std::variant<TokenBatch, Refused, GroupStatus, BundleChunk, PrefixReport> message;
};
/// The generation is dead (step failed, deadline missed, non-finite logits, wrong canary). Emitted
/// once; after it the machine only answers routers: Refused{aborted}, bundle and status.
struct Fault {
  StepFault fault;
};
/// After Drain: nothing runs any more. Emitted once.
struct Drained {};
/// A stale or unknown input was dropped; `why` is a short constant for a counter's label.
struct Drop {
  const char* why = "";
};
}  // namespace batcher_out
using BatcherEffect = std::variant<batcher_out::RunStep, batcher_out::ToRouter, batcher_out::Fault,
                                   batcher_out::Drained, batcher_out::Drop>;
using BatcherEffects = std::vector<BatcherEffect>;

class Batcher {
 public:
  explicit Batcher(BatcherConfig config);
  ~Batcher();
  Batcher(Batcher&&) noexcept;
  Batcher& operator=(Batcher&&) noexcept;

  void step(Time now, const BatcherInput& input, BatcherEffects& out);
  /// When a Tick is wanted next; nullopt: only on input.
  std::optional<Time> deadline() const;

  GroupStatus status(Time now) const;

  /// Aborts on a broken invariant: blocks owned + free + cached = total, every block's count equals
  /// its owners, slots dense and unique, queue and rows under their bounds; whatever a
  /// plan in flight names is still held.
  void check() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace troupe
