// Random traffic against tiny pools: whatever joins, leaves, is cancelled, replaced, lost or
// preempted, every answer is the reference's, every invariant holds after every input, and at rest
// nothing is held.
#include <doctest/doctest.h>

#include <random>

#include "tests/unit/batcher_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace batcher_random_test {
namespace {

class Traffic {
 public:
  explicit Traffic(uint64_t seed) : random_(seed), rig_(make_config(), pick(0, 1) * pick(3, 9)) {}

  void run(int moves) {
    rig_.tick();
    for (int i = 0; i < moves; ++i) move();
    rig_.settle();
    verify();
  }
  uint64_t preemptions() const { return rig_.batcher.status(rig_.now).preemptions; }
  uint64_t drafted() const { return rig_.batcher.status(rig_.now).drafted; }
  uint64_t right() const { return rig_.batcher.status(rig_.now).drafts_right; }
  uint64_t hits() const { return rig_.batcher.status(rig_.now).prefix_hits; }

 private:
  struct Sent {
    Enqueue request;
    RouterId router;
    bool withdrawn = false;  ///< cancelled, replaced or its router lost
  };

  int32_t pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  BatcherConfig make_config() {
    BatcherConfig c = small_config();
    c.kv_blocks = pick(4, 12);
    c.max_slots = pick(2, 7);
    c.max_rows = pick(1, 24);
    c.prefill_chunk = pick(1, 20);
    c.context = pick(40, 140);
    c.vocab = 50;
    c.queue_max = pick(3, 12);
    c.plans_in_flight = pick(1, kPlansInFlightMax);
    c.lanes = pick(0, 1) == 0 ? 1 : pick(2, 4);
    return c;
  }

  Enqueue fresh() {
    std::vector<TokenId> prompt(static_cast<size_t>(pick(1, 60)));
    // Few distinct beginnings, so that prefixes are shared often.
    const int32_t family = pick(0, 2), fork = pick(0, 60);
    for (int32_t i = 0; i < static_cast<int32_t>(prompt.size()); ++i) {
      prompt[static_cast<size_t>(i)] = TokenId(i < fork ? (family * 11 + i) % 50 : pick(0, 49));
    }
    Enqueue e = rig_.request(++ids_, std::move(prompt), pick(0, 80));
    e.attempt.boot = Incarnation(1 + random_() % 3);
    e.priority = pick(0, 9) == 0 ? 1 : 0;
    e.score_prompt = pick(0, 5) == 0;
    if (pick(0, 3) == 0) e.stop_ids = {TokenId(pick(0, 49))};
    if (pick(0, 3) == 0) e.sampling.presence = 1;
    e.sampling.n_logprobs = pick(-1, 2);
    return e;
  }

  void send(Enqueue e) {
    const RouterId router(e.attempt.boot.value);
    sent_.push_back(Sent{e, router});
    rig_.enqueue(e, router);
  }

  void move() {
    switch (random_() % 12) {
      case 0:
      case 1:
      case 2:
        return send(fresh());
      case 3: {
        if (sent_.empty()) return;
        Sent& s = sent_[random_() % sent_.size()];
        if (!rig_.answer(s.request).over()) s.withdrawn = true;
        return rig_.cancel(s.request, s.router);
      }
      case 4:
        return replace();
      case 5: {
        if (random_() % 4 != 0) return;
        const RouterId lost(1 + random_() % 3);
        for (Sent& s : sent_) {
          if (s.router == lost && !rig_.answer(s.request).over()) s.withdrawn = true;
        }
        return rig_.input(batcher_in::RouterLost{lost});
      }
      case 6: {  // a late cancel of an attempt that never was
        if (sent_.empty()) return;
        Enqueue other = sent_[random_() % sent_.size()].request;
        other.attempt.owner = OwnerEpoch(77);
        return rig_.cancel(other);
      }
      default:
        rig_.run_step(Duration(random_() % 3'000'000));
    }
  }

  /// What a router does after a failure: next attempt with the tokens it has.
  void replace() {
    if (sent_.empty()) return;
    Sent& s = sent_[random_() % sent_.size()];
    if (s.withdrawn || rig_.answer(s.request).over()) return;
    Enqueue next = s.request;
    const Answer& shown = rig_.answer(s.request);
    next.accepted.insert(next.accepted.end(), shown.tokens.begin(), shown.tokens.end());
    if (!next.accepted.empty()) next.score_prompt = false;
    next.attempt.counter = next.attempt.counter.next();
    s.withdrawn = true;
    send(next);
  }

  void verify() {
    for (const Sent& s : sent_) {
      const Answer& answer = rig_.answer(s.request);
      auto whole =
          reference_answer(s.request.prompt, length_of(s.request), rig_.words, s.request.stop_ids);
      const auto already = s.request.accepted.size();
      REQUIRE(already + answer.tokens.size() <= whole.size());
      for (size_t i = 0; i < answer.tokens.size(); ++i)
        REQUIRE(answer.tokens[i] == whole[already + i]);
      verify_logprobs(s.request, answer);
      if (answer.refused) {
        const ErrorCode code = answer.refused->code;
        REQUIRE((code == ErrorCode::rate_limited || code == ErrorCode::invalid_argument ||
                 code == ErrorCode::too_large));
      } else if (!s.withdrawn) {
        REQUIRE(answer.finish != Finish::none);
        REQUIRE(already + answer.tokens.size() == whole.size());
        const bool stopped = static_cast<int32_t>(whole.size()) < length_of(s.request);
        REQUIRE((answer.finish == Finish::stop) == stopped);
        if (s.request.score_prompt) verify_scores(s.request, answer);
      }
    }
    const GroupStatus status = rig_.batcher.status(rig_.now);
    REQUIRE(status.running == 0);
    REQUIRE(status.queued == 0);
    REQUIRE(status.blocks_used == 0);
    REQUIRE(rig_.faults.empty());
  }

  int32_t length_of(const Enqueue& e) const {
    return std::min(e.max_new, rig_.config.context - static_cast<int32_t>(e.prompt.size()));
  }

  static void verify_logprobs(const Enqueue& e, const Answer& answer) {
    if (e.sampling.n_logprobs < 0) return;
    REQUIRE(answer.logprobs.size() == answer.tokens.size());
    uint64_t kv = 0;
    for (TokenId token : e.prompt) kv = kv_after(kv, token.value);
    for (TokenId token : e.accepted) kv = kv_after(kv, token.value);
    for (size_t i = 0; i < answer.tokens.size(); ++i) {
      REQUIRE(answer.logprobs[i].logprob == score(kv, answer.tokens[i].value));
      REQUIRE(answer.logprobs[i].top.size() == static_cast<size_t>(e.sampling.n_logprobs));
      kv = kv_after(kv, answer.tokens[i].value);
    }
  }

  static void verify_scores(const Enqueue& e, const Answer& answer) {
    REQUIRE(answer.prompt_logprobs.size() + 1 == e.prompt.size());
    uint64_t kv = 0;
    for (size_t i = 0; i + 1 < e.prompt.size(); ++i) {
      kv = kv_after(kv, e.prompt[i].value);
      REQUIRE(answer.prompt_logprobs[i].logprob == score(kv, e.prompt[i + 1].value));
    }
  }

  std::mt19937_64 random_;
  Rig rig_;
  std::vector<Sent> sent_;
  uint64_t ids_ = 0;
};

}  // namespace

TEST_CASE(
    "batcher: random traffic over tiny pools gets the reference's answers and leaves nothing "
    "behind") {
  uint64_t preemptions = 0, hits = 0, drafted = 0, right = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    Traffic traffic(seed);
    traffic.run(250);
    preemptions += traffic.preemptions();
    hits += traffic.hits();
    drafted += traffic.drafted();
    right += traffic.right();
  }
  // The traffic must reach what it is meant to try.
  CHECK(preemptions > 300);
  CHECK(hits > 10'000);
  CHECK(right > 2'000);
  CHECK(drafted > right + 200);
}

}  // namespace batcher_random_test
