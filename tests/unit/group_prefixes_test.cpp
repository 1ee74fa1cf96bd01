#include "cluster/group_prefixes.h"

#include <doctest/doctest.h>

#include <random>

#include "cache/prefix_index.h"
#include "cluster/prefix_log.h"
#include "model/step.h"
#include "tests/unit/batcher_rig.h"
#include "tests/unit/router_fixture.h"

namespace troupe {
namespace group_prefixes_test {
namespace {

constexpr GroupId kGroup(3);
constexpr Time kNow{100s};

std::vector<PrefixMark> sorted(std::vector<PrefixMark> marks) {
  std::ranges::sort(marks);
  return marks;
}

PrefixReport report_of(PrefixChange change) {
  return {kGroup, change.version, change.whole, std::move(change.added), std::move(change.evicted)};
}

TEST_CASE("prefix marks: the first bytes of the index keys of a prompt's full blocks") {
  const auto prompt = test::prompt_of(40);
  const Digest numerics{1, 2, 3};
  const Salt tenant{9};
  const auto marks = prefix_marks(numerics, tenant, prompt);
  REQUIRE(marks.size() == 2);
  Digest key = PrefixIndex::root(numerics, 0, tenant);
  for (size_t block = 0; block < 2; ++block) {
    key = PrefixIndex::extend(key, std::span(prompt).subspan(block * 16, 16));
    uint64_t low = 0;
    for (int byte = 7; byte >= 0; --byte) low = low << 8 | key[static_cast<size_t>(byte)];
    CHECK(marks[block] == low);
  }
  CHECK(prefix_marks(numerics, Salt{8}, prompt) != marks);
  CHECK(prefix_marks(Digest{1}, tenant, prompt) != marks);
  CHECK(prefix_marks(numerics, tenant, std::span(prompt).first(15)).empty());
  CHECK(prefix_marks(numerics, tenant, test::prompt_of(100'000)).size() == kAffinityBlocks);
}

TEST_CASE("prefix log: tells net changes, in versions") {
  PrefixLog log;
  CHECK_FALSE(log.take());
  log.added(5);
  log.added(4);
  log.added(4);
  log.added(9);
  log.evicted(9);  // came and went
  auto change = log.take();
  REQUIRE(change);
  CHECK(change->version == 1);
  CHECK_FALSE(change->whole);
  CHECK(change->added == std::vector<PrefixMark>{4, 5});
  CHECK(change->evicted.empty());
  CHECK_FALSE(log.take());
  log.evicted(5);
  log.evicted(77);  // never there
  log.evicted(4);
  log.added(4);  // is back
  change = log.take();
  REQUIRE(change);
  CHECK(change->version == 2);
  CHECK(change->added.empty());
  CHECK(change->evicted == std::vector<PrefixMark>{5});
  CHECK(log.whole().added == std::vector<PrefixMark>{4});
  CHECK(log.whole().version == 2);
}

TEST_CASE("prefix log: bounded; another is told to be gone, and too many changes become a whole") {
  PrefixLog log(3);
  for (PrefixMark mark = 1; mark <= 3; ++mark) log.added(mark);
  REQUIRE(log.take()->added.size() == 3);
  log.added(4);
  auto change = log.take();
  CHECK(change->added == std::vector<PrefixMark>{4});
  REQUIRE(change->evicted.size() == 1);
  CHECK(change->evicted[0] < 4);
  for (PrefixMark mark = 5; mark <= 20; ++mark) log.added(mark);
  CHECK(log.size() == 3);
  change = log.take();
  CHECK(change->whole);
  CHECK(change->version == 3);
  CHECK(change->added.size() == 3);
  CHECK(change->added.back() == 20);  // the newest is never the one to go
  CHECK_FALSE(log.take());
}

TEST_CASE("group prefixes: what the group says and what was just sent both count") {
  GroupPrefixes prefixes;
  const std::vector<PrefixMark> prompt{10, 11, 12, 13};
  CHECK(prefixes.cached_tokens(kNow, kGroup, prompt) == 0);
  CHECK(prefixes.heard(kNow, {kGroup, 1, false, {10, 12}, {}}));
  CHECK(prefixes.cached_tokens(kNow, kGroup, prompt) == 16);  // 11 is missing
  CHECK(prefixes.cached_tokens(kNow, GroupId(4), prompt) == 0);
  prefixes.sent(kNow, kGroup, std::span(prompt).first(2));
  CHECK(prefixes.cached_tokens(kNow, kGroup, prompt) == 48);
  // What was sent and is never told of is forgotten; what the group says stays.
  CHECK(prefixes.cached_tokens(kNow + kPrefixSentKept - 1ms, kGroup, prompt) == 48);
  CHECK(prefixes.cached_tokens(kNow + kPrefixSentKept, kGroup, prompt) == 16);
  CHECK(prefixes.heard(kNow, {kGroup, 2, false, {}, {10}}));
  CHECK(prefixes.cached_tokens(kNow, kGroup, prompt) == 0);
}

TEST_CASE("group prefixes: an eviction ends what was sent before, not what is on its way") {
  GroupPrefixes prefixes;
  const std::vector<PrefixMark> prompt{10};
  prefixes.sent(kNow, kGroup, prompt);
  CHECK(prefixes.heard(kNow + 100ms, {kGroup, 1, false, {}, {10}}));
  CHECK(prefixes.cached_tokens(kNow + 100ms, kGroup, prompt) == 16);
  CHECK(prefixes.heard(kNow + kGroupStatusFresh, {kGroup, 2, false, {}, {10}}));
  CHECK(prefixes.cached_tokens(kNow + kGroupStatusFresh, kGroup, prompt) == 0);
}

TEST_CASE("group prefixes: bounded in what was sent, and another process has nothing") {
  GroupPrefixes prefixes(8);
  for (PrefixMark i = 0; i < 100; ++i)
    prefixes.sent(kNow, kGroup, std::vector<PrefixMark>{2 * i, 2 * i + 1});
  CHECK(prefixes.remembered(kGroup) == 8);
  CHECK(prefixes.cached_tokens(kNow, kGroup, std::vector<PrefixMark>{198, 199}) == 32);
  CHECK(prefixes.cached_tokens(kNow, kGroup, std::vector<PrefixMark>{190, 191}) == 0);
  CHECK(prefixes.heard(kNow, {kGroup, 1, false, {1}, {}}));
  prefixes.forget(kGroup);
  CHECK(prefixes.told(kGroup) == 0);
  CHECK(prefixes.version(kGroup) == 0);
  CHECK(prefixes.cached_tokens(kNow, kGroup, std::vector<PrefixMark>{198, 199}) == 0);
}

TEST_CASE("group prefixes: asks for the whole when a version is missing, at most once a second") {
  GroupPrefixes prefixes;
  CHECK_FALSE(prefixes.must_ask(kNow, kGroup, 0));
  CHECK(prefixes.must_ask(kNow, kGroup, 7));
  CHECK_FALSE(prefixes.must_ask(kNow + kPrefixAskInterval - 1ms, kGroup, 8));
  CHECK(prefixes.must_ask(kNow + kPrefixAskInterval, kGroup, 8));
  CHECK_FALSE(prefixes.heard(kNow, {kGroup, 8, false, {1}, {}}));  // what it builds on is not known
  CHECK(prefixes.told(kGroup) == 0);
  CHECK(prefixes.heard(kNow, {kGroup, 8, true, {1, 2}, {}}));
  CHECK_FALSE(prefixes.must_ask(kNow, kGroup, 8));
  CHECK_FALSE(prefixes.heard(kNow, {kGroup, 8, false, {3}, {}}));  // came twice
  CHECK_FALSE(prefixes.heard(kNow, {kGroup, 7, true, {}, {}}));    // came late
  CHECK(prefixes.told(kGroup) == 2);
}

TEST_CASE("group prefixes: whatever reports are lost or come twice, a router that asks is right") {
  const uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const auto chance = [&](uint32_t percent) { return random() % 100 < percent; };
  for (int round = 0; round < 50; ++round) {
    PrefixLog log(40);
    GroupPrefixes router;
    Time now = kNow;
    for (int tick = 0; tick < 200; ++tick, now += 200ms) {
      const bool faults = tick < 190;
      for (uint32_t i = random() % 30; i > 0 && faults; --i) {
        if (chance(60))
          log.added(random() % 60);
        else
          log.evicted(random() % 60);
      }
      if (auto change = log.take()) {
        const auto report = report_of(std::move(*change));
        if (!faults || !chance(20)) router.heard(now, report);
        if (faults && chance(10)) router.heard(now, report);
      }
      if (router.must_ask(now, kGroup, log.version()) && (!faults || chance(70)))
        router.heard(now, report_of(log.whole()));
    }
    CHECK(router.version(kGroup) == log.version());
    CHECK(router.told(kGroup) == log.size());
    for (PrefixMark mark : log.whole().added)
      CHECK(router.cached_tokens(now, kGroup, std::vector{mark}) == kBlockPositions);
  }
}

TEST_CASE("batcher: tells which prefixes came and went, and the whole to a router that asks") {
  BatcherConfig config = test::small_config();
  config.kv_blocks = 9;  // eight without the canary's
  test::Rig rig(config);
  rig.warm();
  rig.join();
  rig.next_status();
  CHECK(rig.reports.empty());
  const auto first = rig.request(1, test::prompt_of(70), 4);
  rig.enqueue(first);
  rig.settle();
  const auto marks = prefix_marks(config.numerics_id, {}, test::prompt_of(70));
  REQUIRE(marks.size() == 4);
  rig.next_status();
  REQUIRE(rig.reports.size() == 1);
  PrefixReport report = rig.reports.back().second;
  CHECK(report.group == config.group);
  CHECK(report.version == 1);
  CHECK(report.added == sorted(marks));
  CHECK(report.evicted.empty());
  CHECK(rig.statuses.back().second.prefix_version == 1);
  rig.next_status();
  CHECK(rig.reports.size() == 1);

  const auto second = rig.request(2, test::prompt_of(100, 500), 4);
  rig.enqueue(second);  // needs seven of the eight blocks
  rig.settle();
  rig.next_status();
  REQUIRE(rig.reports.size() == 2);
  report = rig.reports.back().second;
  CHECK(report.version == 2);
  CHECK(report.added == sorted(prefix_marks(config.numerics_id, {}, test::prompt_of(100, 500))));
  // The end of the first prompt went first.
  CHECK(report.evicted == sorted({marks[1], marks[2], marks[3]}));

  BatcherEffects effects;
  rig.batcher.step(rig.now, batcher_in::FromRouter{RouterId(8), PrefixRequest{config.group}},
                   effects);
  REQUIRE(effects.size() == 1);
  const auto& answer = std::get<batcher_out::ToRouter>(effects[0]);
  CHECK(answer.router == RouterId(8));
  const auto& whole = std::get<PrefixReport>(answer.message);
  CHECK(whole.whole);
  CHECK(whole.version == 2);
  auto held = report.added;
  held.push_back(marks[0]);
  CHECK(sorted(whole.added) == sorted(held));
}

/// Two groups, reporting; the router has nothing to prefer one for but what they say.
struct TwoGroups : testing::RouterWorld {
  TwoGroups() {
    bring_up(1);
    bring_up(2);
  }
  void tell(uint32_t id, uint64_t version, std::vector<PrefixMark> added) {
    step(router_in::FromGroup{GroupId(id), process(id, 1),
                              PrefixReport{GroupId(id), version, false, std::move(added), {}}});
  }
};

TEST_CASE("router: a prompt goes to the group that says it has its beginning") {
  const std::string text(64, 'x');
  const auto marks = prefix_marks({}, {}, testing::tokens_of(text));
  {
    TwoGroups world;
    world.submit(world.request(1, text));
    CHECK(world.sent.back().group == GroupId(1));
  }
  TwoGroups world;
  world.tell(2, 1, marks);
  world.submit(world.request(1, text));
  CHECK(world.sent.back().group == GroupId(2));
  // Of another tenant: its blocks have other keys.
  auto foreign = world.request(2, text);
  foreign.tenant = Salt{1};
  world.submit(foreign);
  CHECK(world.sent.back().group == GroupId(1));
}

TEST_CASE("router: the process of a group is another one, and what it had told is forgotten") {
  const std::string text(64, 'x');
  TwoGroups world;
  world.tell(2, 1, prefix_marks({}, {}, testing::tokens_of(text)));
  world.link(2, 1, false);
  world.link(2, 1, true);
  world.report(world.status_of(2));
  world.submit(world.request(1, text));
  CHECK(world.sent.back().group == GroupId(1));
}

TEST_CASE("router: a status with an unknown version of the prefixes makes it ask for the whole") {
  TwoGroups world;
  CHECK(world.prefix_requests.empty());
  GroupStatus status = world.status_of(2);
  status.prefix_version = 4;
  world.report(status);
  CHECK(world.prefix_requests == std::vector{GroupId(2)});
  world.report(status);
  CHECK(world.prefix_requests.size() == 1);
  world.step(router_in::FromGroup{GroupId(2), world.process(2, 1),
                                  PrefixReport{GroupId(2), 4, true, {1}, {}}});
  world.now += kPrefixAskInterval;
  world.report(status);
  CHECK(world.prefix_requests.size() == 1);
  // A report about another group than the link's is none.
  world.step(router_in::FromGroup{GroupId(2), world.process(2, 1),
                                  PrefixReport{GroupId(1), 1, false, {1}, {}}});
  CHECK(world.drops.back() == "a prefix report does not follow the one before");
}

}  // namespace
}  // namespace group_prefixes_test
}  // namespace troupe
