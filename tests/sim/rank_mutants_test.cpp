// Tests of the test: what the nodes of a group's ranks may not do to each other must show.
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "tests/sim/caught.h"
#include "tests/sim/tamper.h"

using namespace troupe;
using sim::Tamper;

namespace rank_mutants_test {
namespace {

constexpr uint64_t kSeedsMax = 600;  ///< a third of them has several nodes

template <class M>
M* from_peer(NodeInput& in) {
  auto* from = std::get_if<node_in::FromPeer>(&in);
  return from ? std::get_if<M>(&from->message) : nullptr;
}
template <class M>
M* to_peer(NodeEffect& effect) {
  auto* to = std::get_if<node_out::ToPeer>(&effect);
  return to ? std::get_if<M>(&to->message) : nullptr;
}
template <class M>
M* to_child(NodeEffect& effect) {
  auto* to = std::get_if<node_out::ToChild>(&effect);
  return to ? std::get_if<M>(&to->message) : nullptr;
}

/// Ranks on other nodes are taken to listen as soon as they are told to load.
struct JoinsEarly final : Tamper {
  void from_node(NodeEffects& effects) override {
    for (NodeEffect& effect : effects)
      if (auto* order = to_peer<RanksOrder>(effect))
        ordered[order->load.group] = order->load.generation;
  }
  void to_node(const std::string&, NodeInput& in) override {
    auto* report = from_peer<RanksReport>(in);
    if (report == nullptr || !ordered.contains(report->group)) return;
    for (RankState& rank : report->ranks)
      if (rank.process != Incarnation() && !rank.listening)
        rank.listening =
            RankListening{report->group, ordered[report->group], rank.rank, {"10.0.0.1", 65535}};
  }
  std::map<GroupId, Generation> ordered;
};

/// Ranks are sent where those of the first generation listened.
struct StalePlace final : Tamper {
  void to_node(const std::string&, NodeInput& in) override {
    auto* report = from_peer<RanksReport>(in);
    if (report == nullptr) return;
    for (RankState& rank : report->ranks)
      if (rank.listening)
        rank.listening->address =
            first.try_emplace({report->group, rank.rank}, rank.listening->address).first->second;
  }
  std::map<std::pair<GroupId, int32_t>, HostPort> first;
};

/// All generations of a group have the key of the first.
struct OneKey final : Tamper {
  void from_node(NodeEffects& effects) override {
    const auto change = [&](RankJoin& join) {
      join.key = first.try_emplace(join.group, join.key).first->second;
    };
    for (NodeEffect& effect : effects) {
      if (auto* join = to_child<RankJoin>(effect)) change(*join);
      if (auto* order = to_peer<RanksOrder>(effect); order && order->join) change(*order->join);
    }
  }
  std::map<GroupId, Digest> first;
};

/// What the end of a head's node means for the ranks lent to it is forgotten.
struct RunsWithoutHead final : Tamper {
  void to_node(const std::string& node, NodeInput& in) override {
    here = node;
    if (const auto* report = from_peer<RanksReport>(in)) heads[report->group] = node;
    const auto* judged = std::get_if<node_in::Judged>(&in);
    const bool died =
        judged && judged->verdict == Verdict::dead && judged->child.find('/') == std::string::npos;
    forgets = died || from_peer<Hello>(in) != nullptr;
  }
  void from_node(NodeEffects& effects) override {
    std::erase_if(effects, [&](NodeEffect& effect) {
      const auto* abort = to_child<AbortOrder>(effect);
      if (abort && forgets && heads[abort->group] != here)
        return kept.insert(std::get<node_out::ToChild>(effect).incarnation).second;
      const auto* over = std::get_if<node_out::Unshare>(&effect);
      const auto* end = std::get_if<node_out::End>(&effect);
      return (over && forgets && heads[over->group] != here) ||
             (end && kept.contains(end->incarnation));
    });
  }
  std::map<GroupId, std::string> heads;
  std::string here;
  bool forgets = false;
  std::set<Incarnation> kept;  ///< ranks that were not told to end
};

/// Orders that a broken link lost are not said again.
struct SaysOnce final : Tamper {
  void to_node(const std::string&, NodeInput& in) override {
    joins = from_peer<Hello>(in) != nullptr;
  }
  void from_node(NodeEffects& effects) override {
    if (!joins) return;
    std::erase_if(effects, [](NodeEffect& effect) { return to_peer<RanksOrder>(effect); });
  }
  bool joins = false;
};

}  // namespace

TEST_CASE("sim: ranks that are to meet before all of them listen are caught") {
  CHECK(sim::caught_at<JoinsEarly>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: ranks that are sent to a place of a former generation are caught") {
  CHECK(sim::caught_at<StalePlace>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: a key that outlives its generation is caught") {
  CHECK(sim::caught_at<OneKey>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: ranks that run on without their head are caught") {
  CHECK(sim::caught_at<RunsWithoutHead>(kSeedsMax, sim::several_nodes) > 0);
}
TEST_CASE("sim: orders that a broken link lost for good are caught") {
  CHECK(sim::caught_at<SaysOnce>(kSeedsMax, sim::several_nodes) > 0);
}

}  // namespace rank_mutants_test
