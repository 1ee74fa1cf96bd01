#include "cluster/node_peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cluster/hello_rules.h"
#include "config/check.h"

namespace troupe {

NodePeers::NodePeers(NodePeersConfig config)
    : config_(std::move(config)),
      ages_(config_.timing_scale),
      doubt_(config_.peers.size(), config_.timing_scale) {
  for (PeerSpec& spec : config_.peers) {
    TROUPE_CHECK(spec.node != config_.own.node, spec.node);
    Peer peer;
    peer.dials = config_.own.node < spec.node;
    peer.why = peer.dials ? "it has not been dialled yet" : "it has not dialled this node yet";
    peer.spec = std::move(spec);
    const std::string name = peer.spec.node;
    TROUPE_CHECK(peers_.emplace(name, std::move(peer)).second, name);
  }
}

void NodePeers::step(Time now, const PeerInput& input, std::vector<PeerEffect>& out) {
  ages_.begin(now);
  if (std::holds_alternative<peer_in::Start>(input)) {
    for (auto& [name, peer] : peers_) {
      if (!peer.dials || peer.state != State::away) continue;
      peer.state = State::waiting;
      peer.due = now;
    }
  } else if (auto* dialled = std::get_if<peer_in::Dialled>(&input)) {
    Peer& peer = peers_.at(dialled->node);
    if (peer.state != State::dialling) {
      if (dialled->link != PeerLinkId())
        out.push_back(peer_out::Drop{dialled->node, dialled->link});
    } else if (dialled->link == PeerLinkId()) {
      unlink(now, peer, "it does not answer", kPeerRedialMax, out);
    } else {
      peer.state = State::greeting;
      peer.link = dialled->link;
      peer.due = now + scaled(kHandshakeTimeout, config_.timing_scale);
      out.push_back(peer_out::Send{dialled->node, {}, peer.link, config_.own});
    }
  } else if (auto* from = std::get_if<peer_in::From>(&input)) {
    auto found = peers_.find(from->node);
    if (found != peers_.end()) {
      on_from(now, found->second, *from, out);
    } else {
      ++dropped_;
      if (std::holds_alternative<Hello>(from->message)) {
        const std::string why = fmt::format(
            "node {} is not in the config of node {}: name it there", from->node, config_.own.node);
        out.push_back(peer_out::Send{from->node, from->incarnation, from->link,
                                     HelloReply{config_.own.incarnation, false, why}});
        out.push_back(peer_out::Event{"hello refused", from->node, why});
      }
      out.push_back(peer_out::Drop{from->node, from->link});
    }
  } else if (auto* lost = std::get_if<peer_in::Lost>(&input)) {
    auto found = peers_.find(lost->node);
    if (found != peers_.end() && found->second.link == lost->link && lost->link != PeerLinkId()) {
      found->second.link = {};
      unlink(now, found->second, "the link to it broke", kPeerRedialMax, out);
    }
  } else if (auto* judged = std::get_if<peer_in::Judged>(&input)) {
    auto found = peers_.find(judged->node);
    if (found != peers_.end() && judged->incarnation != Incarnation() &&
        found->second.incarnation == judged->incarnation)
      on_judged(now, found->second, judged->verdict, out);
  }
  for (auto& [name, peer] : peers_) {
    if (peer.state == State::away || peer.state == State::joined || now < peer.due) continue;
    if (peer.state == State::waiting) {
      peer.state = State::dialling;
      // The shell's own limit comes first.
      peer.due = now + 2 * scaled(kHandshakeTimeout, config_.timing_scale);
      out.push_back(peer_out::Dial{name});
    } else {
      unlink(now, peer, "it did not answer in time", kPeerRedialMax, out);
    }
  }
  age_reports(now, out);
}

void NodePeers::age_reports(Time now, std::vector<PeerEffect>& out) {
  while (const auto older = ages_.next_older(now)) {
    if (older->newly)
      out.push_back(peer_out::Event{"report late", older->node, late(peers_.at(older->node))});
    out.push_back(peer_out::Changed{});
  }
}

/// No link any more, whatever the reason; what the node told stands.
void NodePeers::unlink(Time now, Peer& peer, std::string why, Duration most,
                       std::vector<PeerEffect>& out) {
  if (peer.link != PeerLinkId()) out.push_back(peer_out::Drop{peer.spec.node, peer.link});
  if (peer.why != why) {
    peer.why = std::move(why);
    out.push_back(peer_out::Event{"node away", peer.spec.node, peer.why});
    out.push_back(peer_out::Changed{});
  }
  peer.link = {};
  peer.state = peer.dials ? State::waiting : State::away;
  peer.due = now + std::min(most, kPeerRedialFirst * (int64_t{1} << std::min(peer.failures++, 10)));
}

/// The incarnation that counted is over.
void NodePeers::forget(Peer& peer, const std::string& why, std::vector<PeerEffect>& out) {
  out.push_back(peer_out::Gone{peer.spec.node, peer.incarnation, why});
  out.push_back(peer_out::Changed{});
  ages_.forget(peer.spec.node);
  peer.incarnation = {};
  peer.report.reset();
  peer.verdict = Verdict::alive;
}

void NodePeers::on_from(Time now, Peer& peer, const peer_in::From& from,
                        std::vector<PeerEffect>& out) {
  if (auto* hello = std::get_if<Hello>(&from.message))
    return on_hello(now, peer, from, *hello, out);
  const bool linked = peer.link == from.link && peer.link != PeerLinkId();
  if (auto* reply = std::get_if<HelloReply>(&from.message)) {
    if (!linked) {
      ++dropped_;
    } else if (!reply->accepted) {
      unlink(now, peer, fmt::format("it refused this node: {}", reply->reason), kPeerRefusedMax,
             out);
    }
    return;
  }
  if (!linked || peer.state != State::joined || peer.incarnation != from.incarnation) {
    ++dropped_;
    return;
  }
  if (auto* report = std::get_if<NodeReport>(&from.message))
    on_report(now, peer, *report, out);
  else
    out.push_back(peer_out::Deliver{from.node, from.incarnation, from.message});
}

Result<void> NodePeers::judge(const Peer& peer, PeerLinkId link, const Hello& hello) const {
  const HelloTerms terms{.cluster = config_.own.cluster,
                         .build = config_.own.build,
                         .wire_version = config_.own.wire_version,
                         .role = Role::supervisor};
  if (auto agrees = judge_hello(hello, terms); !agrees) return agrees;
  const auto refuse = [](std::string why) {
    return fail(ErrorCode::invalid_argument, std::move(why));
  };
  if (hello.node != peer.spec.node)
    return refuse(
        peer.dials ? fmt::format("it is node {}, and node {} was called: check the hosts and ports "
                                 "of the config",
                                 hello.node, peer.spec.node)
                   : fmt::format("it says that it is node {}, and its certificate is of node {}: "
                                 "give each node its own",
                                 hello.node, peer.spec.node));
  // The one that dials greets over the link it made, and over no other.
  if (peer.dials && peer.link != link)
    return refuse("this link is not the one that counts: greet again");
  if (peer.state == State::joined && peer.link != link && peer.incarnation != hello.incarnation)
    return refuse(fmt::format("another process of node {} is in: end one of them", hello.node));
  return {};
}

void NodePeers::on_hello(Time now, Peer& peer, const peer_in::From& from, const Hello& hello,
                         std::vector<PeerEffect>& out) {
  auto agrees = hello.incarnation == from.incarnation
                    ? judge(peer, from.link, hello)
                    : fail(ErrorCode::invalid_argument, "it speaks for another process: end it");
  if (agrees) return join(now, peer, from, hello, out);
  ++dropped_;
  const std::string& why = agrees.error().message;
  out.push_back(peer_out::Send{from.node, from.incarnation, from.link,
                               HelloReply{config_.own.incarnation, false, why}});
  if (peer.link == from.link) {
    unlink(now, peer, fmt::format("it was refused: {}", why), kPeerRefusedMax, out);
    return;
  }
  out.push_back(peer_out::Drop{from.node, from.link});
  if (peer.refusal == why) return;
  peer.refusal = why;
  out.push_back(peer_out::Event{"hello refused", from.node, why});
  if (peer.state == State::joined) return;
  peer.why = fmt::format("it was refused: {}", why);
  out.push_back(peer_out::Changed{});
}

void NodePeers::join(Time now, Peer& peer, const peer_in::From& from, const Hello& hello,
                     std::vector<PeerEffect>& out) {
  const bool again = peer.incarnation == hello.incarnation;
  if (peer.incarnation != Incarnation() && !again) forget(peer, "it was started anew", out);
  if (peer.link != PeerLinkId() && peer.link != from.link)
    out.push_back(peer_out::Drop{from.node, peer.link});
  doubt_.heard(from.node);
  // A greeting is no report: what was said before it gets no younger.
  if (!again) ages_.told(now, from.node);
  peer.state = State::joined;
  peer.link = from.link;
  peer.incarnation = hello.incarnation;
  peer.verdict = Verdict::alive;
  peer.failures = 0;
  peer.why.clear();
  peer.refusal.clear();
  const bool differs = hello.config_digest != config_.own.config_digest;
  if (differs && !std::exchange(peer.config_differs, differs))
    out.push_back(peer_out::Event{"config differs", from.node,
                                  "its config is not this node's: give both the same file"});
  peer.config_differs = differs;
  const auto say = [&](Message message) {
    out.push_back(peer_out::Send{from.node, peer.incarnation, peer.link, std::move(message)});
  };
  say(HelloReply{config_.own.incarnation, true, {}});
  if (!peer.dials) say(config_.own);
  out.push_back(peer_out::Watch{from.node, peer.incarnation});
  out.push_back(peer_out::Event{"node joined", from.node,
                                again ? "the same process over a new link" : "a new process"});
  out.push_back(peer_out::Joined{from.node, peer.incarnation, again});
  out.push_back(peer_out::Changed{});
}

void NodePeers::on_report(Time now, Peer& peer, const NodeReport& report,
                          std::vector<PeerEffect>& out) {
  if (report.node != peer.incarnation || (peer.report && report.version <= peer.report->version)) {
    ++dropped_;
    return;
  }
  out.push_back(peer_out::Beat{peer.spec.node, peer.incarnation});
  peer.report = report;
  if (ages_.told(now, peer.spec.node))
    out.push_back(peer_out::Event{"report late", peer.spec.node, "it reports again"});
  out.push_back(peer_out::Changed{});
}

void NodePeers::on_judged(Time now, Peer& peer, Verdict verdict, std::vector<PeerEffect>& out) {
  if (peer.verdict == verdict) return;
  peer.verdict = verdict;
  out.push_back(peer_out::Event{"verdict", peer.spec.node, std::string(name_of(verdict))});
  out.push_back(peer_out::Changed{});
  if (verdict == Verdict::alive)
    doubt_.heard(peer.spec.node);
  else if (peer.report && peer.report->state == "draining")
    doubt_.left(peer.spec.node);
  else if (verdict == Verdict::suspect)
    doubt_.fell_silent(now, peer.spec.node);
  if (verdict != Verdict::dead) return;
  peer.failures = 0;
  unlink(now, peer, "it was silent", kPeerRedialMax, out);
  forget(peer, "it was silent", out);
  out.push_back(peer_out::Cut{peer.spec.node});
}

std::optional<Time> NodePeers::deadline() const {
  std::optional<Time> earliest = ages_.deadline();
  for (const auto& [name, peer] : peers_) {
    if (peer.state == State::away || peer.state == State::joined) continue;
    if (!earliest || peer.due < *earliest) earliest = peer.due;
  }
  return earliest;
}

std::vector<NodePeers::Contact> NodePeers::joined() const {
  std::vector<Contact> all;
  for (const auto& [name, peer] : peers_)
    if (peer.state == State::joined) all.push_back({name, peer.incarnation, peer.link});
  return all;
}

std::string NodePeers::why_not_in(const Peer& peer) const {
  return fmt::format("node {} is not in the cluster: {}", peer.spec.node, peer.why);
}

std::string NodePeers::late(const Peer& peer) const {
  const Duration age = ages_.age(peer.spec.node);
  if (age == 0ns) return {};
  return fmt::format("its last report is over {:g} s old", to_seconds(age));
}

GroupEndpoint NodePeers::endpoint(const Peer& peer, const PeerGroup& group) const {
  GroupEndpoint e;
  e.state = GroupState::stopped;
  if (peer.incarnation == Incarnation()) {
    e.reason = why_not_in(peer);
  } else if (!peer.report) {
    e.state = GroupState::starting;
    e.reason = fmt::format("node {} has not told of its groups yet", peer.spec.node);
  } else {
    auto told = std::ranges::find_if(peer.report->groups, [&](const GroupEndpoint& g) {
      return g.group == group.group && g.model == group.model;
    });
    if (told == peer.report->groups.end())
      e.reason = fmt::format("node {} has no group {} of model {}: give all nodes one config",
                             peer.spec.node, group.group.value, group.model);
    else
      e = *told;
    const std::string old = late(peer);
    if (e.state == GroupState::ready && (peer.verdict == Verdict::suspect || !old.empty())) {
      e.state = GroupState::suspect;
      e.reason = peer.verdict == Verdict::suspect
                     ? fmt::format("node {} is silent", peer.spec.node)
                     : fmt::format("node {} may hang: {}", peer.spec.node, old);
    }
  }
  e.group = group.group;
  e.model = group.model;
  e.node = peer.spec.node;
  e.socket = group.socket;
  return e;
}

std::vector<GroupEndpoint> NodePeers::endpoints() const {
  std::vector<GroupEndpoint> all;
  for (const auto& [name, peer] : peers_)
    for (const PeerGroup& group : peer.spec.groups) all.push_back(endpoint(peer, group));
  return all;
}

std::vector<PeerView> NodePeers::views() const {
  std::vector<PeerView> all;
  for (const auto& [name, peer] : peers_) {
    PeerView& view = all.emplace_back();
    view.node = name;
    view.incarnation = peer.incarnation;
    view.config_differs = peer.config_differs;
    if (peer.incarnation == Incarnation()) {
      view.state = "stopped";
      view.reason = peer.why;
      continue;
    }
    view.state = peer.report ? peer.report->state : "starting";
    if (view.state == "suspect") view.reason = "it says that it may be cut off";
    if (peer.report) view.actors = peer.report->actors;
    if (peer.verdict == Verdict::suspect) {
      view.state = "suspect";
      view.reason = "it is silent";
    } else if (const std::string old = late(peer); !old.empty()) {
      view.state = "suspect";
      view.reason = fmt::format("{}: {} while its beats go on",
                                peer.state == State::joined ? "it may hang" : peer.why, old);
    } else if (peer.state != State::joined) {
      view.reason = peer.why;
    }
  }
  return all;
}

void NodePeers::check() const {
  TROUPE_CHECK(peers_.size() <= kPeersMax, peers_.size());
  for (const auto& [name, peer] : peers_) {
    const bool linked = peer.state == State::greeting || peer.state == State::joined;
    TROUPE_CHECK(linked == (peer.link != PeerLinkId()), name, static_cast<int>(peer.state));
    TROUPE_CHECK(peer.state != State::joined || peer.incarnation != Incarnation(), name);
    TROUPE_CHECK(!peer.report || peer.report->node == peer.incarnation, name);
    TROUPE_CHECK(peer.verdict != Verdict::dead, name);
    TROUPE_CHECK(peer.dials || peer.state == State::away || peer.state == State::joined, name);
    TROUPE_CHECK(!peer.dials || peer.state != State::away || peer.failures == 0, name);
  }
}

}  // namespace troupe
