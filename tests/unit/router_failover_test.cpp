// What the router does when groups fail, refuse, fall silent, lie or drain.
#include <doctest/doctest.h>

#include <map>

#include "router_fixture.h"

namespace troupe {
namespace router_failover_test {
namespace {

using testing::oracle_answer;
using testing::RouterWorld;
using testing::tokens_of;

uint32_t other(GroupId group) { return group == GroupId(1) ? 2 : 1; }

TEST_CASE("router: a lost link moves the request at once, with the tokens so far kept apart") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1, "hello", 6));
  const auto first = world.sent.at(0);
  world.send_oracle(first, 0, 2);
  world.link(first.group.value, 1, false);
  REQUIRE(world.sent.size() == 2);
  const auto second = world.sent[1];
  CHECK(second.group != first.group);
  CHECK(second.enqueue.prompt == tokens_of("hello"));
  CHECK(second.enqueue.accepted == oracle_answer(tokens_of("hello"), 2));
  CHECK(second.enqueue.attempt.counter > first.enqueue.attempt.counter);
  CHECK(second.enqueue.max_new == 6);
  world.send_oracle(second, 2, 4);
  CHECK(world.seen[1].last);
  CHECK(world.seen[1].choices[0].tokens == oracle_answer(tokens_of("hello"), 6));
  CHECK(world.seen[1].timings.attempts == 2);
  CHECK(world.router.stats().retries == 1);
  CHECK(world.router.stats().continued_tokens == 2);
  CHECK_FALSE(world.seen[1].inexact);
}

TEST_CASE(
    "router: late tokens of the old attempt, the old link or the old generation are dropped") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1, "hello", 6));
  const auto first = world.sent.at(0);
  world.link(first.group.value, 1, false);
  world.send_oracle(first, 0, 1);  // over the closed link
  CHECK(world.drops.back() == "message from a closed link");
  world.link(first.group.value, 1, true);
  world.send_oracle(first, 0, 1);  // old attempt
  CHECK(world.drops.back() == "tokens of another attempt");
  auto wrong = world.sent[1];
  wrong.enqueue.generation = Generation(9);
  world.send_oracle(wrong, 0, 1);
  CHECK(world.drops.back() == "tokens of another attempt");
  auto elsewhere = world.sent[1];  // right attempt, wrong group
  elsewhere.group = first.group;
  elsewhere.incarnation = first.incarnation;
  world.send_oracle(elsewhere, 0, 1);
  CHECK(world.seen[1].deliveries == 0);
  CHECK(world.router.stats().stale_dropped == 4);
  world.send_oracle(world.sent[1], 0, 6);
  CHECK(world.seen[1].choices[0].tokens == oracle_answer(tokens_of("hello"), 6));
}

TEST_CASE("router: a repeated chunk is dropped, a gap starts a new attempt") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.send_oracle(world.sent[0], 0, 2);
  world.send_oracle(world.sent[0], 0, 2);
  CHECK(world.drops.back() == "tokens came twice");
  world.send_oracle(world.sent[0], 3, 1);
  REQUIRE(world.sent.size() == 2);
  CHECK(world.sent[1].enqueue.accepted.size() == 2);
  REQUIRE(world.cancels.size() == 1);
  CHECK(world.cancels[0].cancel.attempt == world.sent[0].enqueue.attempt);
  world.send_oracle(world.sent[1], 2, 4);
  CHECK(world.seen[1].choices[0].tokens == oracle_answer(tokens_of("hello"), 6));
}

TEST_CASE("router: with one group a request waits for its next generation and continues there") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.send_oracle(world.sent[0], 0, 3);
  world.refuse(world.sent[0], ErrorCode::aborted);
  CHECK(world.sent.size() == 1);
  CHECK(world.router.stats().queued == 1);
  CHECK(world.router.readiness(world.now, {}).models[0].reason ==
        "group 1: its last step failed and it restarts");
  world.advance(500ms);
  CHECK(world.sent.size() == 1);
  world.bring_up(1, 2);
  REQUIRE(world.sent.size() == 2);
  CHECK(world.sent[1].enqueue.generation == Generation(2));
  CHECK(world.sent[1].enqueue.accepted.size() == 3);
  world.send_oracle(world.sent[1], 3, 3);
  CHECK(world.seen[1].last);
}

TEST_CASE("router: a new generation in the table is a failure of what ran in the old one") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.list(1, GroupState::starting, 2);
  world.publish();
  CHECK(world.router.stats().queued == 1);
  CHECK(world.router.stats().retries == 1);
}

TEST_CASE("router: four failures in a row end the request once, with a time to come back") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1, "hello", 6));
  for (int i = 0; i < kRetryBudget; ++i) {
    CHECK(world.seen[1].ends == 0);
    world.send_oracle(world.sent.back(), 1, 1);  // a gap
  }
  CHECK(world.sent.size() == kRetryBudget + 1);
  world.send_oracle(world.sent.back(), 1, 1);
  CHECK(world.sent.size() == kRetryBudget + 1);
  REQUIRE(world.seen[1].failed);
  CHECK(world.seen[1].failed->error.code == ErrorCode::unavailable);
  CHECK(world.seen[1].failed->error.message.find("failed 4 times") != std::string::npos);
  CHECK(world.seen[1].failed->retry_after >= 1s);
  CHECK(world.seen[1].ends == 1);
}

TEST_CASE("router: 256 accepted tokens earn the retry budget back, 255 do not") {
  const auto failures_survived = [](int tokens_between) {
    RouterWorld world;
    world.bring_up(1);
    world.submit(world.request(1, "hello", 4'000));
    uint64_t seq = 0;
    int failures = 0;
    while (failures < 3 * kRetryBudget) {
      for (int i = 0; i < tokens_between; ++i)
        world.send(world.sent.back(), world.chunk(world.sent.back(), seq++, tokens_of("x")));
      world.send(world.sent.back(), world.chunk(world.sent.back(), seq + 1, tokens_of("x")));
      if (world.seen[1].ends > 0) break;
      ++failures;
    }
    return failures;
  };
  CHECK(failures_survived(kRetryBudgetResetTokens) == 3 * kRetryBudget);
  CHECK(failures_survived(kRetryBudgetResetTokens - 1) == kRetryBudget);
}

TEST_CASE("router: an Enqueue without any answer is void after 5 s, an acknowledged one may wait") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1));
  world.submit(world.request(2));
  const auto lost = world.sent[0];
  world.send(world.sent[1], world.chunk(world.sent[1], 0, {}));
  world.advance(kEnqueueSilenceMax - 1ms);
  CHECK(world.sent.size() == 2);
  world.advance(1ms);
  REQUIRE(world.sent.size() == 3);
  CHECK(world.sent[2].enqueue.key == lost.enqueue.key);
  CHECK(world.sent[2].group != lost.group);
  world.send(world.sent[2], world.chunk(world.sent[2], 0, {}));
  world.advance(20s);
  CHECK(world.sent.size() == 3);
}

TEST_CASE("router: a sequence that its batcher no longer counts is placed again") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1));
  world.send(world.sent[0], world.chunk(world.sent[0], 0, {}));
  world.advance(kEnqueueSilenceMax);
  auto status = world.status_of(1);
  status.running = 1;
  world.report(status);
  CHECK(world.sent.size() == 1);
  status.running = 0;
  world.report(status);
  CHECK(world.sent.size() == 2);
}

TEST_CASE("router: a stream without a token for 30 s is placed again") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.send_oracle(world.sent[0], 0, 1);
  world.advance(kSequenceSilenceMax - 1ms);
  CHECK(world.sent.size() == 1);
  world.advance(1ms + kGroupHold);
  CHECK(world.sent.size() == 2);
}

TEST_CASE("router: a full group's request tries the other, then backs off, then is told 429") {
  RouterConfig config = RouterWorld::default_config();
  config.limits.queue_wait = 5s;
  RouterWorld world(config);
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1));
  world.refuse(world.sent.at(0), ErrorCode::rate_limited);
  REQUIRE(world.sent.size() == 2);
  CHECK(world.sent[1].group == GroupId(other(world.sent[0].group)));
  world.refuse(world.sent[1], ErrorCode::rate_limited);
  CHECK(world.sent.size() == 2);
  world.advance(kRefusedBackoffFirst);
  CHECK(world.sent.size() == 3);
  const Time start = world.now;
  while (world.seen[1].ends == 0 && world.now < start + 10s) {
    const size_t before = world.sent.size();
    world.refuse(world.sent.back(), ErrorCode::rate_limited);
    while (world.sent.size() == before && world.seen[1].ends == 0) world.advance(10ms);
  }
  REQUIRE(world.seen[1].failed);
  CHECK(world.seen[1].failed->error.code == ErrorCode::rate_limited);
  CHECK(world.seen[1].failed->error.message ==
        "The queue of every group that serves 'm' stayed full for 5 s; try again later.");
  CHECK(to_ms(world.now - start) <= 5'000);
  CHECK(world.sent.size() < 40);  // backed off
  CHECK(world.router.stats().retries == 0);
}

TEST_CASE("router: what can never run fails with the group's reason") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1));
  world.refuse(world.sent[0], ErrorCode::invalid_argument);
  REQUIRE(world.seen[1].failed);
  CHECK(world.seen[1].failed->error.code == ErrorCode::invalid_argument);
  CHECK(world.seen[1].failed->error.message == "refused by the test");
  CHECK(world.seen[1].failed->retry_after == Duration::zero());
}

TEST_CASE("router: streams leave a draining group after 5 s, without spending the budget") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.send_oracle(world.sent[0], 0, 2);
  world.list(1, GroupState::draining);
  world.publish();
  world.bring_up(2);
  world.submit(world.request(2));
  REQUIRE(world.sent.size() == 2);
  CHECK(world.sent[1].group == GroupId(2));  // nothing new goes there
  world.send(world.sent[1], world.chunk(world.sent[1], 0, {}));
  world.advance(kDrainMoveAfter - 1ms);
  CHECK(world.sent.size() == 2);
  world.advance(1ms);
  REQUIRE(world.sent.size() == 3);
  CHECK(world.sent[2].enqueue.key.id == RequestId{1, 1});
  CHECK(world.sent[2].enqueue.accepted.size() == 2);
  CHECK(world.cancels.size() == 1);
  CHECK(world.router.stats().retries == 0);
}

TEST_CASE("router: a draining group keeps its streams while there is no other") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.send_oracle(world.sent[0], 0, 1);
  world.list(1, GroupState::draining);
  world.publish();
  world.advance(10s);
  CHECK(world.sent.size() == 1);
  world.send_oracle(world.sent[0], 1, 5);
  CHECK(world.seen[1].last);
}

TEST_CASE("router: a refusal for draining is a planned move") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1));
  world.refuse(world.sent[0], ErrorCode::unavailable);
  REQUIRE(world.sent.size() == 2);
  CHECK(world.sent[1].group != world.sent[0].group);
  CHECK(world.router.stats().retries == 0);
  world.submit(world.request(2));
  CHECK(world.sent[2].group == world.sent[1].group);  // held back for a while
}

TEST_CASE("router: an answer continued under another numerics id says so") {
  RouterWorld world;
  world.numerics[1][0] = 1;
  world.numerics[2][0] = 2;
  world.bring_up(1);
  auto request = world.request(1, "hello", 6);
  request.cache_key = Digest{5};
  world.submit(request);
  world.step(router_in::CacheReply{RequestId{1, 1}, CacheTier::none, nullptr});
  world.send_oracle(world.sent[0], 0, 2);
  CHECK_FALSE(world.seen[1].inexact);
  world.bring_up(2);
  world.link(1, 1, false);
  world.send_oracle(world.sent[1], 2, 4);
  CHECK(world.seen[1].last);
  CHECK(world.seen[1].inexact);
  CHECK(world.stores.empty());
}

TEST_CASE("router: an answer goes on where it is exact, however busy, if such a group is ready") {
  RouterWorld world;
  world.numerics[2][0] = 2;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  world.send_oracle(world.sent[0], 0, 2);
  world.bring_up(2);
  world.bring_up(3);
  GroupStatus busy = world.status_of(3);
  busy.queued_tokens = 100'000;
  world.report(busy);
  world.link(1, 1, false);
  REQUIRE(world.sent.size() == 2);
  CHECK(world.sent[1].group == GroupId(3));
  world.send_oracle(world.sent[1], 2, 4);
  CHECK(world.seen[1].last);
  CHECK_FALSE(world.seen[1].inexact);
  // What has no token yet goes to the idle one.
  world.submit(world.request(2, "hello", 6));
  CHECK(world.sent[2].group == GroupId(2));
}

TEST_CASE("router: a group with another model file than most gets no work and says why") {
  RouterWorld world;
  world.weights[1][0] = 1;
  world.weights[2][0] = world.weights[3][0] = 2;
  for (uint32_t id : {1, 2, 3}) world.bring_up(id);
  for (uint64_t n = 1; n <= 6; ++n) world.submit(world.request(n));
  for (const auto& sent : world.sent) CHECK(sent.group != GroupId(1));
  const auto models = world.router.readiness(world.now, {}).models;
  REQUIRE(models.size() == 1);
  CHECK(models[0].groups_ready == 2);
  CHECK(models[0].reason ==
        "group 1: its file of m is not that of most groups; give every node the same one");
}

TEST_CASE("router: tokens outside the vocabulary are a fault of the group, never shown") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  world.submit(world.request(1, "hello", 6));
  world.send(world.sent[0], world.chunk(world.sent[0], 0, {TokenId(1'000'000)}));
  CHECK(world.seen[1].deliveries == 0);
  CHECK(world.sent.size() == 2);
  CHECK(world.sent[1].group != world.sent[0].group);
}

TEST_CASE("router: tokens beyond max_new are cut off and the sequence is cancelled") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 3));
  world.send(world.sent[0], world.chunk(world.sent[0], 0, tokens_of("abcde")));
  CHECK(world.seen[1].choices[0].text == "abc");
  CHECK(world.seen[1].choices[0].finish == Finish::length);
  CHECK(world.seen[1].last);
  CHECK(world.cancels.size() == 1);
}

TEST_CASE("router: attempt ids are never used twice") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  std::map<AttemptId, RequestId> owner;
  for (uint64_t id = 1; id <= 50; ++id) {
    world.submit(world.request(id));
    if (id % 3 == 0) world.send_oracle(world.sent.back(), 1, 1);
    if (id % 7 == 0) world.step(router_in::ClientGone{RequestId{1, id}});
  }
  for (const auto& sent : world.sent) {
    CHECK_FALSE(owner.contains(sent.enqueue.attempt));
    owner[sent.enqueue.attempt] = sent.enqueue.key.id;
  }
}

TEST_CASE("router: a journal peer that missed an append gets the whole journal") {
  RouterWorld world;
  world.auto_ack = false;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 20));
  world.submit(world.request(2, "other", 20));
  world.step(router_in::JournalAcked{{Incarnation(4242), 1}});
  world.send_oracle(world.sent[0], 0, 3);
  world.step(
      router_in::JournalAcked{{Incarnation(4242), 1}});  // repeated: append 2 is missing there
  REQUIRE(world.of<router_out::Journal>().size() == 1);
  const JournalAppend& whole = world.journal.back();
  CHECK(whole.whole);
  CHECK(whole.number == 4);
  CHECK(whole.opened.size() == 2);
  REQUIRE(whole.tokens.size() == 1);
  CHECK(whole.tokens[0].tokens.size() == 3);
  CHECK(world.seen[1].deliveries == 0);
  world.step(router_in::JournalAcked{{Incarnation(4242), 4}});
  CHECK(world.seen[1].choices[0].tokens.size() == 3);
}

}  // namespace
}  // namespace router_failover_test
}  // namespace troupe
