// A rank's part of a model on a device: weights, paged KV, sampler slots. The seam behind which
// backends live (model/torch, model/native, model/oracle). Used by one device lane thread; only
// abort() may come from another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "config/ids.h"
#include "config/result.h"
#include "config/time.h"
#include "model/collective.h"
#include "model/model_spec.h"
#include "model/partition_plan.h"
#include "model/step.h"
#include "model/weight_source.h"

namespace troupe {

/// How keys and values are kept.
enum class KvType : uint8_t { f16, int8 };

/// What the rank may use.
struct Budget {
  int32_t threads = 1;
  int32_t kv_blocks = 0;  ///< KV capacity in blocks of kBlockPositions
  int32_t max_rows = 0;   ///< rows in one step
  int32_t max_slots = 0;  ///< open sequences
  int32_t context = 0;    ///< positions a sequence may reach
  /// Among all ranks of the group; null in one-rank groups. The caller's; outlives the partition.
  Collective* host = nullptr;
  uint32_t generation = 0;  ///< of the group; tags every call
  /// native only: lowest..best "scalar|avx2|avx512|amx"; empty: best of this CPU
  std::string isa;
  KvType kv_type = KvType::f16;  ///< native only
};

struct Capabilities {
  /// Equal ids: results may be treated as exact continuations of each other.
  Digest numerics_id{};
  Digest kv_layout_id{};
  int32_t max_rows = 0, max_slots = 0, block_positions = kBlockPositions;
  bool paged = true, pooled = false, deterministic = false;
  std::string describe;  ///< one line for people: backend, ISA, threads, KV size, numerics_text
};

/// One KV block of one (layer, kv head), in a layout that any TP/PP split can read.
struct BlockImage {
  Digest kv_layout_id{};
  int32_t layer = 0, kv_head = 0;
  std::span<std::byte> bytes;
};

/// Names a submitted plan.
struct Ticket {
  uint64_t value = 0;
};

class Partition {
 public:
  virtual ~Partition() = default;
  /// Once. Reads only this rank's rows. On error the object is of no further use.
  virtual Result<Capabilities> load(const WeightSource& weights, const ModelSpec& spec,
                                    const PartitionPlan& plan, int rank, const Budget& budget) = 0;
  /// At most plans_in_flight_max(stages) in flight. The plan must outlive the wait() for it. Blocks
  /// and slots it names stay pinned until then. Plans must follow each other by `key` (step + 1,
  /// prev_hash of the lane). Every stage runs plans in this order, so a plan may name blocks that
  /// one before it is still going to write, and tokens that the one before it in its lane is going
  /// to draw; a Partition looks at a plan (PlanCheck::admit) only when the output of that one
  /// exists. Drafts: see Slice.
  virtual Ticket submit(const StepPlan& plan) = 0;
  /// Rank 0 only, in the order of submit(). Blocks until the step is done on all ranks it needs;
  /// meanwhile the first stage of a pipeline starts plans that were submitted behind it. The output
  /// is valid until the next wait(). Errors: aborted, deadline_exceeded, internal, and what a
  /// collective says; after any of them the generation is dead on every rank.
  virtual Result<const StepOutput*> wait(Ticket ticket, Duration timeout) = 0;
  /// From any thread: a wait in progress returns `aborted` soon (at latest after the step's own
  /// end).
  virtual void abort() noexcept = 0;
  virtual Result<void> export_block(BlockId block, BlockImage& image) = 0;
  virtual Result<void> import_block(BlockId block, const BlockImage& image) = 0;
  /// Ranks other than 0 only, in place of submit() and wait(): takes the group's next plan from the
  /// data plane, waiting up to `idle` for it, and runs this rank's part of it within the time that
  /// rank 0 gave. Errors as of wait().
  virtual Result<void> follow(Duration idle);
};

/// What a plugin `libtroupe_<backend>.so` exports as `troupe_backend`, extern "C".
struct BackendPlugin {
  uint32_t abi;  ///< kBackendAbi of its build
  const char* name;
  Partition* (*make)();
};
inline constexpr uint32_t kBackendAbi = 2;

}  // namespace troupe
