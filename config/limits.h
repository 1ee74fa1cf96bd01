// Every bound of the program, with its reason. A bound without a reader does not belong here; what
// happens at each is tested where it is enforced. Those in `Limits` may be overridden under
// `limits:` in the cluster config, each within the range given in config/cluster_config.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "config/time.h"

namespace troupe {

inline constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

// -- HTTP bridge
// ------------------------------------------------------------------------------------------
inline constexpr size_t kHttpHeaderBytesMax =
    16 * kKiB;  ///< more is an attack or a lost cookie jar: 431
inline constexpr size_t kHttpHeaderLinesMax = 100;
inline constexpr size_t kHttpBodyBytesMax = 4 * kMiB;  ///< a 1M-token prompt in JSON; more is 413
inline constexpr Duration kHttpHeaderTimeout = 5s;     ///< slow headers hold a connection only
inline constexpr Duration kHttpBodyTimeout = 30s;
inline constexpr int64_t kHttpBodyBytesPerSecondMin = kKiB;  ///< slower bodies get 408
inline constexpr Duration kHttpIdleTimeout = 75s;  ///< keep-alive; above common proxies' 60 s
inline constexpr Duration kHttpWriteTimeout =
    30s;  ///< a reader that takes nothing for so long is cut
inline constexpr size_t kHttpConnectionsMax = 12'000;  ///< below the usual 20,000 descriptors
inline constexpr size_t kHttpConnectionsPerAddressMax = 1'024;
/// Pipelined bytes of one connection; then TCP pushes back.
inline constexpr size_t kHttpReadAheadBytesMax = 64 * kKiB;
inline constexpr Duration kHttpTick = 100ms;  ///< how exactly timeouts of connections are kept
/// How long the io thread looks for a next request before it sleeps: a client's turn-around on one
/// host, some wake-ups long; at most this much of a core is spent after each answer.
inline constexpr Duration kHttpSpin = 50us;
/// For a client to read its last answer before a reset could destroy it.
inline constexpr Duration kHttpLinger = 2s;
/// Refused connections that are told so at a time; more are just closed.
inline constexpr size_t kHttpRefusalsMax = 64;
/// Unsent bytes of one stream; then it is cancelled.
inline constexpr size_t kStreamBufferBytesMax = kMiB;
inline constexpr Duration kSseKeepAlive = 10s;  ///< idle proxies cut at 50 s and more
/// An admission error within it is a real HTTP status, later ones come in band.
inline constexpr Duration kStreamHeadDelay = 100ms;
/// Bigger bodies are parsed and tokenised on a worker, so that streams do not wait.
inline constexpr size_t kInlineParseBytesMax = 32 * kKiB;
inline constexpr size_t kParseQueueMax = 64;  ///< bodies waiting for that worker; then 429
inline constexpr int kJsonDepthMax = 64;

// -- request
// ----------------------------------------------------------------------------------------------
inline constexpr int kChoicesMax = 16;  ///< n
/// In one completion request; evaluation tools send batches of so many.
inline constexpr size_t kPromptsMax = 128;
/// Prompts times n: a sixteenth of a router's sequences, so that one request cannot fill it.
inline constexpr size_t kAnswersPerRequestMax = 256;
inline constexpr size_t kStopStringsMax = 16;       ///< OpenAI allows 4, vLLM more
inline constexpr size_t kStopStringBytesMax = 256;  ///< bounds what TextStream holds back
inline constexpr size_t kLogitBiasMax = 1'024;
inline constexpr int kTopLogprobsMax = 20;
inline constexpr size_t kMessagesMax = 2'048;  ///< turns in one conversation
inline constexpr Duration kRequestDeadlineDefault = 600s;
inline constexpr Duration kQueueWaitMax = 30s;  ///< longer and the client should have been told 429

// -- router
// -----------------------------------------------------------------------------------------------
inline constexpr size_t kRouterRequestsMax =
    4'096;                              ///< queued + running sequences in one router: 429 beyond
inline constexpr int kRetryBudget = 3;  ///< unplanned failures of a request
inline constexpr int kRetryBudgetResetTokens = 256;  ///< accepted tokens that earn the budget back
inline constexpr Duration kGroupWaitMax = 30s;       ///< for a group to respawn, then 503
inline constexpr Duration kJournalAckTimeout =
    50ms;  ///< a silent journal peer must not stall streams
inline constexpr size_t kJournalBytesMax = 64 * kMiB;
inline constexpr Duration kEnqueueSilenceMax =
    5s;  ///< no answer to Enqueue at all: the attempt is void
inline constexpr Duration kSequenceSilenceMax = 30s;    ///< between two tokens: one was lost
inline constexpr Duration kRefusedBackoffFirst = 50ms;  ///< all queues full: try again, doubling
inline constexpr Duration kRefusedBackoffMax = 1s;
inline constexpr Duration kGroupHold = 1s;               ///< no new work after a refusal or silence
inline constexpr Duration kGroupStatusInterval = 200ms;  ///< from a group to each router
inline constexpr Duration kGroupStatusFresh = 1s;        ///< 5 missed statuses: the process hangs
inline constexpr Duration kStepProgressMax = 8s;  ///< torch canary 5 s + step 2 s + status 1 s
inline constexpr Duration kDrainMoveAfter = 5s;   ///< from a draining group, if there is another
inline constexpr int kSlowFactor = 3;             ///< step p99 over the median of its peers ...
inline constexpr Duration kSlowAfter = 10s;       ///< ... for so long: new work goes elsewhere
/// First blocks of a prompt that count for its group: 4,096 tokens; naming them takes about 0.1 ms.
inline constexpr size_t kAffinityBlocks = 256;
inline constexpr size_t kAffinityEntriesMax = 16'384;  ///< a group: 512 prompts of 512 tokens
inline constexpr Duration kPrefixSentKept = 30s;  ///< the longest a prompt waits before it is told
inline constexpr Duration kPrefixAskInterval = 1s;  ///< one router, one group, for the whole
/// Blocks a group tells routers of: half a million positions, 256 KiB in one message.
inline constexpr size_t kPrefixMarksMax = 32'768;
inline constexpr size_t kJournalUnackedMax = 4'096;     ///< in 50 ms: 80,000 appends a second
inline constexpr Duration kJournalOrphanKept = 60s;     ///< of a dead router, for its successor
inline constexpr Duration kJournalResyncInterval = 1s;  ///< a whole journal at most so often

// -- batcher
// ----------------------------------------------------------------------------------------------
inline constexpr size_t kBatcherQueueMax = 4'096;  ///< sequences waiting in a group
inline constexpr int32_t kSlotsMax = 512;          ///< sequences running in a group
inline constexpr int32_t kRowsPerStepMax = 4'096;
inline constexpr int32_t kPreemptionsMax =
    3;  ///< of one sequence; then it is no longer chosen as a victim
/// Plans with a device at a time: one that runs and one that waits, so that it never idles while
/// the batcher thinks.
inline constexpr int32_t kPlansInFlightMax = 2;
/// Of a group with so many lanes (one for each stage of its pipeline): one plan in each stage, and
/// one that waits.
constexpr int32_t plans_in_flight_max(int32_t lanes) { return kPlansInFlightMax + lanes - 1; }
/// Behind the answer of a lane of a pipeline the first stage gives the batcher so long to plan on,
/// before it turns to the answer of another lane, which takes a stage's time.
inline constexpr Duration kLanePlanWait = 500us;
/// Between two tokens of a stream while prompts of others are computed: no stutter for a reader. At
/// 50 ms a burst of prompts waited a fifth longer for its first tokens (docs/performance.md).
inline constexpr Duration kTokenGapTarget = 100ms;
/// A slow machine's steps miss that target with decoding alone: prompts may then take this many
/// times as long as decoding does, in all, or they would never end.
inline constexpr int kChunkStepFactor = 3;
/// Of a step that only computes prompts: later requests wait for it, and deadlines are made from
/// it.
inline constexpr Duration kStepTimeMax = 250ms;
/// Known tokens inside a block for which copying it beats computing them anew: a copy costs about
/// two rows' time.
inline constexpr int32_t kCopyRowsMin = 4;
inline constexpr int32_t kDraftsMax = 7;  ///< in one slice: eight rows with the one that is known
/// Tokens that a kind of match must have foretold, or not, before its drafts are trusted.
inline constexpr int32_t kDraftTrialsMin = 16;
inline constexpr size_t kPartialsPerPrefix =
    8;  ///< blocks behind one prefix that a copy may start from
inline constexpr int32_t kPromptRowsUnit = 16;  ///< kernels work on so many rows at once
/// Rows of one prompt before those that came later get most of the room.
inline constexpr int32_t kPromptTurnRows = 512;
/// A plan waits only behind a step that is expected to be shorter: behind a long one the gap does
/// not show, and who arrives meanwhile may still join the next step.
inline constexpr Duration kPlanAheadBehindMax = 20ms;
/// top_k up to which tensor parallel ranks send their largest logits instead of all: some hundreds
/// of bytes in place of 4 an id.
inline constexpr int32_t kSummaryTopMax = 128;
inline constexpr size_t kPrefixBlocksMax = 1 << 20;  ///< entries of a prefix index

// -- failure detection (times are stretched by limits.timing_scale)
// -------------------------------------------
inline constexpr Duration kBeatInterval = 100ms;
inline constexpr Duration kSuspectAfter = 500ms;
inline constexpr Duration kDeadAfter = 1500ms;
inline constexpr Duration kSelfDoubtLag =
    100ms;  ///< an own loop later than this doubts its own clockwork first
inline constexpr size_t kPeersMax = 4'096;  ///< processes one node watches
inline constexpr Duration kStepDeadlineMin = 1s, kStepDeadlineMax = 2s;  ///< clamp(8 x p99)
inline constexpr int kStepDeadlineFactor = 8;
inline constexpr int kStepSamplesMin = 16;      ///< steps of a size before its p99 means anything
inline constexpr Duration kAbortDeadline = 2s;  ///< then SIGKILL
inline constexpr Duration kCanaryNative = 2s, kCanaryTorch = 5s;
inline constexpr Duration kRespawnFirst = 100ms, kRespawnMax = 10s;
inline constexpr int kRestartBudget = 5;  ///< deaths within the window; then `failed`
inline constexpr Duration kRestartWindow = 300s;
inline constexpr Duration kFailedRetry = 30s;  ///< one try each, once failed
inline constexpr Duration kDrainMax = 30s;
inline constexpr Duration kHelloTimeout = 10s;  ///< spawn to accepted Hello; then another process
/// SIGKILL comes after kAbortDeadline, reaping after that; what outlives this dies with the node.
inline constexpr Duration kEndingMax = 5s;
inline constexpr Duration kFlushMax =
    2s;  ///< a router told to end writes what clients have yet to read
inline constexpr Duration kLoadTimeout = 120s;  ///< weights to ready
inline constexpr Duration kTimerMax = 1s;       ///< longest armed timer of a shell

// -- wire
// -------------------------------------------------------------------------------------------------
inline constexpr size_t kWireChunkBytesMax =
    kMiB;  ///< head-of-line blocking (notes: 16 MiB cost 15 ms)
inline constexpr size_t kWireMessageBytesMax = 4 * kMiB;  ///< bigger envelopes are refused unread
inline constexpr Duration kHandshakeTimeout =
    3s;  ///< dial, hello or a bundle chunk; then dialled again with back-off
inline constexpr size_t kBundleBytesMax = 256 * kMiB;  ///< tokenizer + template of a model
inline constexpr size_t kUnixPathMax = 107;            ///< sun_path

// -- link between hosts
// -------------------------------------------------------------------------------------------------
inline constexpr Duration kLinkHandshakeTimeout =
    2s;  ///< TCP accept to accepted preamble; 20 round trips of a slow WAN
inline constexpr Duration kLinkDialTimeout =
    3s;  ///< connect, handshake and answer; more than the other side's handshake deadline
/// Sockets of peers that have not proven who they are; one more pushes out the oldest, so that
/// strangers who hold sockets open can't keep a node out.
inline constexpr size_t kLinkUnauthenticatedMax = 64;
/// Streams and dials at a time: pairs of processes, not requests. A hundred nodes with four
/// processes that dial each stay below.
inline constexpr size_t kLinkStreamsMax = 1'024;
/// Each direction of a stream: four TLS records, so that reading and writing overlap. 128 MiB with
/// every stream stuck; beyond, TCP and AF_UNIX push back.
inline constexpr size_t kLinkBufferBytes = 64 * kKiB;
/// Moved for one stream before the others get their turn: about 0.5 ms.
inline constexpr size_t kLinkTurnBytes = 512 * kKiB;
inline constexpr size_t kLinkPreambleBytesMax = 512;  ///< three names of kLinkNameBytesMax would do
inline constexpr size_t kLinkNameBytesMax = 140;      ///< two names of 64, "/shard/" and numbers
/// For the other side to read the last bytes after a process closed; then the socket is closed.
inline constexpr Duration kLinkLinger = 2s;
inline constexpr Duration kLinkAcceptPause = 100ms;  ///< without descriptors, before the next try
inline constexpr size_t kLinkAddressesMax = 8;       ///< of one host name that are tried
inline constexpr size_t kLinkLookupsMax = 64;        ///< host names waiting for the resolver
/// A broken connection for beats is dialled again, doubling: well below kSuspectAfter, and a node
/// that stays away costs four dials a second.
inline constexpr Duration kBeatRedialFirst = 50ms, kBeatRedialMax = 250ms;
/// A peer that acknowledges nothing for so long is gone. Clean-up only: beats decide who is dead.
inline constexpr Duration kLinkSilenceMax = 15s;
inline constexpr Duration kLinkReportInterval = 60s;  ///< one log line for all refusals in between

// -- between nodes
// -------------------------------------------------------------------------------------------------
/// Whole reports between supervisors, at the latest: until a node counts as suspect two may be
/// missed.
inline constexpr Duration kNodeReportInterval = 200ms;
/// A node whose last report is older counts as suspect, whatever its beats say: they come from a
/// thread of their own. Five reports missed, and no longer than a hung step may take to show.
inline constexpr Duration kNodeReportStale = 1s;
/// Dials of another node that does not answer, doubling. Short, because a cluster forms in three
/// seconds and a node that is back is in again within two.
inline constexpr Duration kPeerRedialFirst = 100ms, kPeerRedialMax = 1s;
/// After a refusal: a person must act first.
inline constexpr Duration kPeerRefusedMax = 10s;
inline constexpr size_t kNodeReportActorsMax = 800;  ///< rows of a tree that other nodes see
/// Of a reason or a last error in it: with so many rows a report stays below kWireChunkBytesMax.
inline constexpr size_t kNodeReportTextMax = 200;

// -- model files between nodes
// -------------------------------------------------------------------------------------------------
inline constexpr size_t kFileChunkBytesMax = kMiB;  ///< what a sender reads and frames at a time
/// All that a node sends together: a tenth of a 10 Gb port, and about a third of a core for TLS, so
/// that a node which serves hardly notices. 40 GB take five minutes.
inline constexpr int64_t kFileBytesPerSecond = 128 * kMiB;
/// Sent at a time; a caller more is told to ask another node. Half that rate is still a disk's.
inline constexpr size_t kFileTransfersMax = 4;
inline constexpr size_t kFileCallersMax = 16;         ///< with those that have yet to say what for
inline constexpr Duration kFileAnswerTimeout = 5s;    ///< dial to answer; a link's dial has 3 s
inline constexpr Duration kFileSilenceMax = 15s;      ///< no byte moves: broken off
inline constexpr size_t kFileReadBytes = 256 * kKiB;  ///< of a socket at a time
/// Read and hashed before callers and peers get their turn: some 3 ms.
inline constexpr size_t kFileHashBytes = 4 * kMiB;
/// Received bytes are written to the disk so often, so that the last ones need no long wait.
inline constexpr int64_t kFileSyncBytes = 64 * kMiB;
/// Stays free on the disk that a file is fetched to, for everything else there.
inline constexpr int64_t kFileRoomKept = 256 * kMiB;
/// Nobody had the file: all are asked again, doubling.
inline constexpr Duration kFileRetryFirst = 250ms, kFileRetryMax = 10s;
/// What peers sent was wrong twice: a person must act, and a try costs the whole file.
inline constexpr Duration kFileWrongRetry = 60s;
inline constexpr Duration kFileTellInterval = 5s;  ///< how far a file has come, for people

// -- nodes of one host (troupe up)
// -------------------------------------------------------------------------------------------------
/// A node told to end has limits.drain, and this for flushing and ending its processes; as the unit
/// in deploy/systemd has it. Then SIGKILL.
inline constexpr Duration kNodeEndMax = 15s;
inline constexpr size_t kNodeLineBytesMax = kKiB;  ///< of a node's standard output; the rest is cut

// -- certificates
// -------------------------------------------------------------------------------------------------
inline constexpr int kCaDays = 3'650;  ///< replacing a CA replaces every certificate
inline constexpr int kNodeCertificateDays = 90;
inline constexpr int kCertificateDaysMax = 3'650;
inline constexpr Duration kCertificateBackdate = 3600s;  ///< for nodes whose clocks are late
inline constexpr size_t kCertificateHostsMax = 32;       ///< further names in one certificate

// -- collectives
// -----------------------------------------------------------------------------------------------
inline constexpr int kCollectiveRanksMax = 64;  ///< of one group: tables are per pair of ranks
/// Of one call: an idle rank awaits its next plan for seconds; an hour is a forgotten unit.
inline constexpr Duration kCollectiveDeadlineMax = 3600s;
/// Of an error that ranks tell each other.
inline constexpr size_t kCollectiveTextBytesMax = 256;
/// Bytes under way from a rank to another one of its host: activations of 64 rows of a small model;
/// more is passed on piece by piece. 64 ranks have 0.5 GiB of these in all, two have 256 KiB.
inline constexpr size_t kShmRingBytes = 128 * kKiB;
/// What is copied before the reader is told: it copies one piece while the next is written.
inline constexpr size_t kShmPieceBytes = 16 * kKiB;
/// Awake for a peer that is about to answer, by what paid off last. To be woken takes some 50 us,
/// the parts of a layer that two ranks compute side by side differ by 10 to 30; beside a busy
/// neighbour the least is what is lost.
inline constexpr Duration kShmSpinMin = 4us, kShmSpinMax = 100us;
/// Answers of a pipeline that nobody has taken yet, for rank 0 to hand on a plan before it takes
/// them: a quarter of a ring, half of what Linux receives on a connection for a process that reads
/// nothing (64 KiB by default). Answers to 150 rows with all alternatives.
inline constexpr size_t kAnswersAheadBytes = 32 * kKiB;
/// One TLS record: what a connection holds of its sender's bytes.
inline constexpr size_t kTcpRecordBytes = 16 * kKiB;
/// All bytes of a gather up to which ranks send to each other directly; above, in a ring, where
/// each byte passes each cable once.
inline constexpr size_t kDirectGatherBytesMax = 64 * kKiB;
/// A larger sum is made piece by piece, each by one rank.
inline constexpr size_t kDirectReduceBytesMax = 8 * kKiB;
/// Bytes of a sum that are under way at a time; a rank keeps a copy of them.
inline constexpr size_t kReduceBlockBytes = kMiB;
inline constexpr Duration kTcpHandshakeTimeout = 2s;  ///< TLS and introduction of one socket
/// Sockets that have yet to say who they are, at one listener; more are closed at once.
inline constexpr size_t kTcpUnauthenticatedMax = 64;
inline constexpr Duration kTcpRedialFirst = 10ms, kTcpRedialMax = 250ms;  ///< doubling

// -- ranks of a group
// -------------------------------------------------------------------------------------------------
/// A plan or an output on its way between ranks; 512 tables of a million positions are 128 MiB.
/// Longer is damage.
inline constexpr size_t kStepBytesMax = 256 * kMiB;
/// How long a rank waits for the next plan: longer than another rank may load and than any pause
/// between canaries.
inline constexpr Duration kFollowIdleMax = 150s;
/// For the memory that ranks share to reach one of them: it leaves the node with the order to load.
inline constexpr Duration kRankMemoryWait = 5s;
/// For a rank that listens, until all of its group do; and then, until they are connected. The
/// others got their orders at the same time; a broken link between nodes is dialled anew within.
inline constexpr Duration kRankJoinWait = 10s, kRankConnectWait = 10s;

// -- model files
// --------------------------------------------------------------------------------------------
inline constexpr int64_t kModelFileBytesMax = 1024 * kGiB;
inline constexpr size_t kMetadataEntriesMax = 65'536;
inline constexpr size_t kMetadataStringBytesMax = 16 * kMiB;
inline constexpr size_t kMetadataArrayMax = 4'194'304;
inline constexpr size_t kTensorsMax = 65'536;
inline constexpr size_t kShardFilesMax = 1'024;
inline constexpr size_t kWeightsIdsMax = 64;  ///< models a user keeps in use; 13 KB of file
/// A file changed more recently may change again without another time stamp.
inline constexpr Duration kFileSettles = 2s;
inline constexpr int64_t kJsonFileBytesMax =
    64 * kMiB;  ///< tokenizer.json of a 256k vocabulary is 30 MB
inline constexpr int32_t kLayersMax = 1'024, kHeadsMax = 1'024, kHeadDimMax = 1'024;
inline constexpr int32_t kHiddenMax = 1 << 17, kFfnMax = 1 << 20, kVocabMax = 1 << 21,
                         kContextMax = 1 << 24;

// -- tokenizer
// ------------------------------------------------------------------------------------------------
inline constexpr size_t kTokenTextBytesMax =
    4 * kKiB;  ///< of one token; known vocabularies stay below 1 KiB
inline constexpr size_t kPieceCacheEntries =
    1 << 14;  ///< words remembered a thread, 64 bytes each; a power of two
inline constexpr size_t kMergeScratchKept =
    1 << 16;  ///< symbols; more room is given back after a long piece

// -- chat template
// --------------------------------------------------------------------------------------------
inline constexpr size_t kTemplateBytesMax = kMiB;
inline constexpr size_t kTemplateOutputBytesMax = 8 * kMiB;
inline constexpr int64_t kTemplateStepsMax = 4'000'000;  ///< evaluated nodes of one rendering
inline constexpr int kTemplateDepthMax =
    100;  ///< nested blocks, expressions, macro calls, lists in lists
inline constexpr int kTemplateNestingMax =
    1'500;  ///< evaluations inside one another; bounds the stack to ~2 MiB

// -- cache
// ------------------------------------------------------------------------------------------------
inline constexpr int64_t kResponseCacheBytes = 64 * kMiB;
inline constexpr size_t kResponseCacheShards = 16;
inline constexpr int64_t kCachedResponseBytesMax = kMiB;  ///< larger answers are not cached
inline constexpr int64_t kAnswerRecordsBytesMax =
    32 * kMiB;  ///< answers being written that may yet be cached; beyond, they are not
inline constexpr Duration kRedisTimeout = 50ms;
inline constexpr int kRedisBreakerErrors =
    5;  ///< in kRedisBreakerWindow; then closed to traffic for kRedisBreakerRest
inline constexpr Duration kRedisBreakerWindow = 1s, kRedisBreakerRest = 2s;
inline constexpr Duration kRedisTtl = 3600s;
inline constexpr size_t kRedisPendingMax = 1'024;
inline constexpr size_t kRedisPendingBytesMax = 16 * kMiB;  ///< unsent values; more are not stored
inline constexpr Duration kRedisConnectTimeout = 1s;
inline constexpr Duration kRedisReconnectFirst = 50ms, kRedisReconnectMax = 2s;

// -- troupe bench
// -------------------------------------------------------------------------------------------------
inline constexpr Duration kBenchStepTimeout = 120s;  ///< a step this slow is a hang, not a figure
inline constexpr int32_t kBenchRoundsMax = 1'000, kBenchBatchMax = kSlotsMax;
inline constexpr int32_t kBenchTokensMax = 1 << 20;

// -- logs
// -------------------------------------------------------------------------------------------------
inline constexpr size_t kLogEventBytesMax = 4 * kKiB;

/// The overridable ones.
struct Limits {
  double timing_scale = 1;  ///< stretches detection and deadlines on slow machines, 1..100
  int64_t router_requests = kRouterRequestsMax;
  int64_t batcher_queue = kBatcherQueueMax;
  int64_t connections_per_address = kHttpConnectionsPerAddressMax;
  int64_t response_cache_bytes = kResponseCacheBytes;  ///< 0: off
  Duration request_deadline = kRequestDeadlineDefault;
  Duration queue_wait = kQueueWaitMax;
  Duration drain = kDrainMax;
  bool operator==(const Limits&) const = default;

  /// A detection or deadline constant under this timing_scale.
  Duration scaled(Duration d) const { return troupe::scaled(d, timing_scale); }
};

}  // namespace troupe
