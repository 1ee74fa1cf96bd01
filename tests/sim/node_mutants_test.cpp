// Tests of the test: what several nodes may not do to each other must show.
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "tests/sim/caught.h"

using namespace troupe;
using sim::Tamper;

namespace node_mutants_test {
namespace {

constexpr uint64_t kSeedsMax = 450;  ///< half of them have several nodes

bool is_child(const std::string& name) { return name.find('/') != std::string::npos; }

/// Nobody believes that another node is dead.
struct DeafToVerdicts final : Tamper {
  void to_node(const std::string&, NodeInput& in) override {
    auto* judged = std::get_if<node_in::Judged>(&in);
    if (judged && !is_child(judged->child)) judged->verdict = Verdict::alive;
  }
};

/// A link to another node that broke is not made again.
struct DialsOnce final : Tamper {
  void to_node(const std::string& node, NodeInput& in) override {
    if (std::holds_alternative<node_in::Start>(in)) ++lives[node];
    if (auto* joined = std::get_if<node_in::FromPeer>(&in);
        joined && std::holds_alternative<NodeReport>(joined->message))
      heard.insert({node, joined->node, lives[node]});
    if (auto* lost = std::get_if<node_in::PeerLost>(&in);
        lost && heard.contains({node, lost->node, lives[node]}))
      lost->node = "nobody";
  }
  std::map<std::string, int> lives;
  std::set<std::tuple<std::string, std::string, int>> heard;
};

/// What the first life of a node told of its groups is taken for news of the present one.
struct OldNews final : Tamper {
  void to_node(const std::string& node, NodeInput& in) override {
    auto* from = std::get_if<node_in::FromPeer>(&in);
    auto* report = from ? std::get_if<NodeReport>(&from->message) : nullptr;
    if (report == nullptr) return;
    auto [first, is_new] = told.try_emplace({node, from->node}, *report);
    if (first->second.node == report->node)
      first->second = *report;
    else
      report->groups = first->second.groups;
  }
  std::map<std::pair<std::string, std::string>, NodeReport> told;
};

/// What a node told last is taken for news again and again.
struct OldWordsRenewed final : Tamper {
  void to_node(const std::string& node, NodeInput& in) override {
    auto* from = std::get_if<node_in::FromPeer>(&in);
    if (auto* report = from ? std::get_if<NodeReport>(&from->message) : nullptr) {
      report->version = ++versions;
      last[node][from->node] = *from;
    } else if (std::holds_alternative<node_in::Tick>(in) && (renews = !renews)) {
      for (auto& [other, words] : last[node]) {
        if (versions % 2 == 0 && other != last[node].rbegin()->first) continue;
        std::get<NodeReport>(words.message).version = ++versions;
        in = words;
        return;
      }
    }
  }
  std::map<std::string, std::map<std::string, node_in::FromPeer>> last;  ///< by who hears, who said
  uint64_t versions = 0;
  bool renews = false;  ///< every other tick
};

/// Nodes keep their groups to themselves.
struct SilentNodes final : Tamper {
  void from_node(NodeEffects& effects) override {
    for (NodeEffect& effect : effects) {
      auto* to = std::get_if<node_out::ToPeer>(&effect);
      auto* report = to ? std::get_if<NodeReport>(&to->message) : nullptr;
      if (report) report->groups.clear();
    }
  }
};

}  // namespace

TEST_CASE("sim: a node that does not believe another one dead is caught") {
  CHECK(sim::caught_at<DeafToVerdicts>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: a node that does not dial again is caught") {
  CHECK(sim::caught_at<DialsOnce>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: news of a node's former life is caught") {
  CHECK(sim::caught_at<OldNews>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: a node that takes old words for news is caught") {
  std::string caught;
  for (uint64_t seed = 1; seed <= kSeedsMax && caught.empty(); ++seed) {
    if (!sim::several_nodes(seed)) continue;
    OldWordsRenewed mutant;
    caught = sim::run({.seed = seed, .tamper = &mutant, .only = sim::Only::hangs}).violation;
  }
  CHECK_MESSAGE(caught.find("whose supervisor has hung for") != std::string::npos, caught);
}
TEST_CASE("sim: nodes that keep their groups to themselves are caught") {
  CHECK(sim::caught_at<SilentNodes>(kSeedsMax, sim::several_nodes) > 0);
}

}  // namespace node_mutants_test
