#include "actors/peer_links.h"

#include <set>

#include "actors/log.h"

namespace troupe {

PeerLinks::Peer& PeerLinks::add(const caf::actor& handle, const std::string& node) {
  auto [at, is_new] = peers_.try_emplace(handle.address());
  if (is_new) self_->monitor(handle);
  at->second = Peer{PeerLinkId(++links_), node, {}, handle};
  return at->second;
}

void PeerLinks::dial(const std::string& node, std::function<void(NodeInput)> done) {
  const uint64_t number = ++dials_[node];
  auto end = [this, node, number, done = std::move(done)](caf::actor peer) {
    if (dials_[node] != number) return;
    done(node_in::PeerDialled{node, peer ? add(peer, node).link : PeerLinkId()});
  };
  self_->request(middleman_, dial_within_, caf::connect_atom::value, doors_.at(node), uint16_t{1})
      .then(
          [end](caf::node_id&, caf::strong_actor_ptr& peer, std::set<std::string>&) {
            end(peer ? caf::actor_cast<caf::actor>(peer) : caf::actor());
          },
          [end](caf::error&) { end(caf::actor()); });
}

std::optional<NodeInput> PeerLinks::heard(const caf::actor& sender, Envelope& envelope) {
  auto at = peers_.find(sender.address());
  if (at == peers_.end()) return std::nullopt;
  Peer& peer = at->second;
  peer.incarnation = envelope.sender;
  return node_in::FromPeer{peer.node, envelope.sender, std::move(envelope.message), peer.link};
}

void PeerLinks::greeted(const caf::actor& sender, Envelope envelope,
                        std::function<void(NodeInput)> done) {
  auto end = [this, sender, envelope = std::move(envelope),
              done = std::move(done)](const std::string& node) mutable {
    if (node.empty()) {
      log_event(LogLevel::warning, "hello refused",
                {{"why", "another node's supervisor greeted over no link between nodes"}});
      return;
    }
    if (!peers_.contains(sender.address())) add(sender, node);
    if (auto from = heard(sender, envelope)) done(std::move(*from));
  };
  self_->request(middleman_, dial_within_, caf::get_atom::value, sender.node())
      .then([end](const caf::node_id&, const std::string& speaker,
                  uint16_t) mutable { end(speaker); },
            [end](caf::error&) mutable { end({}); });
}

std::optional<NodeInput> PeerLinks::lost(const caf::actor_addr& sender) {
  auto at = peers_.find(sender);
  if (at == peers_.end()) return std::nullopt;
  const node_in::PeerLost gone{at->second.node, at->second.link};
  peers_.erase(at);
  return gone;
}

caf::actor PeerLinks::find(const node_out::ToPeer& to) const {
  for (const auto& [address, peer] : peers_)
    if (to.link == PeerLinkId() ? peer.node == to.node && peer.incarnation == to.incarnation
                                : peer.link == to.link)
      return peer.handle;
  return {};
}

void PeerLinks::drop(const std::string& node, PeerLinkId link) {
  for (auto at = peers_.begin(); at != peers_.end();) {
    if (at->second.node != node || (link != PeerLinkId() && at->second.link != link)) {
      ++at;
      continue;
    }
    self_->demonitor(at->second.handle);
    at = peers_.erase(at);
  }
}

}  // namespace troupe
