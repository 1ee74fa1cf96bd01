// One choice of a request while it is in a group: its tokens, how far its KV reaches, which blocks
// and slot it holds. A plain record; KvBooks, Schedule and Batcher each change their part of it.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

#include "cluster/draft_index.h"
#include "cluster/messages.h"
#include "cluster/speculation.h"

namespace troupe {

/// Who to answer: a connected router process.
using RouterId = Incarnation;

/// Who goes first: higher priority, then earlier arrival. The least is the "oldest", the greatest
/// the "youngest".
struct SequenceOrder {
  int64_t neg_priority = 0;
  uint64_t arrival = 0;
  constexpr auto operator<=>(const SequenceOrder&) const = default;
};

struct Sequence {
  Enqueue request;  ///< without prompt and accepted: those are moved to `tokens`
  RouterId router;
  SequenceOrder order;
  Time arrived{}, admitted{}, deadline{};

  std::vector<TokenId> tokens;  ///< prompt, then the answer so far
  int32_t prompt_size = 0;
  int32_t size_max = 0;  ///< tokens.size() at which the answer ends for its length

  // -- KV (KvBooks) --
  Digest root{};
  std::vector<Digest>
      chain;  ///< prefix keys of the full blocks of `tokens`, as far as they were needed
  std::vector<BlockId> blocks;       ///< cover [0, computed) at least
  int32_t computed = 0;              ///< positions whose KV is in `blocks`
  int32_t published = 0;             ///< full blocks offered to the prefix index
  int32_t prompt_from = 0;           ///< computed at admission: what a hit gave
  std::optional<BlockId> copy_from;  ///< its first own block begins as a copy of this one, which it
                                     ///< holds until the plan that copies is done
  Digest end_key{};           ///< of the whole prompt, if it ends inside a block worth a copy
  bool end_promised = false;  ///< it is going to list that block soon
  bool end_listed = false;    ///< the block may be copied by others
  int32_t promised_from = 0, promised_to = 0;  ///< full blocks it is going to publish soon

  // -- schedule --
  std::optional<SlotId> slot;
  bool slot_sent = false;  ///< the device knows the slot
  int32_t preemptions = 0;

  // -- plans in flight (Schedule) --
  int32_t flights = 0;  ///< that name it: they pin its blocks and slot
  int32_t planned = 0;  ///< `computed` once they are done; the least it can be if they have drafts
  int32_t pending = 0;  ///< tokens they draw at least, which nobody knows yet
  int32_t drawn_slice = 0;  ///< if pending: slice of the newest of them that draws the last one
  int32_t drawn_lane = 0;   ///< and its lane
  bool drafting = false;    ///< one of them has drafts: where it ends is not known
  bool left = false;        ///< finished, cancelled or replaced: what they still give is dropped

  // -- drafts (Batcher) --
  DraftIndex lookup;  ///< over `tokens`

  // -- answer --
  bool chunk_sent = false;                ///< of this attempt
  int32_t cached_tokens = 0;              ///< hits at the first admission
  std::vector<LogProbs> prompt_logprobs;  ///< scored so far: of prompt[1..]

  int32_t size() const { return static_cast<int32_t>(tokens.size()); }
  int32_t answer_size() const { return size() - prompt_size; }
  Drawing drawing() const {
    return request.sampling.temperature == 0 ? Drawing::greedy : Drawing::random;
  }
  /// Draft `i` of what may follow: what followed the match, again and again if it ends here.
  TokenId draft(int32_t i) const {
    const int32_t next = lookup.match().next;
    return tokens[static_cast<size_t>(next + i % (size() - next))];
  }
  /// With the tokens that plans in flight are going to draw.
  int32_t size_planned() const { return size() + pending; }
  /// A plan of `lane` can feed its next token: it is known, or a plan before it there draws it.
  bool may_join(int32_t lane) const { return pending == 0 || drawn_lane == lane; }
  /// Rows still to plan before the next token can be drawn, with the row that draws it.
  int32_t rows_wanted() const { return size_planned() - planned; }
  /// prompt[1 .. ] still to be scored?
  bool scoring() const { return request.score_prompt && scored() < prompt_size - 1; }
  /// Likewise once the plans in flight are done.
  bool scoring_planned() const {
    return request.score_prompt && std::max(scored(), planned) < prompt_size - 1;
  }
  /// Nothing is left to plan: the plans in flight complete the answer.
  bool complete_when_done() const { return !scoring_planned() && size_planned() >= size_max; }
  int32_t scored() const { return static_cast<int32_t>(prompt_logprobs.size()); }
  /// The last token of a full answer is never fed back.
  int32_t positions_max() const { return size_max - 1; }
};

}  // namespace troupe
