// Cached answers and coalescing in the router.
#include <doctest/doctest.h>

#include "cluster/cached_response_codec.h"
#include "router_fixture.h"

namespace troupe {
namespace router_cache_test {
namespace {

using testing::oracle_answer;
using testing::RouterWorld;
using testing::tokens_of;

constexpr Digest kKey{1, 2, 3};

ClientRequest cacheable(RouterWorld& world, uint64_t id, int32_t max_new = 6) {
  ClientRequest request = world.request(id, "hello", max_new);
  request.cache_key = kKey;
  return request;
}

void miss(RouterWorld& world, uint64_t id) {
  world.step(router_in::CacheReply{RequestId{1, id}, CacheTier::none, nullptr});
}

TEST_CASE("router: the cache is asked first; after a miss the answer is computed and stored") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  REQUIRE(world.lookups.size() == 1);
  CHECK(world.lookups[0].key == kKey);
  CHECK(world.sent.empty());
  miss(world, 1);
  REQUIRE(world.sent.size() == 1);
  world.send_oracle(world.sent[0], 0, 6);
  CHECK(world.seen[1].cache == CacheOutcome::miss);
  REQUIRE(world.stores.size() == 1);
  CHECK(world.stores[0].key == kKey);
  CHECK(world.stores[0].response->choices.at(0).tokens == oracle_answer(tokens_of("hello"), 6));
  CHECK(world.stores[0].response->choices.at(0).finish == Finish::length);
  CHECK(world.router.stats().cache_misses == 1);
}

TEST_CASE("router: an answer computed under other numerics than its key names is not kept") {
  RouterWorld world;
  world.numerics[1][0] = 1;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  miss(world, 1);
  world.send_oracle(world.sent[0], 0, 6);
  CHECK(world.seen[1].last);
  CHECK(world.stores.empty());
  auto request = cacheable(world, 2);
  request.numerics_id[0] = 1;
  world.submit(request);
  miss(world, 2);
  world.send_oracle(world.sent[1], 0, 6);
  CHECK(world.stores.size() == 1);
}

TEST_CASE("router: a hit is shown at once, as the computed answer was, without a group") {
  RouterWorld world;
  world.bring_up(1);
  auto request = cacheable(world, 1);
  request.stop_strings = {"END"};
  world.submit(request);
  auto response = std::make_shared<CachedResponse>();
  response->choices.push_back({tokens_of("abEND"), {}, Finish::stop});
  request.max_new = 5;
  world.step(router_in::CacheReply{RequestId{1, 1}, CacheTier::redis, response});
  CHECK(world.seen[1].last);
  CHECK(world.seen[1].choices[0].text == "ab");
  CHECK(world.seen[1].choices[0].finish == Finish::stop);
  CHECK(world.seen[1].choices[0].tokens.size() == 5);
  CHECK(world.seen[1].cache == CacheOutcome::hit_redis);
  CHECK(world.seen[1].timings.generated_tokens == 5);
  CHECK(world.sent.empty());
  CHECK(world.journal.empty());
  CHECK(world.router.stats().cache_hits_redis == 1);
}

TEST_CASE("router: a cached answer that does not fit the request is a miss") {
  for (int wrong = 0; wrong < 5; ++wrong) {
    RouterWorld world;
    world.bring_up(1);
    auto request = cacheable(world, 1);
    if (wrong == 3) request.sampling.n_logprobs = 0;
    world.submit(request);
    auto response = std::make_shared<CachedResponse>();
    response->choices.push_back({tokens_of("ab"), {}, Finish::stop});
    if (wrong == 0) response->choices.push_back({});
    if (wrong == 1) response->choices[0].tokens[1] = TokenId(-1);
    if (wrong == 2) response->choices[0].tokens = tokens_of("seven77");
    if (wrong == 4) response->choices[0].finish = Finish::cancelled;
    world.step(router_in::CacheReply{RequestId{1, 1}, CacheTier::memory, response});
    CAPTURE(wrong);
    CHECK(world.seen[1].deliveries == 0);
    CHECK(world.sent.size() == 1);
  }
}

TEST_CASE(
    "router: a cache that does not answer within 100 ms is a miss, its late answer is dropped") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  world.advance(kRedisTimeout * 2 - 1ms);
  CHECK(world.sent.empty());
  world.advance(1ms);
  CHECK(world.sent.size() == 1);
  auto response = std::make_shared<CachedResponse>();
  response->choices.push_back({tokens_of("ab"), {}, Finish::stop});
  world.step(router_in::CacheReply{RequestId{1, 1}, CacheTier::memory, response});
  CHECK(world.seen[1].deliveries == 0);
  CHECK(world.drops.back() == "late cache reply");
}

TEST_CASE("router: identical requests are computed once; a late follower gets all from the start") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  world.submit(cacheable(world, 2));  // during the lookup
  miss(world, 1);
  CHECK(world.sent.size() == 1);
  world.send_oracle(world.sent[0], 0, 3);
  world.submit(cacheable(world, 3));
  CHECK(world.seen[3].choices[0].tokens.size() == 3);
  CHECK(world.seen[3].choices[0].text == world.seen[1].choices[0].text);
  world.send_oracle(world.sent[0], 3, 3);
  CHECK(world.lookups.size() == 1);
  CHECK(world.sent.size() == 1);
  for (uint64_t id = 1; id <= 3; ++id) {
    CHECK(world.seen[id].last);
    CHECK(world.seen[id].choices[0].tokens == oracle_answer(tokens_of("hello"), 6));
    CHECK(world.seen[id].choices[0].text == world.seen[1].choices[0].text);
    CHECK(world.seen[id].choices[0].offsets == world.seen[1].choices[0].offsets);
    CHECK(world.seen[id].cache == (id == 1 ? CacheOutcome::miss : CacheOutcome::coalesced));
  }
  CHECK(world.router.stats().coalesced == 2);
  CHECK(world.stores.size() == 1);
}

TEST_CASE("router: what the cache had is told as soon as it is known, before the first token") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  world.submit(cacheable(world, 2));
  CHECK(world.of<router_out::Deliver>().empty());  // the lookup may still find it for both
  miss(world, 1);
  const auto told = world.of<router_out::Deliver>();
  REQUIRE(told.size() == 2);
  CHECK(told[0].id == RequestId{1, 1});
  CHECK(told[0].cache == CacheOutcome::miss);
  CHECK(told[1].id == RequestId{1, 2});
  CHECK(told[1].cache == CacheOutcome::coalesced);
  CHECK(told[0].pieces.empty());
  CHECK_FALSE(told[0].last);
  world.submit(cacheable(world, 3));
  REQUIRE(world.of<router_out::Deliver>().size() == 1);
  CHECK(world.of<router_out::Deliver>()[0].id == RequestId{1, 3});
  CHECK(world.of<router_out::Deliver>()[0].cache == CacheOutcome::coalesced);
  auto plain = world.request(4, "other", 5);
  world.submit(plain);
  CHECK(world.of<router_out::Deliver>().empty());
}

TEST_CASE("router: the computation outlives the client that began it, and ends with the last") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  miss(world, 1);
  world.submit(cacheable(world, 2));
  world.submit(cacheable(world, 3));
  world.send_oracle(world.sent[0], 0, 2);
  world.step(router_in::ClientGone{RequestId{1, 1}});
  CHECK(world.cancels.empty());
  world.send_oracle(world.sent[0], 2, 2);
  CHECK(world.seen[1].choices[0].tokens.size() == 2);
  CHECK(world.seen[2].choices[0].tokens.size() == 4);
  world.step(router_in::ClientGone{RequestId{1, 3}});
  CHECK(world.cancels.empty());
  world.step(router_in::ClientGone{RequestId{1, 2}});
  CHECK(world.cancels.size() == 1);
  CHECK(world.journal.back().closed == std::vector{RequestId{1, 1}});
  world.submit(cacheable(world, 4));
  CHECK(world.lookups.size() == 2);  // nothing to join any more
}

TEST_CASE("router: each follower has its own deadline") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  miss(world, 1);
  auto hasty = cacheable(world, 2);
  hasty.deadline = 1s;
  world.submit(hasty);
  world.send(world.sent[0], world.chunk(world.sent[0], 0, {}));
  world.advance(1s);
  REQUIRE(world.seen[2].failed);
  CHECK(world.seen[2].failed->error.code == ErrorCode::deadline_exceeded);
  CHECK_FALSE(world.seen[1].failed);
  world.send_oracle(world.sent[0], 0, 6);
  CHECK(world.seen[1].last);
}

TEST_CASE("router: a follower whose leader's deadline passes at the batcher goes on") {
  RouterWorld world;
  world.bring_up(1);
  auto hasty = cacheable(world, 1);
  hasty.deadline = 2s;
  world.submit(hasty);
  miss(world, 1);
  world.submit(cacheable(world, 2));
  world.send_oracle(world.sent[0], 0, 2);
  world.advance(2s);
  CHECK(world.seen[1].failed);
  world.refuse(world.sent[0], ErrorCode::deadline_exceeded);
  REQUIRE(world.sent.size() == 2);
  CHECK(to_ms(world.sent[1].enqueue.deadline_left) > 50'000);
  world.send_oracle(world.sent[1], 2, 4);
  CHECK(world.seen[2].last);
  CHECK(world.seen[2].choices[0].tokens == oracle_answer(tokens_of("hello"), 6));
}

TEST_CASE("router: failed and unfinished answers are not stored") {
  RouterWorld world;
  world.bring_up(1);
  world.submit(cacheable(world, 1));
  miss(world, 1);
  world.send_oracle(world.sent[0], 0, 2);
  world.refuse(world.sent[0], ErrorCode::invalid_argument);
  CHECK(world.seen[1].failed);
  CHECK(world.stores.empty());
}

TEST_CASE("cached response: bytes and back, with log-probabilities") {
  CachedResponse response;
  response.choices.push_back(
      {tokens_of("ab"), {{-1.5f, {{7, -1.5f}, {9, -2.f}}}, {-0.25f, {}}}, Finish::length});
  response.choices.push_back({{}, {}, Finish::stop});
  response.prompt_logprobs = {{-3.f, {}}};
  const auto bytes = encode(response);
  CHECK(bytes.size() == encoded_size(response));
  const auto back = decode_cached_response(bytes);
  REQUIRE(back);
  CHECK(*back == response);
}

TEST_CASE("cached response: cut, extended or altered bytes are refused or differ, never crash") {
  CachedResponse response;
  response.choices.push_back({tokens_of("ab"), {{-1.5f, {{7, -1.5f}}}, {-1.f, {}}}, Finish::stop});
  const auto bytes = encode(response);
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto cut = decode_cached_response(std::span(bytes).first(n));
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::data_loss);
  }
  auto longer = bytes;
  longer.push_back({});
  CHECK_FALSE(decode_cached_response(longer));
  for (size_t at = 0; at < bytes.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      auto altered = bytes;
      altered[at] ^= static_cast<std::byte>(1 << bit);
      const auto read = decode_cached_response(altered);
      if (read) CHECK(encode(*read) == altered);
    }
  auto count = bytes;
  count[4] = count[5] = count[6] = count[7] = std::byte{0xff};
  CHECK_FALSE(decode_cached_response(count));
}

}  // namespace
}  // namespace router_cache_test
}  // namespace troupe
