// Inside of the Router machine: its state, and what each part of it does. Included by the
// cluster/router*.cpp only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cluster/group_choice.h"
#include "cluster/group_prefixes.h"
#include "cluster/group_table.h"
#include "cluster/journal_writer.h"
#include "cluster/router.h"
#include "cluster/router_request.h"

namespace troupe {

/// Ownership of a stream is not transferred yet: every request stays with the router that took it.
inline constexpr OwnerEpoch kFirstOwner{1};

struct Router::State {
  explicit State(RouterConfig c);

  RouterConfig config;
  GroupTable groups;
  std::string remark;    ///< of this node, as its table has it
  bool cut_off = false;  ///< so too
  GroupPrefixes prefixes;
  JournalWriter journal;
  std::map<RequestId, Computation> computations;
  std::map<RequestId, RequestId> clients;  ///< client -> computation
  std::map<Digest, RequestId> by_key;      ///< cacheable computations that can be joined
  std::map<GroupId, std::set<RequestId>> placed;
  std::vector<RequestId> waiting;  ///< for a group, oldest first
  std::set<std::pair<Time, RequestId>>
      timers;  ///< one entry a computation, at or before its next due moment
  std::vector<RequestId> dirty;
  int32_t sequences = 0;  ///< choices over all clients
  size_t journal_bytes = 0;
  uint32_t attempt_counter = 0;
  bool draining = false, drained = false, retry_waiting = false, resync = false;
  std::optional<Time> hold_end;  ///< while something waits: when a held group may be tried again
  Time now{};
  RouterEffects* out = nullptr;
  RouterStats counters;

  // -- router.cpp: inputs, timers
  void on(const router_in::Submit& input);
  void on(const router_in::ClientGone& input);
  void on(const router_in::Routing& input);
  void on(const router_in::FromGroup& input);
  void on(const router_in::GroupLink& input);
  void on(const router_in::CacheReply& input);
  void on(const router_in::JournalAcked& input);
  void on(const router_in::Drain& input);
  void on(const router_in::Tick& input);
  void expire();
  void finish_step();
  std::optional<Time> deadline() const;

  // -- router_admission.cpp: who may come in and joins whom; who leaves
  bool admit(const ClientRequest& request);
  void attach(Computation& computation, const ClientRequest& request, CacheOutcome outcome);
  void begin(Computation& computation);  ///< no cached answer: compute it
  void tell_outcome(const RouterClient& client);
  void serve_cached(Computation& computation, const CachedResponse& response, CacheTier tier);
  void client_leaves(Computation& computation, RequestId client);
  void fail_client(Computation& computation, RequestId client, Error error, Duration retry_after);
  void fail(Computation& computation, Error error, Duration retry_after);
  void retire(Computation& computation);  ///< `computation` is gone afterwards
  Duration retry_after(RequestId id) const;

  // -- router_attempts.cpp: placing, failing over, moving
  void wait_for_group(Computation& computation, WaitFor reason);
  void place_waiting();
  bool place(Computation& computation);
  std::vector<GroupCandidate> candidates_for(Computation& computation);
  void cancel_at_group(Computation& computation);
  void unplace(Computation& computation);
  /// The attempt is over without the answer; the computation may be gone afterwards.
  void attempt_failed(Computation& computation, std::string_view why);
  void move_away(Computation& computation);
  void fail_lost(GroupId group);  ///< sequences its batcher no longer knows
  void check_groups();  ///< after any news about groups: fail over what stood on dead ones
  void move_from_draining();
  void expire(Computation& computation);
  Time next_due(const Computation& computation) const;
  void arm(Computation& computation);

  // -- router_tokens.cpp: what groups send, and what clients see of it
  void on_batch(const router_in::FromGroup& from, const TokenBatch& batch);
  void on_refused(const router_in::FromGroup& from, const Refused& refused);
  void on_chunk(const Place& place, const TokenChunk& chunk);
  void accept(Computation& computation, ChoiceState& choice, const TokenChunk& chunk);
  Computation* current(const SequenceKey& key, const AttemptId& attempt);
  void touch(Computation& computation);
  void deliver(Computation& computation);
  Timings timings_for(const Computation& computation, const RouterClient& client) const;
  bool may_keep(const Computation& computation) const;
  void store(const Computation& computation);
  JournalOpen journal_open(const Computation& computation) const;
  void send_whole_journal();

  template <class Effect>
  void emit(Effect effect) {
    out->push_back(std::move(effect));
  }
  void drop(const char* why) { emit(router_out::Drop{why}); }
  void stale(const char* why) {
    ++counters.stale_dropped;
    drop(why);
  }
  Computation& at(RequestId id) { return computations.at(id); }
  Computation* find(RequestId id) {
    const auto found = computations.find(id);
    return found == computations.end() ? nullptr : &found->second;
  }
};

/// What a computation counts in the journal.
size_t journal_bytes_of(const ClientRequest& request);

}  // namespace troupe
