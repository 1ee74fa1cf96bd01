#include "cluster/remote_ranks.h"

#include <fmt/format.h>

#include <utility>

namespace troupe {

namespace {
std::string why_none(const std::string& node, const RankState& state) {
  return fmt::format("rank {} on {}: {}", state.rank, node, state.why);
}
}  // namespace

RemoteRanks::RemoteRanks(GroupId group, std::string own, const std::vector<std::string>& nodes)
    : group_(group) {
  for (size_t rank = 0; rank < nodes.size(); ++rank) {
    if (nodes[rank] == own) continue;
    ranks_[static_cast<int32_t>(rank)].node = nodes[rank];
    nodes_[nodes[rank]];
  }
}

void RemoteRanks::load(const group_out::Load& load, LoadOrder order) {
  Node& node = nodes_.at(ranks_.at(load.rank).node);
  // A generation's first rank on its node begins the order, the others join it.
  if (!node.order || node.order->load.generation != load.generation)
    node.order = RanksOrder{.load = std::move(order)};
  node.order->load.rank = 0;
  node.order->load.generation = load.generation;
  node.order->ranks.push_back({load.rank, load.incarnation});
  node.unsent = true;
}

void RemoteRanks::join(int32_t rank, const RankJoin& join) {
  Node& node = nodes_.at(ranks_.at(rank).node);
  // Without an order its node is gone, and the loss of this rank is on its way.
  if (!node.order || node.order->load.generation != join.generation) return;
  node.order->join = join;
  node.unsent = true;
}

void RemoteRanks::end(int32_t rank) {
  Node& node = nodes_.at(ranks_.at(rank).node);
  if (!node.order) return;  // the node is gone, and the loss of this rank is on its way
  ranks_.at(rank).ended = node.order->load.generation;
  node.order->over = true;
  node.unsent = true;
}

std::vector<std::pair<std::string, RanksOrder>> RemoteRanks::take_orders() {
  std::vector<std::pair<std::string, RanksOrder>> orders;
  for (auto& [name, node] : nodes_)
    if (std::exchange(node.unsent, false)) orders.emplace_back(name, *node.order);
  return orders;
}

void RemoteRanks::joined(const std::string& name) {
  if (auto node = nodes_.find(name); node != nodes_.end())
    node->second.unsent = node->second.order.has_value();
}

std::vector<GroupInput> RemoteRanks::reported(const std::string& node, const RanksReport& report) {
  std::vector<GroupInput> out;
  for (const RankState& state : report.ranks) {
    const auto at = ranks_.find(state.rank);
    if (report.group != group_ || at == ranks_.end() || at->second.node != node) {
      ++dropped_;
      continue;
    }
    Rank& rank = at->second;
    // A process that lives on took no part in what is over: it is as good as a new one.
    const bool spared = rank.ended.value > 0 && report.over >= rank.ended;
    if (rank.told.process != state.process || spared) {
      if (rank.told.process != Incarnation())
        out.push_back(group_in::RankLost{
            state.rank, rank.told.process,
            state.why.empty() ? std::string("its process was replaced") : state.why});
      rank.told = {.rank = state.rank, .process = state.process, .why = state.why};
      rank.ended = Generation();
      if (state.process != Incarnation())
        out.push_back(group_in::RankUp{state.rank, state.process});
    }
    if (state.process != Incarnation())
      news(rank.told, state, out);
    else if (state.why != rank.told.why)
      out.push_back(group_in::RankAwaits{state.rank, why_none(node, state)});
    rank.told = state;
  }
  return out;
}

/// Of a process that is known.
void RemoteRanks::news(const RankState& before, const RankState& now,
                       std::vector<GroupInput>& out) {
  if (now.suspect != before.suspect)
    out.push_back(group_in::RankSuspect{now.rank, now.process, now.suspect});
  if (now.listening && now.listening != before.listening && now.listening->rank == now.rank)
    out.push_back(group_in::Listening{now.process, *now.listening});
  if (now.loaded && now.loaded != before.loaded && now.loaded->rank == now.rank)
    out.push_back(group_in::Loaded{now.process, *now.loaded});
  if (now.fault && now.fault != before.fault)
    out.push_back(group_in::Fault{now.process, *now.fault});
}

std::optional<std::string> RemoteRanks::failed() const {
  for (const auto& [number, rank] : ranks_)
    if (rank.told.failed) return why_none(rank.node, rank.told);
  return std::nullopt;
}

std::vector<GroupInput> RemoteRanks::gone(const std::string& node, const std::string& why) {
  std::vector<GroupInput> out;
  for (auto& [number, rank] : ranks_) {
    if (rank.node != node) continue;
    const RankState told = std::exchange(rank.told, {});
    rank.ended = Generation();
    if (told.process != Incarnation()) out.push_back(group_in::RankLost{number, told.process, why});
  }
  // Its next life knows nothing of what this one was told.
  if (auto at = nodes_.find(node); at != nodes_.end()) at->second = Node{};
  return out;
}

}  // namespace troupe
