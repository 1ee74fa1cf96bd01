// Links between the nodes of the simulated cluster: dials, and what a killed or stopped link
// process does to them.
#include "tests/sim/clients.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

void NodeHost::dial(const std::string& node) {
  const uint64_t number = ++dials[node];
  world.post(shared_from_this(), world.between(1ms, 30ms),
             [this, node, number, until = world.now() + kLinkDialTimeout] {
               try_dial(node, number, until);
             });
}

void NodeHost::try_dial(const std::string& node, uint64_t number, Time until) {
  if (dials[node] != number) return;
  Site& there = cluster.site_of(node);
  if (there.alive() && world.now() >= there.node->stopped_until &&
      cluster.reachable(host, there.host))
    return connect(there);
  // Where nobody listens a dial is refused at once. A port that a node holds for its link, and a
  // host that is silent, are waited for.
  const bool refused =
      !cluster.carries(host) || (!there.alive() && world.is_open(host, there.host));
  if (refused || world.now() >= until) return dialled(node, number, {});
  world.post(shared_from_this(), 20ms,
             [this, node, number, until] { try_dial(node, number, until); });
}

void NodeHost::dialled(const std::string& node, uint64_t number, PeerLinkId link) {
  if (dials[node] == number) input(node_in::PeerDialled{node, link});
}

void NodeHost::connect(Site& there) {
  auto other = there.node;
  const PeerLinkId here_id(++cluster.peer_links), there_id(++cluster.peer_links);
  auto self = shared_from_this();
  const LinkPtr link = world.connect(
      self, other, [this, here_id] { lose(here_id); },
      [o = other.get(), there_id] { o->lose(there_id); });
  peer_links[here_id] = {other->name, link, other, there_id, {}};
  other->peer_links[there_id] = {name, link, self, here_id, {}};
  dialled(other->name, dials[other->name], here_id);
}

void NodeHost::say(const node_out::ToPeer& to) {
  auto at = peer_links.find(to.link);
  if (to.link == PeerLinkId()) {
    for (auto i = peer_links.begin(); i != peer_links.end(); ++i)
      if (i->second.node == to.node && i->second.incarnation == to.incarnation) at = i;
  }
  if (at == peer_links.end()) return;
  const PeerLink& over = at->second;
  world.send(over.link, *this,
             [other = over.other, link = over.other_link, n = name, i = incarnation,
              message = to.message] { other->hear(link, n, i, message); });
}

void NodeHost::hear(PeerLinkId link, const std::string& node, Incarnation sender,
                    const Message& message) {
  auto at = peer_links.find(link);
  if (at == peer_links.end()) return;  // dropped
  if (at->second.incarnation == Incarnation{} && !std::holds_alternative<Hello>(message) &&
      !std::holds_alternative<HelloReply>(message))
    return;  // nothing counts before its Hello
  at->second.incarnation = sender;
  input(node_in::FromPeer{node, sender, message, link});
}

void NodeHost::lose(PeerLinkId link) {
  auto at = peer_links.find(link);
  if (at == peer_links.end()) return;
  const std::string node = at->second.node;
  peer_links.erase(at);
  input(node_in::PeerLost{node, link});
}

/// `only` zero: all of them.
void NodeHost::drop_links(const std::string& node, PeerLinkId only) {
  std::erase_if(peer_links, [&](const auto& entry) {
    return entry.second.node == node && (only == PeerLinkId() || entry.first == only);
  });
}

void LinkHost::from_node(const Message& message) {
  const auto* reply = std::get_if<HelloReply>(&message);
  if (reply) world.expect(reply->accepted, "{} was not accepted: {}", name, reply->reason);
  const auto* order = std::get_if<CutOrder>(&message);
  if (order) world.close_streams(host, cluster.site_of(order->node).host);
}

}  // namespace troupe::sim
