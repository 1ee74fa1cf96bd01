// A NodeSupervisor whose groups span nodes, under test: the other nodes are played by the test, and
// what the machine says of ranks is put into words, to be compared with tables.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/node_rig.h"

namespace troupe::test {

/// "10.0.0.R:700R" is where rank R listens in these tests.
inline HostPort place(int32_t rank) {
  return {fmt::format("10.0.0.{}", rank), static_cast<uint16_t>(7000 + rank)};
}
inline RankListening listening(int32_t rank, uint32_t generation) {
  return {GroupId(1), Generation(generation), rank, place(rank)};
}

inline std::string in_words(const RanksOrder& order) {
  std::string text = fmt::format("order g{}", order.load.generation.value);
  for (const auto& rank : order.ranks) text += fmt::format(" {}={}", rank.rank, rank.process.value);
  if (order.join) text += fmt::format(" join of {}", order.join->addresses.size());
  return text + (order.over ? " over" : "");
}
inline std::string in_words(const RanksReport& report) {
  std::string text = fmt::format("report over g{}", report.over.value);
  for (const RankState& rank : report.ranks) {
    if (rank.process == Incarnation()) {
      text += fmt::format(" {}: {}", rank.rank, rank.why);
      continue;
    }
    text += fmt::format(" {}={}{}{}", rank.rank, rank.process.value, rank.suspect ? "?" : "",
                        rank.listening ? "@" : "");
    if (rank.loaded) text += rank.loaded->ok ? "+" : "-";
    if (rank.fault) text += "!";
  }
  return text;
}
inline std::string in_words(const LoadOrder& order) {
  std::string text = fmt::format("load g{} rank {} threads {} hosts", order.generation.value,
                                 order.rank, order.threads);
  for (int32_t host : order.hosts) text += fmt::format(" {}", host);
  return text;
}
inline std::string in_words(const RankJoin& join) {
  std::string text = fmt::format("join g{}", join.generation.value);
  for (const HostPort& address : join.addresses) text += " " + to_string(address);
  return text;
}

/// What was said about ranks, in order; everything else is left out.
inline std::vector<std::string> in_words(const NodeEffects& effects) {
  std::vector<std::string> words;
  for (const NodeEffect& effect : effects) {
    const auto say = [&](const std::string& to, Incarnation process, const auto& message) {
      words.push_back(fmt::format("{} {}: {}", to, process.value, in_words(message)));
    };
    if (auto* to = std::get_if<node_out::ToChild>(&effect)) {
      if (auto* load = std::get_if<LoadOrder>(&to->message)) say(to->child, to->incarnation, *load);
      if (auto* join = std::get_if<RankJoin>(&to->message)) say(to->child, to->incarnation, *join);
      if (auto* abort = std::get_if<AbortOrder>(&to->message))
        words.push_back(fmt::format("{} {}: abort g{}", to->child, to->incarnation.value,
                                    abort->generation.value));
    } else if (auto* peer = std::get_if<node_out::ToPeer>(&effect)) {
      if (auto* order = std::get_if<RanksOrder>(&peer->message))
        say(peer->node, peer->incarnation, *order);
      if (auto* report = std::get_if<RanksReport>(&peer->message))
        say(peer->node, peer->incarnation, *report);
    } else if (auto* share = std::get_if<node_out::Share>(&effect)) {
      std::string text = fmt::format("share g{}", share->generation.value);
      for (const auto& rank : share->ranks)
        text += fmt::format(" {} {}", rank.child, rank.incarnation.value);
      words.push_back(text);
    } else if (auto* over = std::get_if<node_out::Unshare>(&effect)) {
      words.push_back(fmt::format("unshare g{}", over->generation.value));
    } else if (auto* end = std::get_if<node_out::End>(&effect)) {
      words.push_back(fmt::format("end {} {}{}", end->child, end->incarnation.value,
                                  end->force ? " by force" : ""));
    } else if (std::holds_alternative<node_out::Stopped>(effect)) {
      words.push_back("stopped");
    }
  }
  return words;
}

using Words = std::vector<std::string>;

struct HostsRig : NodeRig {
  explicit HostsRig(NodeSupervisorConfig config) : NodeRig(config), node(config.node) {}
  std::string node;

  Words said() const { return in_words(effects); }
  /// Numbers of processes count from 101 in the order of their start.
  void start_child(const std::string& child) {
    spawned(child);
    Hello h = hello_of(child);
    h.node = node;
    from(child, h);
  }
  void from_peer(const std::string& peer, uint64_t process, uint64_t link, Message message) {
    step(node_in::FromPeer{peer, Incarnation(process), std::move(message), PeerLinkId(link)});
  }
  static Hello hello_of_peer(const std::string& peer, uint64_t process) {
    return {"demo", 1, "b1", peer, Role::supervisor, peer + "/supervisor", Incarnation(process),
            {}};
  }
  /// By the dial of whoever has the lower name.
  void join_peer(const std::string& peer, uint64_t process, uint64_t link) {
    if (node < peer) {
      step(node_in::PeerDialled{peer, PeerLinkId(link)});
      from_peer(peer, process, link, HelloReply{Incarnation(process), true, ""});
    }
    from_peer(peer, process, link, hello_of_peer(peer, process));
  }
  void lose_peer(const std::string& peer, uint64_t link) {
    step(node_in::PeerLost{peer, PeerLinkId(link)});
    // Dialled again after a while.
    wait(kPeerRedialMax);
  }
  LoadReport loads(int32_t rank, uint32_t generation) const {
    LoadReport r{
        .group = GroupId(1), .generation = Generation(generation), .rank = rank, .ok = true};
    r.weights_id[0] = 5;
    return r;
  }
  const ActorStatus& row(const std::string& child) {
    rows = machine.tree();
    for (const ActorStatus& row : rows)
      if (row.id == child) return row;
    FAIL("no such row");
    return rows.front();
  }
  std::vector<ActorStatus> rows;
};

/// Group 1, headed by n1: ranks 0 and 1 on n1, rank 2 on n2; n3 has nothing to do with it.
inline NodeSupervisorConfig head_config() {
  NodeSupervisorConfig config = node_config();
  config.children = {{"n1/shard/m.1.0", Role::shard, GroupId(1), 0},
                     {"n1/shard/m.1.1", Role::shard, GroupId(1), 1}};
  HeadedGroup group;
  group.order.group = GroupId(1);
  group.order.model = "m";
  group.order.threads = 3;
  group.ranks = 3;
  group.nodes = {"n1", "n1", "n2"};
  config.groups = {group};
  config.peers = {{"n2", {}}, {"n3", {}}};
  config.rank_secret.fill(7);
  return config;
}

/// As n2 sees it, with ranks 1 and 2 of three.
inline NodeSupervisorConfig lender_config() {
  NodeSupervisorConfig config = node_config();
  config.node = "n2";
  config.children = {{"n2/shard/m.1.1", Role::shard, GroupId(1), 1},
                     {"n2/shard/m.1.2", Role::shard, GroupId(1), 2}};
  config.groups.clear();
  config.peers = {{"n1", {{GroupId(1), "m", "/run/dg1"}}}, {"n3", {}}};
  config.lent = {{GroupId(1), "m", "n1", 5}};
  return config;
}

}  // namespace troupe::test
