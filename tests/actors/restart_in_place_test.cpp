// Actors that restart in place die here in the middle of requests: the real shells around them go
// on, and give up when it has happened too often.
#include <doctest/doctest.h>

#include "actors/cache_actor.h"
#include "actors/health_actor.h"
#include "model/oracle/oracle_reference.h"
#include "tests/actors/one_node.h"

using troupe::testing::Delivered;
using troupe::testing::find_actor;
using troupe::testing::kill_now;
using troupe::testing::OneNode;

namespace troupe::restart_in_place_test {
namespace {

std::vector<int32_t> prompt_of(int32_t number) {
  return {104, 101, 108, 108, 111, 32, 48 + number};
}

std::vector<int32_t> wanted(int32_t number, int32_t max_new) {
  return oracle_continue_past_end(kOracleSeed, prompt_of(number), max_new);
}

}  // namespace

TEST_CASE("restart in place: a cache that dies costs its lookup and nothing it kept") {
  OneNode node;
  REQUIRE(node.ask(prompt_of(0), 6).cache == CacheOutcome::miss);
  for (int death = 1; death <= kRestartBudget; ++death) {
    CAPTURE(death);
    const RequestId asked = node.submit(prompt_of(0), 6);
    const caf::actor cache = find_actor<CacheActor>(node.stage);
    REQUIRE(cache);
    kill_now(cache);
    node.advance(1s);
    // Its lookup went down with the actor: the answer is computed, in full.
    const Delivered computed = node.bridge.got[asked];
    CHECK(computed.ended);
    CHECK(computed.cache == CacheOutcome::miss);
    CHECK(computed.tokens == wanted(0, 6));
    // The next actor has what the memory tier kept, and keeps what is new.
    const Delivered kept = node.ask(prompt_of(0), 6);
    CHECK(kept.cache == CacheOutcome::hit_memory);
    CHECK(kept.tokens == wanted(0, 6));
    CHECK(node.ask(prompt_of(death), 4).cache == CacheOutcome::miss);
    CHECK(node.ask(prompt_of(death), 4).cache == CacheOutcome::hit_memory);
    node.advance(2s);  // the router reports each second, the tree is made each second
    CHECK(node.row("n1/cache").restarts == static_cast<uint32_t>(death));
    CHECK(node.row("n1/cache").last_error.find("kill") != std::string::npos);
  }
  CHECK(node.router_exits.empty());
  CHECK(node.exits.empty());
}

TEST_CASE(
    "restart in place: the sixth death of the cache in five minutes ends the router's process") {
  OneNode node;
  for (int death = 1; death <= kRestartBudget + 1; ++death) {
    CHECK(node.router_exits.empty());
    node.submit(prompt_of(death), 4);
    kill_now(find_actor<CacheActor>(node.stage));
    node.advance(100ms);
  }
  CHECK(node.router_exits == std::vector<int>{70});
  CHECK(node.exits.empty());
}

TEST_CASE("restart in place: a health actor that dies costs no request, and the next one judges") {
  OneNode node;
  for (int death = 1; death <= kRestartBudget; ++death) {
    CAPTURE(death);
    const RequestId asked = node.submit(prompt_of(death), 6);
    const caf::actor health = find_actor<HealthActor>(node.stage);
    REQUIRE(health);
    kill_now(health);
    node.advance(2s);
    CHECK(node.bridge.got[asked].ended);
    CHECK(node.bridge.got[asked].tokens == wanted(death, 6));
    CHECK(node.row("n1/health").restarts == static_cast<uint32_t>(death));
    CHECK(node.row("n1/health").last_error.find("kill") != std::string::npos);
    CHECK(node.row("n1/shard/oracle.0.0").state == "ready");
    CHECK(node.ended.empty());  // who beats is not found dead by a new actor
  }
  // The last one was told whom to watch: silence is found out as ever.
  node.stage.advance(kDeadAfter + 300ms);
  std::vector<std::string> dead;
  for (const EndCommand& end : node.ended) dead.push_back(end.child);
  std::ranges::sort(dead);
  CHECK(dead == std::vector<std::string>{"n1/router", "n1/shard/oracle.0.0"});
  CHECK(node.exits.empty());
}

TEST_CASE("restart in place: the sixth death of the health actor in five minutes ends the node") {
  OneNode node;
  for (int death = 1; death <= kRestartBudget + 1; ++death) {
    CHECK(node.exits.empty());
    kill_now(find_actor<HealthActor>(node.stage));
    node.advance(100ms);
  }
  CHECK(node.exits == std::vector<int>{70});
  CHECK(node.router_exits.empty());
}

}  // namespace troupe::restart_in_place_test
