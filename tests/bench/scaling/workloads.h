// Who asks a modelled cluster what, and what came of it. Deterministic: all that looks random is a
// hash of `seed`.
#pragma once

#include <cstdint>

#include "tests/bench/scaling/modelled_cluster.h"

namespace troupe::scaling {

/// Conversations that share their beginnings: session i has system prompt i % system_prompts; a
/// turn is all that was said before, with a few new tokens. Each turn goes to the next router, as
/// behind a load balancer that knows nothing.
struct SharedPrefixLoad {
  int sessions = 64, system_prompts = 4, turns = 6;
  int32_t system_tokens = 256, user_tokens = 40, answer_tokens = 60;
  Duration stagger = 37ms;  ///< between the first turns of two sessions
  Duration think = 1s;      ///< from an answer to the next turn, at most twice
  uint64_t seed = 1;
};

struct PrefixResult {
  double hit_rate = 0;    ///< prompt tokens that groups found in their KV, of all they looked up
  double ideal_rate = 0;  ///< with one KV that forgets nothing and shares what was begun before
  uint64_t answers = 0, preemptions = 0;
  double ttft_p50 = 0, ttft_p95 = 0;  ///< s
  double busiest_group = 0;           ///< its share of the requests over that of an even split
};

PrefixResult run_shared_prefixes(ModelledCluster& cluster, int routers, int groups,
                                 const SharedPrefixLoad& load);

/// Streams that each ask again as soon as they are answered, never the same.
struct ClosedLoad {
  int streams = 1;
  int32_t prompt_tokens = 1024, answer_tokens = 256;
  Duration spread = 5s;  ///< in which the first ones are asked
  /// Answers a stream, on average: before what counts, and while it does.
  int warm = 2, window = 2;
  uint64_t seed = 1;
};

struct LoadResult {
  double tokens_per_second = 0;                                 ///< of answers
  double ttft_p50 = 0, ttft_p95 = 0, gap_p50 = 0, gap_p99 = 0;  ///< s
  uint64_t answers = 0;
};

LoadResult run_closed(ModelledCluster& cluster, int routers, const ClosedLoad& load);

/// One burst: all at once, until all are answered. tokens_per_second is over the whole of it.
LoadResult run_burst(ModelledCluster& cluster, int streams, int32_t prompt_tokens,
                     int32_t answer_tokens, uint64_t seed);

}  // namespace troupe::scaling
