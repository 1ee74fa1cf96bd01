#include "model/oracle/oracle_partition.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "config/mix.h"
#include "tests/unit/oracle_rig.h"

using namespace troupe;
using namespace troupe::test;

namespace oracle_partition_test {
namespace {

Tokens prompt_of(size_t n, uint64_t seed = 9) {
  Tokens prompt(n);
  for (size_t i = 0; i < n; ++i) prompt[i] = static_cast<int32_t>(mix64(seed, i) % kOracleVocab);
  return prompt;
}

Tokens part(const Tokens& tokens, size_t from, size_t to) {
  return Tokens(tokens.begin() + static_cast<ptrdiff_t>(from),
                tokens.begin() + static_cast<ptrdiff_t>(to));
}

}  // namespace

TEST_CASE("oracle reference: the next token is the documented hash of the prefix") {
  // Written out once more from the contract, so that a slip in one of the two shows.
  const Tokens prompt{5, 7, 4095};
  uint64_t state = mix64(uint64_t{42});
  for (int32_t token : prompt) state = mix64(state, static_cast<uint64_t>(token));
  const int32_t expected = state >> 54 == 0 ? 0 : static_cast<int32_t>(1 + state % 4095);
  CHECK(oracle_continue(42, prompt, 1) == Tokens{expected});
  CHECK(oracle_continue(43, prompt, 1) != Tokens{expected});
}

TEST_CASE("oracle reference: ends after about one token in 1,024 and the end is its last token") {
  size_t tokens = 0;
  constexpr int kStreams = 300;
  for (int i = 0; i < kStreams; ++i) {
    const Tokens answer =
        oracle_continue(kOracleSeed, prompt_of(4, static_cast<uint64_t>(i)), 100'000);
    REQUIRE(answer.back() == kOracleEnd);
    CHECK(std::count(answer.begin(), answer.end(), kOracleEnd) == 1);
    tokens += answer.size();
    const Tokens past = oracle_continue_past_end(
        kOracleSeed, prompt_of(4, static_cast<uint64_t>(i)), answer.size() + 3);
    CHECK(std::equal(answer.begin(), answer.end(), past.begin()));
  }
  CHECK(tokens / kStreams > 800);
  CHECK(tokens / kStreams < 1300);
}

TEST_CASE(
    "oracle: prefill whole, in chunks, token by token and in a batch give the reference's tokens") {
  const Tokens prompt = prompt_of(53);
  const Tokens answer = oracle_continue_past_end(kOracleSeed, prompt, 40);
  for (size_t chunk : {53u, 17u, 16u, 5u, 1u}) {
    Oracle o;
    o.driver.open({.slot = 3}).open({.slot = 4});
    const Tokens other = prompt_of(31, 77),
                 other_answer = oracle_continue_past_end(kOracleSeed, other, 100);
    const Tokens table = table_from(10, 100), other_table = table_from(30, 200);
    size_t other_done = 0;
    Tokens got;
    const auto neighbour = [&] {
      if (other_done == 0) {
        other_done = 1;
        return Piece{4, 0, other, other_table};
      }
      const auto pos = static_cast<int32_t>(other.size() + other_done - 1);
      return Piece{4, pos, {other_answer[other_done++ - 1]}, other_table};
    };
    for (size_t at = 0; at < prompt.size(); at += chunk) {
      const size_t end = std::min(prompt.size(), at + chunk);
      got = o.sample({neighbour(), {3, static_cast<int32_t>(at), part(prompt, at, end), table}});
      CHECK(got[0] == other_answer[other_done - 1]);
    }
    Tokens mine{got[1]};
    while (mine.size() < answer.size())
      mine.push_back(o.sample(
          {{3, static_cast<int32_t>(prompt.size() + mine.size() - 1), {mine.back()}, table}})[0]);
    CHECK(mine == answer);
  }
}

TEST_CASE("oracle: a plan may name the token sampled in the step before") {
  Oracle o;
  const Tokens prompt = prompt_of(20), answer = oracle_continue_past_end(kOracleSeed, prompt, 3);
  o.driver.open({.slot = 0}).open({.slot = 1});
  o.driver.add({1, 0, {8, 9}, {50}, Out::none, 2});
  CHECK(o.sample({{0, 0, prompt, {0, 1}}}) == part(answer, 0, 1));
  CHECK(o.sample({{0, 20, {-2}, {0, 1}}}) == part(answer, 1, 2));
  CHECK(o.sample({{0, 21, {-1}, {0, 1}}}) == part(answer, 2, 3));
  o.driver.add({1, 2, {-1}, {50}, Out::none, 1});
  CHECK(o.sample({}).empty());
  o.driver.add({0, 22, {-1}, {0, 1}});
  CHECK(says(o.refusal(), "refers to slice 0 of the step before, which sampled nothing"));
}

TEST_CASE("oracle: a second sequence goes on from shared prefix blocks") {
  Oracle o;
  const Tokens prompt = prompt_of(40);
  Tokens second = part(prompt, 0, 32);
  second.push_back(1234);
  o.driver.open({.slot = 0}).open({.slot = 1});
  o.sample({{0, 0, prompt, {4, 9, 2}}});
  CHECK(o.sample({{1, 32, {1234}, {4, 9, 7}}, {0, 40, {55}, {4, 9, 2}}})[0] ==
        oracle_continue(kOracleSeed, second, 1)[0]);
}

TEST_CASE("oracle: copy-on-write lets two sequences part ways within a block") {
  Oracle o;
  const Tokens prompt = prompt_of(20);
  Tokens a = prompt, b = prompt;
  a.push_back(1);
  b.push_back(2);
  o.driver.open({.slot = 0}).open({.slot = 1});
  o.sample({{0, 0, prompt, {0, 1}}});
  o.driver.copy(1, 2);
  const Tokens got = o.sample({{0, 20, {1}, {0, 1}}, {1, 20, {2}, {0, 2}}});
  CHECK(got[0] == oracle_continue_past_end(kOracleSeed, a, 1)[0]);
  CHECK(got[1] == oracle_continue_past_end(kOracleSeed, b, 1)[0]);
}

TEST_CASE("oracle: several output rows, scores and alternatives of one slice") {
  Oracle o;
  const Tokens prompt = prompt_of(6);
  o.driver.open({.slot = 0, .n_logprobs = 2}).open({.slot = 1, .n_logprobs = -1});
  o.driver.add({0, 0, prompt, {0}, Out::sample, 3});
  o.driver.add({1, 0, prompt, {1}, Out::score, 1, {1, 2, 3, 4, 5}});
  const auto output = o.driver.run();
  REQUIRE(output.has_value());
  REQUIRE(output->slices.size() == 2);
  CHECK(output->slices[0].n_tokens == 3);
  for (size_t i = 0; i < 3; ++i)
    CHECK(output->tokens[i] == oracle_continue_past_end(kOracleSeed, part(prompt, 0, 4 + i), 1)[0]);
  CHECK(output->logprob == std::vector<float>{-1, -1, -1});
  CHECK(output->slices[0].n_top == 2);
  CHECK(output->top.size() == 6);
  CHECK(output->top[2] == TokenLogprob{output->tokens[1], -1});
  CHECK(output->slices[1].n_tokens == 0);
  CHECK(output->slices[1].score_off == 0);
  CHECK(output->scores == std::vector<float>(5, -1));
}

TEST_CASE(
    "oracle: drafts give the tokens of as many steps, up to the first wrong one and one more") {
  const Tokens prompt = prompt_of(20), answer = oracle_continue_past_end(kOracleSeed, prompt, 30);
  constexpr int kDrafts = 4;
  for (int right = 0; right <= kDrafts; ++right) {
    CAPTURE(right);
    Oracle o;
    o.driver.open({.slot = 0, .n_logprobs = 1}).open({.slot = 1});
    const Tokens table = table_from(0, 60);
    REQUIRE(o.sample({{0, 0, prompt, table}}) == part(answer, 0, 1));
    Tokens rows = part(answer, 0, 1 + kDrafts);
    if (right < kDrafts) rows[static_cast<size_t>(1 + right)] ^= 1;
    const auto got = static_cast<size_t>(right + 1);
    o.driver.add({0, 20, rows, table, Out::sample, -1, {}, kDrafts});
    o.driver.add({1, 0, prompt, {50, 51}});
    const auto output = o.driver.run();
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    CHECK(output->slices[0].n_tokens == right + 1);
    CHECK(part(output->tokens, 0, got) == part(answer, 1, 1 + got));
    CHECK(output->slices[1].tok_off == right + 1);
    CHECK(output->logprob.size() == got + 1);
    CHECK(output->top.size() == got);
    // It goes on behind the last token that counts, over what the wrong drafts left in the KV.
    const auto pos = static_cast<int32_t>(20 + got);
    CHECK(o.sample({{0, pos, part(answer, got, got + 3), table, Out::sample, -1, {}, 2}}) ==
          part(answer, got + 1, got + 4));
  }
}

TEST_CASE("oracle: random batches over a shuffled pool equal the reference") {
  const uint32_t seed = 4242;
  INFO("seed " << seed);
  std::mt19937 random(seed);
  Oracle o;
  struct Sequence {
    Tokens prompt, answer, table;
    size_t done = 0;  // positions in KV
  };
  std::vector<Sequence> running(12);
  Tokens free(64);
  std::iota(free.begin(), free.end(), 0);
  std::shuffle(free.begin(), free.end(), random);
  for (size_t slot = 0; slot < running.size(); ++slot) {
    running[slot].prompt = prompt_of(1 + random() % 50, random());
    o.driver.open({.slot = static_cast<int32_t>(slot)});
  }
  for (int step = 0; step < 60; ++step) {
    std::vector<size_t> sampled;
    for (size_t slot = 0; slot < running.size(); ++slot) {
      Sequence& s = running[slot];
      if (random() % 4 == 0 || s.answer.size() >= 25) continue;
      Tokens all = s.prompt;
      all.insert(all.end(), s.answer.begin(), s.answer.end());
      const size_t rows = std::min<size_t>(all.size() - s.done, 1 + random() % 20);
      while (s.table.size() * kBlockPositions < s.done + rows) {
        s.table.push_back(free.back());
        free.pop_back();
      }
      const bool last = s.done + rows == all.size();
      o.driver.add({static_cast<int32_t>(slot), static_cast<int32_t>(s.done),
                    part(all, s.done, s.done + rows), s.table, last ? Out::sample : Out::none});
      s.done += rows;
      if (last) sampled.push_back(slot);
    }
    const auto output = o.driver.run();
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    REQUIRE(output->tokens.size() == sampled.size());
    for (size_t i = 0; i < sampled.size(); ++i)
      running[sampled[i]].answer.push_back(output->tokens[i]);
  }
  size_t total = 0;
  for (const Sequence& s : running) {
    CHECK(s.answer == oracle_continue_past_end(kOracleSeed, s.prompt, s.answer.size()));
    total += s.answer.size();
  }
  CHECK(total > 100);
}

TEST_CASE("oracle: reading positions that nobody wrote, or another's, is an error") {
  Oracle o;
  o.driver.open({.slot = 0}).open({.slot = 1});
  SUBCASE("never written") {
    o.driver.add({0, 16, {1}, {3, 4}});
    CHECK(says(o.refusal(), "reads position 15 in block 3, which was never written"));
  }
  SUBCASE("stale remainder of a rewritten block") {
    o.sample({{0, 0, prompt_of(16), {3}}});
    o.sample({{1, 0, prompt_of(4, 5), {3}}});
    o.driver.add({0, 16, {1}, {3, 4}});
    CHECK(says(o.refusal(), "reads position 15 in block 3, which was never written or is stale"));
  }
  SUBCASE("blocks in the wrong order") {
    o.sample({{0, 0, prompt_of(32), {3, 4}}});
    o.driver.add({0, 32, {1}, {4, 3, 5}});
    CHECK(says(o.refusal(), "belongs to another sequence"));
  }
  SUBCASE("a block reused while it was still needed") {
    o.sample({{0, 0, prompt_of(32), {3, 4}}});
    o.sample({{1, 0, prompt_of(16, 5), {3}}});
    o.driver.add({0, 32, {1}, {3, 4, 5}});
    CHECK(says(o.refusal(), "reads position 31 in block 4, which belongs to another sequence"));
  }
}

TEST_CASE("oracle: a KV block survives export and import into another block of another partition") {
  Oracle a, b;
  const Tokens prompt = prompt_of(16);
  a.driver.open({.slot = 0});
  a.sample({{0, 0, prompt, {5}}});
  std::vector<std::byte> bytes(17 * 8);
  BlockImage image{.bytes = bytes};
  REQUIRE(a.partition.export_block(BlockId(5), image));
  REQUIRE(b.partition.import_block(BlockId(9), image));
  b.driver.open({.slot = 0});
  Tokens longer = prompt;
  longer.push_back(77);
  CHECK(b.sample({{0, 16, {77}, {9, 10}}}) == oracle_continue(kOracleSeed, longer, 1));
  CHECK(says(a.partition.export_block(BlockId(64), image).error().message, "no KV block 64"));
  image.kv_layout_id[0] ^= 1;
  CHECK(says(b.partition.import_block(BlockId(9), image).error().message,
             "not of the oracle's layout"));
}

TEST_CASE("oracle: abort ends a step that pretends to take an hour") {
  Oracle o({.step_time = 3600s});
  o.driver.open({.slot = 0}).add({0, 0, {1}, {0}});
  const StepPlan plan = o.driver.seal();
  const Ticket ticket = o.partition.submit(plan);
  std::thread aborter([&] { o.partition.abort(); });
  const auto output = o.partition.wait(ticket, 3600s);
  aborter.join();
  REQUIRE(!output.has_value());
  CHECK(output.error().code == ErrorCode::aborted);
}

TEST_CASE("oracle: a step longer than its deadline says so") {
  Oracle o({.step_time = 3600s});
  o.driver.open({.slot = 0}).add({0, 0, {1}, {0}});
  const auto output = o.driver.run(1ns);
  REQUIRE(!output.has_value());
  CHECK(output.error().code == ErrorCode::deadline_exceeded);
}

TEST_CASE("oracle: load refuses a foreign model, ranks without a collective and an empty budget") {
  OraclePartition p;
  const PartitionPlan one{.ranks = {RankPlan{}}};
  ModelSpec foreign = oracle_spec();
  foreign.vocab = 49152;
  CHECK(says(p.load(OracleWeights(), foreign, one, 0, kOracleBudget).error().message,
             "vocabulary of 49152"));
  CHECK(says(
      p.load(OracleWeights(), oracle_spec(), oracle_plan(2, 1), 1, kOracleBudget).error().message,
      "Rank 1 of 2 was given no collective of these ranks"));
  CHECK(says(p.load(OracleWeights(), oracle_spec(), one, 0, {}).error().message,
             "at least one KV block"));
}

TEST_CASE("oracle: numerics ids are equal for equal seeds only") {
  OraclePartition a, b, c({.model_seed = 2});
  const PartitionPlan one{.ranks = {RankPlan{}}};
  const auto id = [&](OraclePartition& p) {
    const auto loaded = p.load(OracleWeights(), oracle_spec(), one, 0, kOracleBudget);
    CHECK(loaded->describe.ends_with(", numerics " + to_hex(loaded->numerics_id).substr(0, 8)));
    return loaded->numerics_id;
  };
  const Digest first = id(a);
  CHECK(first == id(b));
  CHECK(first != id(c));
}

}  // namespace oracle_partition_test
