// The ranks of groups: what ShardGroup wants of them reaches processes here and, through
// RemoteRanks, other nodes; what happens to a process here reaches the ShardGroup that this node
// runs or, through RankProxy, the node that heads its group.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "cluster/node_supervisor.h"
#include "config/check.h"
#include "config/digest.h"

namespace troupe {

namespace {

/// By rank the host it is on, from 0; empty: they share one.
std::vector<int32_t> hosts_of(const std::vector<std::string>& nodes) {
  std::vector<std::string> seen;
  std::vector<int32_t> hosts;
  for (const std::string& node : nodes) {
    if (seen.empty() || seen.back() != node) {
      // Ranks of a host are neighbours: they share memory and speak to other hosts as one.
      TROUPE_CHECK(std::ranges::find(seen, node) == seen.end(), node);
      seen.push_back(node);
    }
    hosts.push_back(static_cast<int32_t>(seen.size()) - 1);
  }
  if (seen.size() < 2) hosts.clear();
  return hosts;
}

/// Another one for each generation of each group in each life of the head: a rank that is late or
/// of another life does not get in.
Digest key_of(const Digest& secret, GroupId group, Generation generation) {
  std::array<std::byte, 8> named{};
  for (size_t i = 0; i < 4; ++i) {
    named[i] = static_cast<std::byte>(group.value >> (8 * i));
    named[4 + i] = static_cast<std::byte>(generation.value >> (8 * i));
  }
  return hmac_sha256(std::as_bytes(std::span(secret)), named);
}

}  // namespace

void NodeSupervisor::adopt_groups() {
  for (HeadedGroup& group : config_.groups) {
    const GroupId id = group.order.group;
    TROUPE_CHECK(group.nodes.empty() || group.nodes.front() == config_.node, id);
    group.order.hosts = hosts_of(group.nodes);
    groups_.emplace(id, ShardGroup(id, group.ranks, config_.limits.timing_scale, group.nodes));
    if (!group.order.hosts.empty()) remote_.emplace(id, RemoteRanks(id, config_.node, group.nodes));
  }
  for (const LentRanks& terms : config_.lent) {
    TROUPE_CHECK(!groups_.contains(terms.group) && peers_.knows(terms.head), terms.group,
                 terms.head);
    lent_.emplace(terms.group, Lent{terms, RankProxy(terms.group, ranks_here(terms.group),
                                                     config_.limits.timing_scale)});
  }
}

const HeadedGroup& NodeSupervisor::headed(GroupId group) const {
  return *std::ranges::find_if(config_.groups,
                               [&](const HeadedGroup& g) { return g.order.group == group; });
}

std::vector<int32_t> NodeSupervisor::ranks_here(GroupId group) const {
  std::vector<int32_t> ranks;
  for (const ChildSpec& child : config_.children)
    if (child.role == Role::shard && child.group == group) ranks.push_back(child.rank);
  std::ranges::sort(ranks);
  return ranks;
}

void NodeSupervisor::rank_event(Time now, GroupId group, const RankEvent& event, NodeEffects& out) {
  const bool heads = groups_.contains(group);
  std::visit(
      [&](const auto& what) {
        if (heads)
          group_step(now, group, what, out);
        else
          proxy_step(now, group, what, out);
      },
      event);
}

// -- groups that this node heads

void NodeSupervisor::group_step(Time now, GroupId id, const GroupInput& input, NodeEffects& out) {
  std::vector<GroupEffect> effects;
  groups_.at(id).step(now, input, effects);
  for (const GroupEffect& effect : effects)
    if (!remote_effect(id, effect, out)) group_effect(id, effect, out);
  send_orders(id, out);
}

/// True: the effect was for a rank on another node.
bool NodeSupervisor::remote_effect(GroupId id, const GroupEffect& effect, NodeEffects& out) {
  const auto at = remote_.find(id);
  if (at == remote_.end()) return false;
  RemoteRanks& remote = at->second;
  const auto elsewhere = [&](const auto* e) { return e != nullptr && remote.has(e->rank); };
  if (auto* load = std::get_if<group_out::Load>(&effect); elsewhere(load)) {
    remote.load(*load, headed(id).order);
  } else if (auto* join = std::get_if<group_out::Join>(&effect); elsewhere(join)) {
    remote.join(join->rank, join_of(id, *join));
  } else if (auto* abort = std::get_if<group_out::Abort>(&effect); elsewhere(abort)) {
    remote.end(abort->rank);
  } else if (auto* kill = std::get_if<group_out::Kill>(&effect); elsewhere(kill)) {
    const std::string& node = headed(id).nodes[static_cast<size_t>(kill->rank)];
    out.push_back(node_out::Event{
        "kill", node, fmt::format("rank {} of group {}: {}", kill->rank, id.value, kill->why)});
    remote.end(kill->rank);
  } else {
    return false;
  }
  return true;
}

void NodeSupervisor::group_effect(GroupId id, const GroupEffect& effect, NodeEffects& out) {
  const ShardGroup& group = groups_.at(id);
  const auto tell = [&](int32_t rank, Incarnation process, Message message) {
    out.push_back(node_out::ToChild{child_of(id, rank), process, std::move(message)});
  };
  if (auto* load = std::get_if<group_out::Load>(&effect)) {
    LoadOrder order = headed(id).order;
    order.generation = load->generation;
    order.rank = load->rank;
    tell(load->rank, load->incarnation, std::move(order));
  } else if (auto* join = std::get_if<group_out::Join>(&effect)) {
    tell(join->rank, join->incarnation, join_of(id, *join));
  } else if (auto* abort = std::get_if<group_out::Abort>(&effect)) {
    tell(abort->rank, abort->incarnation, AbortOrder{id, abort->generation});
  } else if (auto* form = std::get_if<group_out::Form>(&effect)) {
    std::vector<Incarnation> here;
    for (int32_t rank : ranks_here(id)) here.push_back(form->ranks[static_cast<size_t>(rank)]);
    share(id, form->generation, here, out);
  } else if (auto* disband = std::get_if<group_out::Disband>(&effect)) {
    if (ranks_here(id).size() > 1) out.push_back(node_out::Unshare{id, disband->generation});
  } else if (auto* kill = std::get_if<group_out::Kill>(&effect)) {
    const std::string child = child_of(id, kill->rank);
    out.push_back(node_out::Event{"kill", child, kill->why});
    out.push_back(node_out::End{child, kill->incarnation, true});
  } else if (auto* failed = std::get_if<group_out::LoadFailed>(&effect)) {
    out.push_back(node_out::LoadFailed{id, failed->error});
  } else {
    table_dirty_ = true;
    out.push_back(node_out::Event{"group", fmt::format("{}.{}", id.value, group.generation().value),
                                  fmt::format("{}{}{}", name_of(group.state()),
                                              group.reason().empty() ? "" : ": ", group.reason())});
  }
}

/// Of one rank alone here nothing is shared.
void NodeSupervisor::share(GroupId id, Generation generation,
                           const std::vector<Incarnation>& processes, NodeEffects& out) const {
  const std::vector<int32_t> ranks = ranks_here(id);
  if (ranks.size() < 2) return;
  node_out::Share share{id, generation, {}};
  for (size_t i = 0; i < ranks.size(); ++i)
    share.ranks.push_back({child_of(id, ranks[i]), processes[i]});
  out.push_back(std::move(share));
}

RankJoin NodeSupervisor::join_of(GroupId id, const group_out::Join& join) const {
  return {id, join.generation, join.addresses, key_of(config_.rank_secret, id, join.generation)};
}

void NodeSupervisor::send_orders(GroupId id, NodeEffects& out) {
  const auto at = remote_.find(id);
  if (at == remote_.end()) return;
  for (auto& [node, order] : at->second.take_orders()) tell_peer(node, std::move(order), out);
}

// -- groups that another node heads

void NodeSupervisor::proxy_step(Time now, GroupId id, const ProxyInput& input, NodeEffects& out) {
  std::vector<ProxyEffect> effects;
  lent_.at(id).proxy.step(now, input, effects);
  for (ProxyEffect& effect : effects) proxy_effect(id, effect, out);
}

void NodeSupervisor::proxy_effect(GroupId id, ProxyEffect& effect, NodeEffects& out) {
  const LentRanks& terms = lent_.at(id).terms;
  const auto tell = [&](int32_t rank, Incarnation process, Message message) {
    out.push_back(node_out::ToChild{child_of(id, rank), process, std::move(message)});
  };
  if (auto* report = std::get_if<proxy_out::Report>(&effect)) {
    tell_peer(terms.head, std::move(report->report), out);
  } else if (auto* load = std::get_if<proxy_out::Load>(&effect)) {
    load->order.threads = terms.threads;
    tell(load->order.rank, load->process, std::move(load->order));
  } else if (auto* join = std::get_if<proxy_out::Join>(&effect)) {
    tell(join->rank, join->process, std::move(join->join));
  } else if (auto* form = std::get_if<group_out::Form>(&effect)) {
    share(id, form->generation, form->ranks, out);
  } else if (auto* disband = std::get_if<group_out::Disband>(&effect)) {
    out.push_back(node_out::Unshare{id, disband->generation});
  } else if (auto* abort = std::get_if<group_out::Abort>(&effect)) {
    tell(abort->rank, abort->incarnation, AbortOrder{id, abort->generation});
  } else if (auto* kill = std::get_if<group_out::Kill>(&effect)) {
    const std::string child = child_of(id, kill->rank);
    out.push_back(node_out::Event{"kill", child, kill->why});
    out.push_back(node_out::End{child, kill->incarnation, true});
  }
}

// -- between the two

/// Over the link it joined by. Without one what is said is lost, and said again once it joins.
void NodeSupervisor::tell_peer(const std::string& node, Message message, NodeEffects& out) const {
  const auto joined = peers_.joined();
  const auto peer = std::ranges::find(joined, node, &NodePeers::Contact::node);
  if (peer != joined.end())
    out.push_back(node_out::ToPeer{node, peer->incarnation, std::move(message), peer->link});
}

void NodeSupervisor::peer_joined(Time now, const std::string& node, NodeEffects& out) {
  for (auto& [id, remote] : remote_) {
    remote.joined(node);
    send_orders(id, out);
  }
  for (auto& [id, lent] : lent_)
    if (lent.terms.head == node) proxy_step(now, id, proxy_in::HeadJoined{}, out);
}

void NodeSupervisor::peer_gone(Time now, const peer_out::Gone& gone, NodeEffects& out) {
  for (auto& [id, remote] : remote_)
    for (const GroupInput& lost :
         remote.gone(gone.node, fmt::format("its node is gone ({})", gone.why)))
      group_step(now, id, lost, out);
  table_dirty_ = true;
  for (auto& [id, lent] : lent_)
    if (lent.terms.head == gone.node) proxy_step(now, id, proxy_in::HeadGone{}, out);
}

/// What the node of a rank and the node that heads its group say to each other; nothing else is
/// said among nodes.
void NodeSupervisor::deliver(Time now, const peer_out::Deliver& from, NodeEffects& out) {
  if (auto* order = std::get_if<RanksOrder>(&from.message)) {
    const auto lent = lent_.find(order->load.group);
    if (lent != lent_.end() && lent->second.terms.head == from.node)
      return proxy_step(now, lent->first, proxy_in::Ordered{*order}, out);
  } else if (auto* report = std::get_if<RanksReport>(&from.message)) {
    const auto remote = remote_.find(report->group);
    if (remote != remote_.end() && remote->second.runs(from.node)) {
      for (const GroupInput& input : remote->second.reported(from.node, *report))
        group_step(now, remote->first, input, out);
      table_dirty_ = true;  // whether a rank failed is no event of the group
      return;
    }
  }
  ++dropped_;
}

uint64_t NodeSupervisor::dropped() const {
  uint64_t all = dropped_;
  for (const auto& [id, group] : groups_) all += group.dropped();
  for (const auto& [id, remote] : remote_) all += remote.dropped();
  for (const auto& [id, lent] : lent_) all += lent.proxy.dropped();
  return all;
}

}  // namespace troupe
