// The vocabulary of the cluster: plain structs that machines exchange. net/codec maps those that
// cross a process boundary (Message) to protobuf inside a 48-byte envelope. Every one of them
// carries what its receiver needs to drop it when stale: generation, attempt, incarnation or
// sequence. Times never travel, durations do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cluster/rank_messages.h"
#include "config/ids.h"
#include "config/result.h"
#include "config/time.h"
#include "model/partition.h"
#include "model/step.h"

namespace troupe {

// -- shared words
// -----------------------------------------------------------------------------------------------

/// W3C trace context; all zero when the client sent none.
struct TraceContext {
  std::array<uint8_t, 16> trace{};
  std::array<uint8_t, 8> span{};
  bool operator==(const TraceContext&) const = default;
};

/// How tokens are drawn. `seed` is always set: the router draws one when the client gave none.
struct Sampling {
  float temperature = 1, top_p = 1, min_p = 0, repetition = 1, presence = 0, frequency = 0;
  int32_t top_k = 0;
  uint64_t seed = 0;
  int32_t n_logprobs = -1;  ///< alternatives per token; -1: none, not even the token's own
  int32_t min_new = 0;      ///< end-of-generation tokens do not end the answer before so many
  bool ignore_eos = false;
  std::vector<std::pair<int32_t, float>> bias;
  bool operator==(const Sampling&) const = default;
};

/// Of one token: its own log-probability and the best alternatives, best first.
struct LogProbs {
  float logprob = 0;
  std::vector<TokenLogprob> top;
  bool operator==(const LogProbs&) const = default;
};

enum class Finish : uint8_t { none, stop, length, cancelled };

/// A choice of a request: what the batcher calls a sequence.
struct SequenceKey {
  RequestId id;
  int32_t choice = 0;
  constexpr auto operator<=>(const SequenceKey&) const = default;
};

// -- router -> batcher
// -------------------------------------------------------------------------------------------

/// Place a sequence. `accepted` is never merged into `prompt`: positions are absolute, so
/// penalties, logprob indices and usage survive a failover.
struct Enqueue {
  SequenceKey key;
  AttemptId attempt;
  Generation generation;  ///< the group's, as the router knows it; another one is refused
  Digest weights_id{};
  std::vector<TokenId> prompt, accepted;
  int32_t max_new = 0;  ///< over the whole answer, accepted included
  Sampling sampling;
  std::vector<TokenId> stop_ids;  ///< end-of-generation tokens of the model plus the request's own
  Duration deadline_left{};
  int32_t adapter = 0, priority = 0;
  Salt tenant{};
  bool score_prompt =
      false;  ///< log-probabilities of prompt[1..] wanted (echo); only with accepted empty
  TraceContext trace;
  bool operator==(const Enqueue&) const = default;
};

/// Free a sequence. Carries the attempt: a late cancel of an old attempt must not hit its
/// successor.
struct Cancel {
  SequenceKey key;
  AttemptId attempt;
  bool operator==(const Cancel&) const = default;
};

// -- batcher -> router
// -------------------------------------------------------------------------------------------

/// Tokens of one sequence from one step. `seq` counts the answer's tokens: the index of tokens[0]
/// in the whole answer (== accepted.size() at first), so a repeated or missing chunk shows. The
/// first chunk of an attempt is sent as soon as the batcher has taken the Enqueue, with no tokens:
/// without it the router takes the Enqueue for lost after kEnqueueSilenceMax. A stop id ends the
/// answer and is not part of it: such a chunk has finish == stop and may have no token.
struct TokenChunk {
  SequenceKey key;
  AttemptId attempt;
  uint64_t seq = 0;
  std::vector<TokenId> tokens;
  std::vector<LogProbs> logprobs;  ///< one per token, or empty
  std::vector<LogProbs>
      prompt_logprobs;           ///< in the first chunk of a score_prompt sequence: for prompt[1..]
  Finish finish = Finish::none;  ///< none while the sequence goes on
  /// First chunk of an attempt that has tokens or a finish.
  int32_t cached_tokens = 0;  ///< prompt positions that were not computed because of a prefix hit
  Duration queued{}, prefill{};
  bool operator==(const TokenChunk&) const = default;
};

/// One batched message per step and direction.
struct TokenBatch {
  Generation generation;
  StepId step;  ///< from 1; 0: the first chunk of an attempt, before any step
  std::vector<TokenChunk> chunks;
  bool operator==(const TokenBatch&) const = default;
};

/// The attempt will not run (any more) here. rate_limited: queue full; aborted: wrong generation or
/// the generation died; invalid_argument: can never run (too long); unavailable: draining;
/// deadline_exceeded.
struct Refused {
  SequenceKey key;
  AttemptId attempt;
  Error error;
  bool operator==(const Refused&) const = default;
};

/// Why a batcher did not act on a message, in the order of the wire.
enum class GroupDrop : uint8_t {
  stale,         ///< of a former attempt, or of a step that is over
  not_accepted,  ///< from a process that has not said Hello over this link
  damaged,       ///< it does not decode
  unexpected     ///< routers send no such message
};
inline constexpr size_t kGroupDrops = 4;
std::string_view name_of(GroupDrop drop);

/// How a group fares. Sent on change and every kBeatInterval x 2 to subscribed routers; the source
/// of readiness.
struct GroupStatus {
  GroupId group;
  Generation generation;
  uint64_t steps_done = 0;
  Duration last_step_age{};  ///< since the last finished step (canaries count)
  Duration step_running{};   ///< age of the step in flight; 0: none
  Duration step_p99{};       ///< of recent steps
  int32_t queued = 0, running = 0;
  int64_t queued_tokens = 0;  ///< prompt tokens not yet prefilled
  int32_t blocks_used = 0, blocks_total = 0, blocks_cached = 0;
  uint64_t preemptions = 0, prefix_queries = 0,
           prefix_hits = 0;  ///< hits in tokens, as are queries
  uint64_t drafted = 0,
           drafts_right = 0;           ///< tokens put to the test by speculation, and right ones
  std::array<uint64_t, 4> phase_us{};  ///< of all steps: see StepOutput::phase_us
  int32_t prompt_rows = 0;             ///< a step may have now, beside those that decode
  bool draining = false;
  std::array<uint64_t, kGroupDrops> dropped{};  ///< messages by GroupDrop, in this process's life
  uint64_t prefix_version = 0;                  ///< of the newest PrefixReport
  bool operator==(const GroupStatus&) const = default;
};

/// Which prompt blocks a group's KV holds, for the choice among groups: see prefix_marks. Sent
/// before a status, to all routers, when something changed since version - 1; `whole` (`added` is
/// all there is) after too many changes, and to a router that asks because a status told of a
/// version it does not have.
struct PrefixReport {
  GroupId group;
  uint64_t version = 0;
  bool whole = false;
  std::vector<uint64_t> added, evicted;  ///< each <= kPrefixMarksMax
  bool operator==(const PrefixReport&) const = default;
};

/// Router asks for a whole PrefixReport.
struct PrefixRequest {
  GroupId group;
  bool operator==(const PrefixRequest&) const = default;
};

/// Router asks rank 0 for the model's bundle (tokenizer, template, spec), from `offset` on.
struct BundleRequest {
  GroupId group;
  uint64_t offset = 0;
  bool operator==(const BundleRequest&) const = default;
};
struct BundleChunk {
  GroupId group;
  Digest digest{};  ///< sha256 of the whole encoded bundle
  uint64_t offset = 0, total = 0;
  std::vector<std::byte> bytes;  ///< <= kWireChunkBytesMax
  bool operator==(const BundleChunk&) const = default;
};

// -- any process -> peer: first message on a link
// ------------------------------------------------------------------

enum class Role : uint8_t { supervisor, health, link, router, cache, batcher, shard, client };
std::string_view name_of(Role role);

/// Anything else from a process not yet accepted is dropped and counted.
struct Hello {
  std::string cluster;
  uint32_t wire_version = 0;
  std::string build;  ///< build id
  std::string node;
  Role role = Role::client;
  std::string process;  ///< "n1/shard/smollm2.0.0"
  Incarnation incarnation;
  Digest config_digest{};
  bool operator==(const Hello&) const = default;
};
struct HelloReply {
  Incarnation incarnation;  ///< of the answering process
  bool accepted = false;
  std::string reason;  ///< why not, for people on both sides
  bool operator==(const HelloReply&) const = default;
};

// -- node (supervisor) -> children
// ---------------------------------------------------------------------------------

/// Where a group can be reached and how it stands.
enum class GroupState : uint8_t { starting, ready, draining, suspect, failed, stopped };
std::string_view name_of(GroupState state);

struct GroupEndpoint {
  GroupId group;
  std::string model;
  std::string node;
  Generation generation;
  GroupState state = GroupState::starting;
  std::string reason;       ///< why it is not ready
  std::string socket;       ///< path of rank 0's AF_UNIX socket
  Incarnation incarnation;  ///< of rank 0's process
  Digest weights_id{}, numerics_id{};
  int32_t context = 0;
  bool operator==(const GroupEndpoint&) const = default;
};

/// Whole table each time; a lower version from the same node incarnation is stale.
struct RoutingTable {
  Incarnation node;
  uint64_t version = 0;
  std::vector<GroupEndpoint> groups;
  std::string remark = {};  ///< of the node itself: whom it does not hear. Empty: nothing to say
  bool cut_off = false;     ///< by all it knows: readyz says no, though it serves on
  bool operator==(const RoutingTable&) const = default;
};

/// Finish what runs, take nothing new.
struct DrainOrder {
  Duration within{};
  bool operator==(const DrainOrder&) const = default;
};

// -- children -> node
// ----------------------------------------------------------------------------------------------

/// Nothing runs any more; the child may be ended.
struct Drained {
  std::string process;
  bool operator==(const Drained&) const = default;
};

/// What an actor of a child reports of itself, each second, for trees and metrics.
struct ActorReport {
  std::string id;  ///< "n1/batcher/smollm2.0"
  Role role = Role::client;
  uint32_t restarts = 0;
  std::string last_error;
  uint64_t mailbox_depth = 0;
  Duration mailbox_age{};
  Duration last_step_age{};
  bool operator==(const ActorReport&) const = default;
};
/// What a link process has counted since it started. Kinds of refusals are in the order of
/// LinkRefusal (net/link_stats.h), which only grows.
struct LinkFigures {
  uint64_t accepted = 0, dialled = 0, ended = 0;  ///< streams
  uint64_t open = 0, unauthenticated = 0;         ///< now
  uint64_t bytes_in = 0, bytes_out = 0;
  std::vector<uint64_t> refused, failed;  ///< connections from outside, dials; by reason
  int64_t certificate_expires = 0;        ///< seconds since 1970, UTC
  bool operator==(const LinkFigures&) const = default;
};
struct ProcessReport {
  std::string process;
  Incarnation incarnation;
  std::vector<ActorReport> actors;
  std::vector<GroupStatus> groups;  ///< of the batcher, if this process has one
  int32_t requests_running = 0;     ///< of a router
  bool serving = false;             ///< of a router: readyz would say yes
  std::string describe;             ///< backend line of a shard
  std::optional<LinkFigures> link;  ///< of a link
  bool operator==(const ProcessReport&) const = default;
};

// -- node -> other nodes
// -----------------------------------------------------------------------------------------------

/// One row of the actor tree.
struct ActorStatus {
  std::string id;
  Role role = Role::client;
  int64_t pid = 0;
  std::string state, reason;  ///< starting ready draining suspect fenced failed stopped
  uint32_t generation = 0, restarts = 0;
  std::string last_error;
  uint64_t mailbox_depth = 0;
  Duration mailbox_age{}, last_step_age{};
  std::string model, describe;
  int32_t group = -1, rank = -1;
  bool operator==(const ActorStatus&) const = default;
};

/// What a node tells the others of itself, whole each time: on change, and each
/// kNodeReportInterval. A lower version of the same incarnation is stale.
struct NodeReport {
  Incarnation node;
  uint64_t version = 0;
  std::string state;                  ///< ready starting draining
  std::vector<GroupEndpoint> groups;  ///< those it heads; their sockets are its own affair
  std::vector<ActorStatus> actors;    ///< at most kNodeReportActorsMax
  bool operator==(const NodeReport&) const = default;
};

/// Node -> its link: close every stream from and to that node, it was found dead.
struct CutOrder {
  std::string node;
  bool operator==(const CutOrder&) const = default;
};

// -- journal: router -> its peer (first implementation: the node process)
// ---------------------------------------------

/// All that another router needs to continue a request.
struct JournalOpen {
  RequestId id;
  OwnerEpoch owner;
  std::string model;
  std::vector<TokenId> prompt;
  int32_t choices = 1, max_new = 0;
  Sampling sampling;
  std::vector<TokenId> stop_ids;
  std::vector<std::string> stop_strings;
  Duration deadline_left{};
  Salt tenant{};
  bool operator==(const JournalOpen&) const = default;
};
struct JournalTokens {
  SequenceKey key;
  uint64_t seq = 0;  ///< index of tokens[0] in the answer
  std::vector<TokenId> tokens;
  bool operator==(const JournalTokens&) const = default;
};
/// Written before the tokens in it are shown to anyone. `number` counts the router's appends
/// from 1. `whole`: the peer forgets what it holds of this router and goes on from here; sent
/// after a gap, followed by all that is open.
struct JournalAppend {
  Incarnation router;
  uint64_t number = 0;
  bool whole = false;
  std::vector<JournalOpen> opened;
  std::vector<JournalTokens> tokens;
  std::vector<RequestId> closed;
  bool operator==(const JournalAppend&) const = default;
};
struct JournalAck {
  Incarnation router;
  uint64_t number = 0;  ///< all appends up to this one are stored
  bool operator==(const JournalAck&) const = default;
};
struct JournalRead {
  RequestId id;
  bool operator==(const JournalRead&) const = default;
};
struct JournalEntry {
  RequestId id;
  bool known = false;
  JournalOpen open;
  std::vector<std::vector<TokenId>> accepted;  ///< per choice
  bool operator==(const JournalEntry&) const = default;
};

/// All that may cross a process boundary. The index is NOT the wire number: see net/codec.
using Message =
    std::variant<Hello, HelloReply, Enqueue, Cancel, TokenBatch, Refused, GroupStatus,
                 BundleRequest, BundleChunk, RoutingTable, LoadOrder, AbortOrder, DrainOrder,
                 LoadReport, StepFault, Drained, ProcessReport, JournalAppend, JournalAck,
                 JournalRead, JournalEntry, PrefixReport, PrefixRequest, NodeReport, CutOrder,
                 RankListening, RankJoin, RanksOrder, RanksReport>;

}  // namespace troupe

template <>
struct std::hash<troupe::SequenceKey> {
  size_t operator()(const troupe::SequenceKey& k) const noexcept {
    return std::hash<troupe::RequestId>{}(k.id) * 31 + static_cast<size_t>(k.choice);
  }
};
