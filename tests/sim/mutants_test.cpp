// Tests of the test: each mutant breaks one rule on purpose, outside the machines, and the
// simulator must notice.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "tests/sim/caught.h"

using namespace troupe;
using sim::Tamper;

namespace mutants_test {
namespace {

constexpr uint64_t kSeedsMax = 150;

/// Tokens are shown without being journalled first.
struct ShowsBeforeJournal final : Tamper {
  void config(RouterConfig& c) override { c.has_journal_peer = false; }
};

/// The router takes tokens of any attempt for those of the present one.
struct AttemptBlind final : Tamper {
  void from_router(RouterEffects& effects) override {
    for (const RouterEffect& e : effects) {
      const auto* to = std::get_if<router_out::ToGroup>(&e);
      const auto* enqueue = to ? std::get_if<Enqueue>(&to->message) : nullptr;
      if (enqueue) latest[enqueue->key] = enqueue->attempt;
    }
  }
  void to_router(RouterInput& in) override {
    auto* from = std::get_if<router_in::FromGroup>(&in);
    auto* batch = from ? std::get_if<TokenBatch>(&from->message) : nullptr;
    if (batch == nullptr) return;
    for (TokenChunk& chunk : batch->chunks) {
      if (latest.contains(chunk.key)) chunk.attempt = latest[chunk.key];
    }
  }
  std::map<SequenceKey, AttemptId> latest;
};

/// Ranks that wait for one that died are not let go.
struct KeepsMemory final : Tamper {
  void from_node(NodeEffects& effects) override {
    std::erase_if(effects,
                  [](const NodeEffect& e) { return std::holds_alternative<node_out::Unshare>(e); });
  }
};

/// The router does not look at the sequence number: what comes is taken for the next tokens.
struct SeqBlind final : Tamper {
  void from_router(RouterEffects& effects) override {
    for (const RouterEffect& e : effects) {
      const auto* to = std::get_if<router_out::ToGroup>(&e);
      const auto* enqueue = to ? std::get_if<Enqueue>(&to->message) : nullptr;
      if (enqueue) next[{enqueue->key, enqueue->attempt}] = enqueue->accepted.size();
    }
  }
  void to_router(RouterInput& in) override {
    auto* from = std::get_if<router_in::FromGroup>(&in);
    auto* batch = from ? std::get_if<TokenBatch>(&from->message) : nullptr;
    if (batch == nullptr) return;
    for (TokenChunk& chunk : batch->chunks) {
      uint64_t& expected = next[{chunk.key, chunk.attempt}];
      chunk.seq = expected;
      expected += chunk.tokens.size();
    }
  }
  std::map<std::pair<SequenceKey, AttemptId>, uint64_t> next;
};

/// A hung step is never reported.
struct NoWatchdog final : Tamper {
  void from_batcher(BatcherEffects& effects) override {
    std::erase_if(effects, [](const BatcherEffect& e) {
      return std::holds_alternative<batcher_out::Fault>(e);
    });
  }
};

/// A child that died stays dead.
struct NoRestart final : Tamper {
  void from_node(NodeEffects& effects) override {
    std::erase_if(effects, [&](const NodeEffect& e) {
      const auto* spawn = std::get_if<node_out::Spawn>(&e);
      return spawn && !spawned.insert(spawn->child.name).second;
    });
  }
  std::set<std::string> spawned;
};

/// Routers are told where groups are only once.
struct NoNews final : Tamper {
  void from_node(NodeEffects& effects) override {
    std::erase_if(effects, [&](const NodeEffect& e) {
      const auto* to = std::get_if<node_out::ToChild>(&e);
      return to && std::holds_alternative<RoutingTable>(to->message) &&
             !told.insert(to->incarnation).second;
    });
  }
  std::set<Incarnation> told;
};

/// Accepted tokens are passed off as part of the prompt.
struct MergesAccepted final : Tamper {
  void from_router(RouterEffects& effects) override {
    for (RouterEffect& e : effects) {
      auto* to = std::get_if<router_out::ToGroup>(&e);
      auto* enqueue = to ? std::get_if<Enqueue>(&to->message) : nullptr;
      if (enqueue == nullptr) continue;
      enqueue->prompt.insert(enqueue->prompt.end(), enqueue->accepted.begin(),
                             enqueue->accepted.end());
      enqueue->accepted.clear();
    }
  }
};

}  // namespace

TEST_CASE("sim: showing tokens before they are journalled is caught") {
  CHECK(sim::caught_at<ShowsBeforeJournal>(kSeedsMax) > 0);
}
TEST_CASE("sim: taking tokens of an old attempt is caught") {
  CHECK(sim::caught_at<AttemptBlind>(kSeedsMax) > 0);
}
TEST_CASE("sim: ignoring sequence numbers is caught") {
  CHECK(sim::caught_at<SeqBlind>(kSeedsMax) > 0);
}
TEST_CASE("sim: a missing step deadline is caught") {
  CHECK(sim::caught_at<NoWatchdog>(kSeedsMax) > 0);
}
TEST_CASE("sim: a supervisor that does not restart is caught") {
  CHECK(sim::caught_at<NoRestart>(kSeedsMax) > 0);
}
TEST_CASE("sim: a generation's memory that is never ended is caught") {
  CHECK(sim::caught_at<KeepsMemory>(kSeedsMax) > 0);
}
TEST_CASE("sim: routers without news are caught") { CHECK(sim::caught_at<NoNews>(kSeedsMax) > 0); }
TEST_CASE("sim: merging accepted tokens into the prompt is caught") {
  CHECK(sim::caught_at<MergesAccepted>(kSeedsMax) > 0);
}

}  // namespace mutants_test
