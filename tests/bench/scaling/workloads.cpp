#include "tests/bench/scaling/workloads.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "config/check.h"
#include "config/mix.h"
#include "model/step.h"

namespace troupe::scaling {

namespace {

constexpr Time kNever{10'000s};

/// Words of the oracle's vocabulary: no end token, no single bytes.
std::vector<TokenId> words(uint64_t seed, int32_t count) {
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < count; ++i)
    tokens.emplace_back(300 + static_cast<int32_t>(mix64(seed, static_cast<uint64_t>(i)) % 3700));
  return tokens;
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::max<size_t>(at, 1) - 1];
}

struct Samples {
  std::vector<double> ttft, gaps;
  uint64_t tokens = 0, answers = 0;

  void add(const Answered& answer, Time from, Time to) {
    TROUPE_CHECK(!answer.failed, answer.failed ? answer.failed->message : "");
    ++answers;
    if (answer.submitted >= from && answer.first < to)
      ttft.push_back(to_seconds(answer.first - answer.submitted));
    for (size_t i = 0; i < answer.arrivals.size(); ++i) {
      if (answer.arrivals[i] < from || answer.arrivals[i] >= to) continue;
      ++tokens;
      if (i > 0) gaps.push_back(to_seconds(answer.arrivals[i] - answer.arrivals[i - 1]));
    }
  }
  LoadResult result(double seconds) const {
    return {.tokens_per_second = static_cast<double>(tokens) / seconds,
            .ttft_p50 = percentile(ttft, 0.5),
            .ttft_p95 = percentile(ttft, 0.95),
            .gap_p50 = percentile(gaps, 0.5),
            .gap_p99 = percentile(gaps, 0.99),
            .answers = answers};
  }
};

}  // namespace

PrefixResult run_shared_prefixes(ModelledCluster& cluster, int routers, int groups,
                                 const SharedPrefixLoad& load) {
  struct Session {
    std::vector<TokenId> said;
    int turn = 0;
  };
  std::vector<Session> sessions(static_cast<size_t>(load.sessions));
  PrefixResult result;
  Samples samples;
  double looked_up = 0, ideal = 0;
  std::vector<bool> known(static_cast<size_t>(load.system_prompts));

  std::function<void(size_t)> take_turn = [&](size_t i) {
    Session& session = sessions[i];
    const auto turn = static_cast<uint64_t>(session.turn);
    // What a KV without bounds would find of this prompt: whole blocks of what was there before.
    const auto before = static_cast<int32_t>(session.said.size());
    const size_t system = i % known.size();
    const int32_t there = turn > 0 ? before - 1 : known[system] ? load.system_tokens : 0;
    known[system] = true;
    ideal += there / kBlockPositions * kBlockPositions;
    const auto news = words(mix64(load.seed, i << 20 | (turn + 1)), load.user_tokens);
    session.said.insert(session.said.end(), news.begin(), news.end());
    looked_up += static_cast<double>(session.said.size() - 1);
    const int router = static_cast<int>((i + turn) % static_cast<uint64_t>(routers));
    cluster.ask(router, session.said, load.answer_tokens, [&, i](const Answered& answer) {
      samples.add(answer, Time{}, kNever);
      Session& s = sessions[i];
      s.said.insert(s.said.end(), answer.tokens.begin(), answer.tokens.end());
      if (++s.turn >= load.turns) return;
      const uint64_t draw = mix64(mix64(load.seed, i), static_cast<uint64_t>(s.turn));
      const Duration think(static_cast<int64_t>(
          draw % static_cast<uint64_t>(std::max<int64_t>(2 * load.think.count(), 1))));
      cluster.at(cluster.now() + think, [&, i] { take_turn(i); });
    });
  };
  for (size_t i = 0; i < sessions.size(); ++i) {
    sessions[i].said = words(mix64(load.seed, 1'000'000 + i % known.size()), load.system_tokens);
    cluster.at(cluster.now() + static_cast<int>(i) * load.stagger, [&, i] { take_turn(i); });
  }
  const auto all = static_cast<uint64_t>(load.sessions * load.turns);
  while (samples.answers < all) {
    TROUPE_CHECK(cluster.now() < kNever, samples.answers);
    cluster.run_until(cluster.now() + 100ms);
  }

  uint64_t queries = 0, hits = 0;
  double busiest = 0, busy = 0;
  for (int group = 0; group < groups; ++group) {
    const GroupStatus status = cluster.status(group);
    queries += status.prefix_queries;
    hits += status.prefix_hits;
    result.preemptions += status.preemptions;
    busiest = std::max(busiest, to_seconds(cluster.busy(group)));
    busy += to_seconds(cluster.busy(group));
  }
  result.hit_rate = static_cast<double>(hits) / static_cast<double>(queries);
  result.ideal_rate = ideal / looked_up;
  result.answers = samples.answers;
  result.ttft_p50 = percentile(samples.ttft, 0.5);
  result.ttft_p95 = percentile(samples.ttft, 0.95);
  result.busiest_group = busiest / (busy / groups);
  return result;
}

LoadResult run_closed(ModelledCluster& cluster, int routers, const ClosedLoad& load) {
  const auto streams = static_cast<size_t>(load.streams);
  const size_t warm = streams * static_cast<size_t>(load.warm);
  const size_t enough = warm + streams * static_cast<size_t>(load.window);
  Time from{}, to = kNever;
  std::vector<Answered> answers;
  std::function<void(uint64_t, uint64_t)> next = [&](uint64_t stream, uint64_t turn) {
    cluster.ask(static_cast<int>(stream % static_cast<uint64_t>(routers)),
                words(mix64(load.seed, stream << 20 | turn), load.prompt_tokens),
                load.answer_tokens, [&, stream, turn](const Answered& answer) {
                  answers.push_back(answer);
                  if (answers.size() == warm) from = cluster.now();
                  if (answers.size() == enough) to = cluster.now();
                  if (to == kNever) next(stream, turn + 1);
                });
  };
  // Not all at once, so that they don't go on in step.
  const auto spread = static_cast<uint64_t>(load.spread.count());
  for (uint64_t i = 0; i < streams; ++i)
    cluster.at(cluster.now() + Duration(static_cast<int64_t>(mix64(load.seed, i) % spread)),
               [&, i] { next(i, 0); });
  cluster.run_until(cluster.now() + load.spread);
  cluster.run_out(kNever);  // what still runs at the end has tokens that count
  Samples samples;
  for (const Answered& answer : answers) samples.add(answer, from, to);
  return samples.result(to_seconds(to - from));
}

LoadResult run_burst(ModelledCluster& cluster, int streams, int32_t prompt_tokens,
                     int32_t answer_tokens, uint64_t seed) {
  Samples samples;
  const Time begin = cluster.now();
  for (int i = 0; i < streams; ++i)
    cluster.ask(0, words(mix64(seed, static_cast<uint64_t>(i)), prompt_tokens), answer_tokens,
                [&](const Answered& answer) { samples.add(answer, begin, kNever); });
  cluster.run_out(kNever);
  return samples.result(to_seconds(cluster.now() - begin));
}

}  // namespace troupe::scaling
