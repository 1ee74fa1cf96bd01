// The other nodes, as this one's supervisor deals with them: what NodePeers decides is carried out,
// and what this node has to say of itself is said.
#include <algorithm>

#include "cluster/node_supervisor.h"

namespace troupe {

namespace {
/// Of a text that other nodes only show.
void shorten(std::string& text) {
  if (text.size() <= kNodeReportTextMax) return;
  size_t end = kNodeReportTextMax;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;  // whole characters
  text.resize(end);
}
}  // namespace

void NodeSupervisor::on_peer(Time now, const PeerInput& input, NodeEffects& out) {
  std::vector<PeerEffect> effects;
  peers_.step(now, input, effects);
  for (PeerEffect& effect : effects) {
    if (auto* dial = std::get_if<peer_out::Dial>(&effect)) {
      out.push_back(node_out::DialPeer{dial->node});
    } else if (auto* say = std::get_if<peer_out::Send>(&effect)) {
      out.push_back(
          node_out::ToPeer{say->node, say->incarnation, std::move(say->message), say->link});
    } else if (auto* drop = std::get_if<peer_out::Drop>(&effect)) {
      out.push_back(node_out::DropPeer{drop->node, drop->link});
    } else if (auto* cut = std::get_if<peer_out::Cut>(&effect)) {
      cut_peer(cut->node, out);
    } else if (auto* watch = std::get_if<peer_out::Watch>(&effect)) {
      out.push_back(node_out::Watch{watch->node, watch->incarnation});
    } else if (auto* beat = std::get_if<peer_out::Beat>(&effect)) {
      out.push_back(node_out::PeerBeat{beat->node, beat->incarnation});
    } else if (auto* joined = std::get_if<peer_out::Joined>(&effect)) {
      report_wanted_ = true;
      peer_joined(now, joined->node, out);
    } else if (auto* gone = std::get_if<peer_out::Gone>(&effect)) {
      peer_gone(now, *gone, out);
    } else if (std::holds_alternative<peer_out::Changed>(effect)) {
      table_dirty_ = true;
    } else if (auto* event = std::get_if<peer_out::Event>(&effect)) {
      out.push_back(node_out::Event{event->what, event->node, std::move(event->detail)});
    } else if (auto* message = std::get_if<peer_out::Deliver>(&effect)) {
      deliver(now, *message, out);
    }
  }
}

void NodeSupervisor::cut_peer(const std::string& node, NodeEffects& out) {
  out.push_back(node_out::CutPeer{node});
  for (const auto& [name, process] : membership_.processes())
    if (process.role == Role::link && process.standing == Standing::member)
      out.push_back(node_out::ToChild{name, process.incarnation, CutOrder{node}});
}

void NodeSupervisor::report_to_peers(Time now, NodeEffects& out) {
  const auto joined = peers_.joined();
  if (joined.empty() || (!report_wanted_ && now < report_due_)) return;
  report_wanted_ = false;
  report_due_ = now + kNodeReportInterval;
  NodeReport report{config_.incarnation, ++reports_, state(), own_endpoints(), tree()};
  for (GroupEndpoint& group : report.groups) {
    group.socket.clear();
    shorten(group.reason);
  }
  report.actors.resize(std::min(report.actors.size(), kNodeReportActorsMax));
  for (ActorStatus& row : report.actors)
    for (std::string* text : {&row.reason, &row.last_error, &row.describe}) shorten(*text);
  for (const NodePeers::Contact& peer : joined)
    out.push_back(node_out::ToPeer{peer.node, peer.incarnation, report, peer.link});
}

}  // namespace troupe
