#include "cluster/router.h"

#include <doctest/doctest.h>

#include "router_fixture.h"

namespace troupe {
namespace router_test {
namespace {

using testing::oracle_answer;
using testing::RouterWorld;
using testing::Seen;
using testing::tokens_of;

std::string text_of(const std::vector<TokenId>& tokens) {
  return testing::oracle_tokenizer()->decode(tokens);
}

TEST_CASE("router: a request is placed, its tokens shown as text, its end told once") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  REQUIRE(world.sent.size() == 1);
  const Enqueue& enqueue = world.sent[0].enqueue;
  CHECK(enqueue.prompt == tokens_of("hello"));
  CHECK(enqueue.max_new == 6);
  CHECK(enqueue.generation == Generation(1));
  CHECK(enqueue.attempt.boot == Incarnation(4242));
  CHECK(to_ms(enqueue.deadline_left) == 60'000);
  world.now += 30ms;
  world.send(world.sent[0], world.chunk(world.sent[0], 0, {}));
  world.send_oracle(world.sent[0], 0, 2);
  world.now += 20ms;
  world.send_oracle(world.sent[0], 2, 4);
  const Seen& seen = world.seen[1];
  CHECK(seen.last);
  CHECK(seen.ends == 1);
  CHECK(seen.choices[0].tokens == oracle_answer(tokens_of("hello"), 6));
  CHECK(seen.choices[0].text == text_of(seen.choices[0].tokens));
  CHECK(seen.choices[0].finish == Finish::length);
  CHECK(to_ms(seen.timings.ttft) == 30);
  CHECK(to_ms(seen.timings.decode) == 20);
  CHECK(seen.timings.generated_tokens == 6);
  CHECK(seen.timings.attempts == 1);
  CHECK(world.router.stats().running == 0);
}

TEST_CASE("router: a full router answers 429 with a time to come back") {
  RouterConfig config = RouterWorld::default_config();
  config.limits.router_requests = 3;
  RouterWorld world(config);
  world.bring_up(1);
  auto two = world.request(1);
  two.choices = 2;
  world.submit(two);
  auto again = world.request(2);
  again.choices = 2;
  world.submit(again);
  REQUIRE(world.seen[2].failed);
  CHECK(world.seen[2].failed->error.code == ErrorCode::rate_limited);
  CHECK(world.seen[2].failed->error.message.find("holds 2 sequences of at most 3") !=
        std::string::npos);
  CHECK(world.seen[2].failed->retry_after >= 1s);
  world.submit(world.request(3));
  CHECK_FALSE(world.seen[3].failed);
}

TEST_CASE("router: an unknown model is not found, a model without any live group is unavailable") {
  RouterWorld world;
  world.list(1, GroupState::failed);
  world.publish();
  auto other = world.request(1);
  other.model = "other";
  world.submit(other);
  REQUIRE(world.seen[1].failed);
  CHECK(world.seen[1].failed->error.code == ErrorCode::not_found);
  CHECK(world.seen[1].failed->retry_after == Duration::zero());
  world.submit(world.request(2));
  REQUIRE(world.seen[2].failed);
  CHECK(world.seen[2].failed->error.code == ErrorCode::unavailable);
  CHECK(world.seen[2].failed->retry_after > Duration::zero());
}

TEST_CASE("router: a request waits for a starting group, and for kGroupWaitMax at most") {
  RouterWorld world;
  world.list(1, GroupState::starting);
  world.publish();
  world.submit(world.request(1));
  CHECK(world.sent.empty());
  CHECK(world.router.stats().queued == 1);
  world.advance(5s);
  world.bring_up(1);
  CHECK(world.sent.size() == 1);

  RouterWorld slow;
  slow.list(1, GroupState::starting);
  slow.publish();
  slow.submit(slow.request(1));
  slow.advance(kGroupWaitMax - 1ms);
  CHECK_FALSE(slow.seen[1].failed);
  slow.advance(1ms);
  REQUIRE(slow.seen[1].failed);
  CHECK(slow.seen[1].failed->error.code == ErrorCode::unavailable);
  CHECK(slow.seen[1].failed->error.message ==
        "No group that serves 'm' became ready within 30 s; try again later.");
}

TEST_CASE("router: n choices are n sequences on one group, each shown under its index") {
  RouterWorld world;
  world.bring_up(1);
  world.bring_up(2);
  auto request = world.request(1, "abc", 3);
  request.choices = 3;
  world.submit(request);
  REQUIRE(world.sent.size() == 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(world.sent[static_cast<size_t>(i)].enqueue.key.choice == i);
    CHECK(world.sent[static_cast<size_t>(i)].group == world.sent[0].group);
  }
  world.send(world.sent[1], world.chunk(world.sent[1], 0, tokens_of("xy"), Finish::stop));
  CHECK(world.seen[1].choices[1].text == "xy");
  CHECK_FALSE(world.seen[1].last);
  world.send(world.sent[0], world.chunk(world.sent[0], 0, tokens_of("abc"), Finish::length));
  world.send(world.sent[2], world.chunk(world.sent[2], 0, {}, Finish::stop));
  CHECK(world.seen[1].last);
  CHECK(world.seen[1].choices[0].text == "abc");
  CHECK(world.seen[1].choices[2].tokens.empty());
  CHECK(world.seen[1].timings.generated_tokens == 5);
}

TEST_CASE("router: tokens are shown after the journal peer has them") {
  RouterWorld world;
  world.auto_ack = false;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 6));
  REQUIRE(world.journal.size() == 1);
  CHECK(world.journal[0].number == 1);
  CHECK(world.journal[0].opened.at(0).prompt == tokens_of("hello"));
  world.step(router_in::JournalAcked{{Incarnation(4242), 1}});
  world.send_oracle(world.sent[0], 0, 3);
  REQUIRE(world.journal.size() == 2);
  CHECK(world.journal[1].tokens.at(0).tokens.size() == 3);
  CHECK(world.seen[1].deliveries == 0);
  world.step(router_in::JournalAcked{{Incarnation(4242), 1}});
  world.step(router_in::JournalAcked{{Incarnation(9), 2}});
  CHECK(world.seen[1].deliveries == 0);
  world.step(router_in::JournalAcked{{Incarnation(4242), 2}});
  CHECK(world.seen[1].choices[0].tokens.size() == 3);
  CHECK(world.router.stats().journal_timeouts == 0);
}

TEST_CASE("router: a silent journal peer holds tokens for 50 ms once, until it has caught up") {
  RouterWorld world;
  world.auto_ack = false;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 100));
  world.step(router_in::JournalAcked{{Incarnation(4242), 1}});
  world.send(world.sent[0], world.chunk(world.sent[0], 0, tokens_of("a")));
  REQUIRE(world.router.deadline().has_value());
  CHECK(*world.router.deadline() == world.now + kJournalAckTimeout);
  world.now += kJournalAckTimeout - 1ns;
  world.step(router_in::Tick{});
  CHECK(world.seen[1].deliveries == 0);
  world.now += 1ns;
  world.step(router_in::Tick{});
  CHECK(world.seen[1].choices[0].text == "a");
  CHECK(world.router.stats().journal_timeouts == 1);
  world.send(world.sent[0], world.chunk(world.sent[0], 1, tokens_of("b")));
  CHECK(world.seen[1].choices[0].text == "ab");  // not waited for again
  CHECK(world.router.stats().journal_timeouts == 2);
  world.step(router_in::JournalAcked{{Incarnation(4242), 3}});
  world.send(world.sent[0], world.chunk(world.sent[0], 2, tokens_of("c")));
  CHECK(world.seen[1].choices[0].text == "ab");  // waited for: it answers again
}

TEST_CASE("router: one append and one delivery a request for a batch of many") {
  RouterWorld world;
  world.auto_ack = false;
  world.bring_up(1);
  for (uint64_t id = 1; id <= 5; ++id) world.submit(world.request(id, "hello", 50));
  world.step(router_in::JournalAcked{{Incarnation(4242), 5}});
  TokenBatch batch;
  batch.generation = Generation(1);
  for (const auto& sent : world.sent)
    batch.chunks.push_back(world.chunk(sent, 0, tokens_of("abc")));
  world.step(router_in::FromGroup{GroupId(1), world.sent[0].incarnation, batch});
  CHECK(world.of<router_out::Journal>().size() == 1);
  CHECK(world.of<router_out::Journal>()[0].append.tokens.size() == 5);
  world.step(router_in::JournalAcked{{Incarnation(4242), 6}});
  const auto delivered = world.of<router_out::Deliver>();
  REQUIRE(delivered.size() == 5);
  CHECK(delivered[0].pieces.size() == 3);
}

TEST_CASE(
    "router: a stop string ends the choice, cancels the sequence, surplus tokens do not count") {
  RouterWorld world;
  world.bring_up(1);
  auto request = world.request(1, "hello", 50);
  request.stop_strings = {"END"};
  world.submit(request);
  world.send(world.sent[0], world.chunk(world.sent[0], 0, tokens_of("abE")));
  CHECK(world.seen[1].choices[0].text == "ab");
  world.send(world.sent[0], world.chunk(world.sent[0], 3, tokens_of("NDxyz")));
  CHECK(world.seen[1].choices[0].text == "ab");
  CHECK(world.seen[1].choices[0].finish == Finish::stop);
  CHECK(world.seen[1].choices[0].tokens == tokens_of("abEND"));
  CHECK(world.seen[1].timings.generated_tokens == 5);
  REQUIRE(world.cancels.size() == 1);
  CHECK(world.cancels[0].cancel.attempt == world.sent[0].enqueue.attempt);
  world.send(world.sent[0], world.chunk(world.sent[0], 8, tokens_of("q")));
  CHECK(world.router.stats().stale_dropped == 1);
}

TEST_CASE("router: a client that leaves cancels its sequences in the same step") {
  RouterWorld world;
  world.bring_up(1);
  auto request = world.request(1);
  request.choices = 2;
  world.submit(request);
  world.step(router_in::ClientGone{RequestId{1, 1}});
  CHECK(world.cancels.size() == 2);
  CHECK(world.journal.back().closed == std::vector{RequestId{1, 1}});
  CHECK(world.router.stats().running == 0);
  CHECK(world.seen[1].ends == 0);
}

TEST_CASE("router: a request past its deadline fails once and is cancelled") {
  RouterWorld world;
  world.bring_up(1);
  auto request = world.request(1);
  request.deadline = 3s;
  world.submit(request);
  world.send(world.sent[0], world.chunk(world.sent[0], 0, {}));
  world.advance(3s - 1ns);
  CHECK_FALSE(world.seen[1].failed);
  world.advance(1ns);
  REQUIRE(world.seen[1].failed);
  CHECK(world.seen[1].failed->error.code == ErrorCode::deadline_exceeded);
  CHECK(world.cancels.size() == 1);
}

TEST_CASE("router: after drain new requests are refused, and it tells once that none is open") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(world.request(1, "hello", 2));
  world.step(router_in::Drain{});
  CHECK(world.drained == 0);
  world.submit(world.request(2));
  REQUIRE(world.seen[2].failed);
  CHECK(world.seen[2].failed->error.code == ErrorCode::unavailable);
  world.send_oracle(world.sent[0], 0, 2);
  CHECK(world.seen[1].last);
  CHECK(world.drained == 1);
  world.step(router_in::Tick{});
  CHECK(world.drained == 1);
}

TEST_CASE("router: prompt log-probabilities come first, with the first pieces") {
  RouterWorld world;
  world.bring_up(1);
  auto request = world.request(1, "abc", 4);
  request.score_prompt = true;
  request.choices = 2;
  world.submit(request);
  CHECK(world.sent[0].enqueue.score_prompt);
  CHECK_FALSE(world.sent[1].enqueue.score_prompt);
  world.send(world.sent[1], world.chunk(world.sent[1], 0, tokens_of("x")));
  CHECK(world.seen[1].deliveries == 0);
  TokenChunk first = world.chunk(world.sent[0], 0, tokens_of("y"));
  first.prompt_logprobs = {{-1.0f, {}}, {-2.0f, {}}};
  world.send(world.sent[0], first);
  CHECK(world.seen[1].prompt_logprobs.size() == 2);
  CHECK(world.seen[1].choices[1].text == "x");
}

TEST_CASE("router: readiness says whom its node does not hear, and no when it may be cut off") {
  RouterWorld world;
  world.bring_up(1);
  const auto told = [&] { return world.router.readiness(world.now, {"m"}); };
  REQUIRE(told().ready);
  CHECK(told().reason.empty());
  world.table.remark = "it hears nobody";
  world.publish();
  CHECK(told().ready);
  CHECK(told().reason == "it hears nobody");
  world.table.cut_off = true;
  world.publish();
  CHECK_FALSE(told().ready);
  CHECK(told().reason == "it hears nobody");
  CHECK(told().models.at(0).groups_ready == 1);
  // It serves on.
  world.submit(world.request(1, "hello", 6));
  CHECK(world.sent.size() == 1);
  world.list(1, GroupState::failed);
  world.publish();
  CHECK(told().reason == "model m: group 1: it is failed; it hears nobody");
}

TEST_CASE("router: readiness says why a group is not ready") {
  RouterWorld world;
  const auto reason = [&] { return world.router.readiness(world.now, {}).models.at(0).reason; };
  world.list(1, GroupState::starting);
  world.publish();
  CHECK(reason() == "group 1: it is starting");
  world.list(1);
  world.publish();
  CHECK(reason() == "group 1: there is no link to its process yet");
  world.link(1);
  CHECK(reason() == "group 1: it has not reported yet");
  world.report(world.status_of(1));
  CHECK(world.router.readiness(world.now, {}).models.at(0).groups_ready == 1);
  CHECK(reason().empty());
  auto status = world.status_of(1);
  status.step_running = 1001ms;
  world.report(status);
  CHECK(reason() == "group 1: its step has been running for 1001 ms");
  status.step_running = {};
  status.last_step_age = 8001ms;
  world.report(status);
  CHECK(reason() == "group 1: it has not finished a step for 8001 ms");
  world.report(world.status_of(1));
  world.now += 1001ms;
  CHECK(reason() == "group 1: it has not reported for 1001 ms");
}

}  // namespace
}  // namespace router_test
}  // namespace troupe
