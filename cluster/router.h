// The life of every request in this router: admission, choice of a group, journal, retries,
// deadlines, detokenising and stop strings, coalescing of identical requests. A token is shown only
// if it is the next one of the current attempt and after the journal peer has it (or was silent for
// kJournalAckTimeout).
//
// Pure. Owned by the router actor of a router process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "cluster/messages.h"
#include "config/limits.h"
#include "model/tokenizer.h"

namespace troupe {

struct RouterConfig {
  Incarnation boot;  ///< of this process: part of every AttemptId
  Limits limits;
  bool has_journal_peer = true;
};

/// A request as the bridge admits it: parsed, validated against the model, tokenised once.
struct ClientRequest {
  RequestId id;
  std::string model;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<TokenId> prompt;
  int32_t choices = 1;
  int32_t max_new = 0;  ///< already clamped to the model's context
  Sampling sampling;
  std::vector<TokenId> stop_ids;
  std::vector<std::string> stop_strings;
  bool score_prompt = false;
  Duration deadline{};  ///< from arrival to the last token
  Salt tenant{};
  /// Deterministic requests: key of the response cache and of coalescing (hash over tenant salt,
  /// numerics id, prompt, sampling); nullopt: neither.
  std::optional<Digest> cache_key;
  /// Part of cache_key: an answer computed under another one is not kept under this key.
  Digest numerics_id{};
  TraceContext trace;
};

/// An answer worth keeping: tokens and log-probabilities, never HTTP bytes.
struct CachedChoice {
  std::vector<TokenId> tokens;
  std::vector<LogProbs> logprobs;
  Finish finish = Finish::stop;
  bool operator==(const CachedChoice&) const = default;
};
struct CachedResponse {
  std::vector<CachedChoice> choices;
  std::vector<LogProbs> prompt_logprobs;
  bool operator==(const CachedResponse&) const = default;
};

enum class CacheTier : uint8_t { none, memory, redis, disk };
/// For X-Cache.
enum class CacheOutcome : uint8_t {
  not_cacheable,
  miss,
  hit_memory,
  hit_redis,
  hit_disk,
  coalesced
};

struct Timings {
  Duration queue{}, prefill{}, ttft{}, decode{};
  int32_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, attempts = 0;
};

// -- inputs
// ------------------------------------------------------------------------------------------------------

namespace router_in {
struct Submit {
  ClientRequest request;
};
/// The client hung up, or its stream could not be written: cancel within one step.
struct ClientGone {
  RequestId id;
};
struct Routing {
  RoutingTable table;
};
/// A message from a group's batcher over the link to `incarnation`.
struct FromGroup {
  GroupId group;
  Incarnation incarnation;
  std::variant<TokenBatch, Refused, GroupStatus, PrefixReport> message;
};
/// The link to this process is up (Hello accepted) or gone.
struct GroupLink {
  GroupId group;
  Incarnation incarnation;
  bool up = false;
};
struct CacheReply {
  RequestId id;
  CacheTier tier = CacheTier::none;  ///< none: a miss
  std::shared_ptr<const CachedResponse> response;
};
struct JournalAcked {
  JournalAck ack;
};
struct Drain {};
struct Tick {};
}  // namespace router_in
using RouterInput = std::variant<router_in::Submit, router_in::ClientGone, router_in::Routing,
                                 router_in::FromGroup, router_in::GroupLink, router_in::CacheReply,
                                 router_in::JournalAcked, router_in::Drain, router_in::Tick>;

// -- effects
// -----------------------------------------------------------------------------------------------------

namespace router_out {
struct ToGroup {
  GroupId group;
  Incarnation incarnation;  ///< only over the link to this process; if it is gone, drop
  std::variant<Enqueue, Cancel, PrefixRequest> message;
};
/// One token (or the held-back tail) of one choice, ready to show. Text is valid UTF-8, may be
/// empty.
struct Piece {
  int32_t choice = 0;
  std::string text;
  std::vector<TokenId> tokens;     ///< what this piece was made from
  std::vector<LogProbs> logprobs;  ///< per token if wanted
  std::vector<size_t> offsets;     ///< per token: byte offset of its text in the answer
  Finish finish = Finish::none;
};
/// In order; `last` when every choice has finished. prompt_logprobs come with the first pieces. One
/// without pieces that is not `last` tells `cache`: sent as soon as a request with a cache key is
/// known to be computed, or to join a computation, so that the head of a stream need not wait for
/// its first token.
struct Deliver {
  RequestId id;
  std::vector<Piece> pieces;
  std::vector<LogProbs> prompt_logprobs;
  bool last = false;
  CacheOutcome cache = CacheOutcome::not_cacheable;
  bool inexact = false;  ///< continued under another numerics_id
  bool keep = false;     ///< with `last`: the whole answer may be kept under the cache key
  Timings timings;       ///< complete when `last`
};
/// The request ends with a named error; nothing more follows. Pieces already delivered stand.
struct Fail {
  RequestId id;
  Error error;
  Duration retry_after{};  ///< 0: do not retry
};
struct CacheLookup {
  RequestId id;
  Digest key{};
};
struct CacheStore {
  Digest key{};
  std::shared_ptr<const CachedResponse> response;
};
struct Journal {
  JournalAppend append;
};
/// After Drain: no request is open any more. Emitted once.
struct Drained {};
struct Drop {
  const char* why = "";
};
}  // namespace router_out
using RouterEffect = std::variant<router_out::ToGroup, router_out::Deliver, router_out::Fail,
                                  router_out::CacheLookup, router_out::CacheStore,
                                  router_out::Journal, router_out::Drained, router_out::Drop>;
using RouterEffects = std::vector<RouterEffect>;

/// One model as /readyz and /v1/models show it.
struct ModelReadiness {
  std::string name;
  int32_t groups_ready = 0, groups = 0;
  std::string reason;  ///< why not all are ready
};

/// What /readyz says: every model has a ready group and a tokenizer here, nothing drains, and this
/// node is not likely cut off from the others.
struct RouterReadiness {
  bool ready = false;
  std::string reason;  ///< why not, one sentence; when ready, whom this node does not hear
  std::vector<ModelReadiness> models;
};

struct RouterStats {
  int32_t queued = 0, running = 0;  ///< sequences without and with a group
  uint64_t retries = 0, cache_hits_memory = 0, cache_hits_redis = 0, cache_hits_disk = 0,
           cache_misses = 0, coalesced = 0, stale_dropped = 0, journal_timeouts = 0,
           continued_tokens = 0;
};

class Router {
 public:
  explicit Router(RouterConfig config);
  ~Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;

  void step(Time now, const RouterInput& input, RouterEffects& out);
  std::optional<Time> deadline() const;

  /// A group counts as ready when the table says so, its link is up and its step progress is fresh.
  /// `served`: the models whose tokenizer this router has.
  RouterReadiness readiness(Time now, const std::set<std::string>& served) const;
  RouterStats stats() const;

  /// Aborts on a broken invariant: every open request has exactly one state, queues under bounds,
  /// journal bytes accounted, shown tokens = journalled tokens, attempts within budget.
  void check() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace troupe
