#include "cluster/journal_store.h"

#include <doctest/doctest.h>

namespace troupe {
namespace journal_store_test {
namespace {

constexpr Incarnation kRouter{5};
constexpr Time kStart{std::chrono::seconds(10)};
constexpr RequestId kId{1, 2};

JournalOpen open_of(RequestId id, size_t prompt = 3) {
  JournalOpen opened;
  opened.id = id;
  opened.model = "m";
  opened.prompt.assign(prompt, TokenId(7));
  opened.choices = 2;
  opened.max_new = 50;
  opened.sampling.seed = 99;
  opened.stop_strings = {"END"};
  return opened;
}

JournalAppend append_of(uint64_t number) {
  JournalAppend append;
  append.router = kRouter;
  append.number = number;
  return append;
}

JournalTokens tokens_of(RequestId id, int32_t choice, uint64_t seq, std::vector<int> ids) {
  JournalTokens tokens{{id, choice}, seq, {}};
  for (int value : ids) tokens.tokens.emplace_back(value);
  return tokens;
}

uint64_t give(JournalStore& store, const JournalAppend& append, Time now = kStart) {
  const auto ack = store.append(now, append);
  store.check();
  REQUIRE(ack);
  CHECK(ack->router == append.router);
  return ack->number;
}

TEST_CASE("journal store: what was written is read back, choice by choice") {
  JournalStore store;
  JournalAppend first = append_of(1);
  first.opened = {open_of(kId)};
  first.tokens = {tokens_of(kId, 1, 0, {4, 5})};
  CHECK(give(store, first) == 1);
  JournalAppend second = append_of(2);
  second.tokens = {tokens_of(kId, 0, 0, {8}), tokens_of(kId, 1, 2, {6})};
  CHECK(give(store, second) == 2);
  const JournalEntry entry = store.read(kId);
  CHECK(entry.known);
  CHECK(entry.open == open_of(kId));
  REQUIRE(entry.accepted.size() == 2);
  CHECK(entry.accepted[0] == std::vector{TokenId(8)});
  CHECK(entry.accepted[1] == std::vector{TokenId(4), TokenId(5), TokenId(6)});
  CHECK_FALSE(store.read({9, 9}).known);
}

TEST_CASE("journal store: a repeated append changes nothing, one after a gap is not applied") {
  JournalStore store;
  JournalAppend first = append_of(1);
  first.opened = {open_of(kId)};
  first.tokens = {tokens_of(kId, 0, 0, {4})};
  CHECK(give(store, first) == 1);
  CHECK(give(store, first) == 1);
  CHECK(store.read(kId).accepted[0].size() == 1);
  JournalAppend third = append_of(3);
  third.tokens = {tokens_of(kId, 0, 1, {5})};
  CHECK(give(store, third) == 1);
  CHECK(store.read(kId).accepted[0].size() == 1);
  JournalAppend stranger = append_of(2);
  stranger.router = Incarnation(6);
  CHECK(give(store, stranger) == 0);
}

TEST_CASE("journal store: a whole journal replaces what was known of that router only") {
  JournalStore store;
  JournalAppend first = append_of(1);
  first.opened = {open_of(kId), open_of({1, 3})};
  give(store, first);
  JournalAppend other = append_of(1);
  other.router = Incarnation(6);
  other.opened = {open_of({1, 4})};
  give(store, other);
  JournalAppend whole = append_of(9);
  whole.whole = true;
  whole.opened = {open_of(kId)};
  whole.tokens = {tokens_of(kId, 0, 0, {1, 2, 3})};
  CHECK(give(store, whole) == 9);
  CHECK(store.read(kId).accepted[0].size() == 3);
  CHECK_FALSE(store.read({1, 3}).known);
  CHECK(store.read({1, 4}).known);
  CHECK(give(store, append_of(10)) == 10);
}

TEST_CASE("journal store: a closed entry goes at once, those of a dead router after 60 s") {
  JournalStore store;
  JournalAppend first = append_of(1);
  first.opened = {open_of(kId), open_of({1, 3})};
  give(store, first);
  JournalAppend second = append_of(2);
  second.closed = {{1, 3}};
  give(store, second);
  CHECK_FALSE(store.read({1, 3}).known);
  store.router_lost(kStart, kRouter);
  store.check();
  JournalAppend other = append_of(1);
  other.router = Incarnation(6);
  give(store, other, kStart + kJournalOrphanKept - 1ns);
  CHECK(store.read(kId).known);
  other.number = 2;
  give(store, other, kStart + kJournalOrphanKept);
  CHECK_FALSE(store.read(kId).known);
  CHECK(store.bytes() == 0);
}

TEST_CASE("journal store: full, it lets go of the dead first and never keeps part of an answer") {
  JournalStore store(20'000);
  JournalAppend first = append_of(1);
  first.opened = {open_of({1, 1}, 2'000)};
  give(store, first);
  store.router_lost(kStart, kRouter);
  JournalAppend living = append_of(1);
  living.router = Incarnation(6);
  living.opened = {open_of({2, 1}, 2'000)};
  give(store, living);
  CHECK(store.read({1, 1}).known);
  living.number = 2;
  living.opened = {open_of({2, 2}, 2'000)};
  give(store, living);
  CHECK_FALSE(store.read({1, 1}).known);
  CHECK(store.read({2, 2}).known);
  living.number = 3;
  living.opened = {open_of({2, 3}, 2'000)};
  CHECK(give(store, living) == 3);
  CHECK_FALSE(store.read({2, 3}).known);
  CHECK(store.not_kept() == 1);
  living.number = 4;
  living.opened = {};
  living.tokens = {tokens_of({2, 2}, 0, 0, std::vector<int>(1'000, 1))};
  give(store, living);
  CHECK_FALSE(store.read({2, 2}).known);
  CHECK(store.read({2, 1}).known);
}

TEST_CASE("journal store: tokens that do not follow take their entry with them") {
  JournalStore store;
  JournalAppend first = append_of(1);
  first.opened = {open_of(kId)};
  first.tokens = {tokens_of(kId, 0, 1, {4})};
  give(store, first);
  CHECK_FALSE(store.read(kId).known);
  CHECK(store.not_kept() == 1);
  JournalAppend second = append_of(2);
  second.opened = {open_of(kId)};
  second.tokens = {tokens_of(kId, 2, 0, {4})};
  give(store, second);
  CHECK_FALSE(store.read(kId).known);
}

}  // namespace
}  // namespace journal_store_test
}  // namespace troupe
