// Which sequence holds which KV blocks: the block pool and the prefix index behind one small set of
// moves. Owned by one Batcher. Every move either happens whole or changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cache/block_pool.h"
#include "cache/partial_index.h"
#include "cache/prefix_index.h"
#include "cluster/prefix_log.h"
#include "cluster/sequence.h"

namespace troupe {

/// Blocks that hold `positions` positions.
int32_t blocks_for(int32_t positions);

enum class Admission : uint8_t {
  admitted,
  full,     ///< not enough blocks: later
  sharing,  ///< a running sequence is computing this prefix right now: wait a step and share it
};

class KvBooks {
 public:
  KvBooks(int32_t blocks, const Digest& numerics_id);

  /// Takes blocks for `positions` positions (>= tokens known), as many as possible from the prefix
  /// index, and sets blocks and computed. Where what is known goes on inside a block, the first own
  /// block begins as a copy (copy_from), if that saves kCopyRowsMin rows. `spare` blocks must stay
  /// available for those that run. A hit never covers the last token (its row draws the next one)
  /// nor a prompt position that must still be scored.
  Admission admit(Sequence& sequence, int32_t positions, int32_t spare);
  /// One more block; false when none is available.
  bool grow(Sequence& sequence);
  /// All full computed blocks become shareable, and the end of the prompt to copies. The index
  /// keeps the first block of equal ones.
  void publish(Sequence& sequence);
  /// The plan with its copy is done: what it was copied from is let go.
  void copied(Sequence& sequence);
  /// Gives all blocks back; what was published stays cached until its room is needed.
  void release(Sequence& sequence);

  const BlockPool& pool() const { return pool_; }
  PrefixLog& prefix_log() { return log_; }
  const PrefixLog& prefix_log() const { return log_; }
  uint64_t queries() const { return queries_; }  ///< tokens looked up
  uint64_t hits() const { return hits_; }        ///< of them found

  /// `holders`: every sequence that may hold blocks.
  void check(const std::vector<const Sequence*>& holders) const;

 private:
  struct KeyHash {
    size_t operator()(const Digest& key) const noexcept {
      return key[0] | key[1] << 8 | size_t{key[2]} << 16;
    }
  };
  void extend_chain(Sequence& sequence, int32_t blocks) const;
  const Digest& key_before(const Sequence& sequence, int32_t block) const;
  std::optional<PartialIndex::Match> match_inside(const Sequence& sequence, int32_t reusable,
                                                  int32_t shared) const;
  bool learn_end_key(Sequence& sequence) const;
  void list_end(Sequence& sequence);
  void withdraw_one(const Digest& key);
  bool make_room(int32_t count);
  void promise(Sequence& sequence);
  void withdraw(Sequence& sequence);

  Digest numerics_id_;
  BlockPool pool_;
  PrefixIndex index_;
  PartialIndex partials_;
  PrefixLog log_;  ///< of index_, for routers
  std::unordered_map<Digest, int32_t, KeyHash>
      promised_;  ///< key -> sequences that are computing it
  uint64_t queries_ = 0, hits_ = 0;
};

}  // namespace troupe
