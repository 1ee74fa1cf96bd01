// The other nodes of the cluster as this one knows them: whom it is linked to, which incarnation
// counts, what the failure detector says, and what each told of its groups and actors. The node
// with the lower name dials, both greet. A broken link is no death: what a node told stands until
// the detector's verdict, but a node whose last report is old is suspect: its groups get no new
// work, and what runs on them goes on. Dead, its groups are out and its streams are cut; it comes
// in again by a new Hello. While one process of a node is linked another one of its name is
// refused: a restarted node gets in as soon as the link of its former life broke or was judged
// dead. Pure; part of NodeSupervisor. Bounded by the configured nodes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/failure_detector.h"
#include "cluster/messages.h"
#include "cluster/report_ages.h"
#include "cluster/self_doubt.h"
#include "config/limits.h"
#include "config/result.h"

namespace troupe {

/// One connection between two supervisors, numbered by the shell from 1.
using PeerLinkId = Id<struct PeerLinkTag, uint64_t>;

/// A group that another node heads.
struct PeerGroup {
  GroupId group;
  std::string model;
  std::string socket;  ///< where local processes reach it: a door of the link
  bool operator==(const PeerGroup&) const = default;
};
/// Another node of the config.
struct PeerSpec {
  std::string node;
  std::vector<PeerGroup> groups;
  bool operator==(const PeerSpec&) const = default;
};

struct NodePeersConfig {
  Hello own;  ///< what this node says of itself
  std::vector<PeerSpec> peers;
  double timing_scale = 1;
};

namespace peer_in {
/// Begin to dial.
struct Start {};
/// The last Dial of this node ended; link zero: nobody answered.
struct Dialled {
  std::string node;
  PeerLinkId link;
};
struct From {
  std::string node;         ///< as it was dialled, or as its link proved it
  Incarnation incarnation;  ///< of the process that sent it
  PeerLinkId link;
  Message message;
};
struct Lost {
  std::string node;
  PeerLinkId link;
};
struct Judged {
  std::string node;
  Incarnation incarnation;
  Verdict verdict = Verdict::alive;
};
struct Tick {};
}  // namespace peer_in
using PeerInput = std::variant<peer_in::Start, peer_in::Dialled, peer_in::From, peer_in::Lost,
                               peer_in::Judged, peer_in::Tick>;

namespace peer_out {
struct Dial {
  std::string node;
};
struct Send {
  std::string node;
  Incarnation incarnation;  ///< zero: not known yet
  PeerLinkId link;
  Message message;
};
/// Nothing that comes over it counts any more; Lost need not be told.
struct Drop {
  std::string node;
  PeerLinkId link;
};
/// Found dead: close all streams from and to it.
struct Cut {
  std::string node;
};
struct Watch {
  std::string node;
  Incarnation incarnation;
};
struct Beat {
  std::string node;
  Incarnation incarnation;
};
/// May be spoken to from now on. `again`: the same process over another link; what it was told
/// before stands, but messages may have been lost.
struct Joined {
  std::string node;
  Incarnation incarnation;
  bool again = false;
};
/// Counts as dead: it was judged so, or another incarnation took its place.
struct Gone {
  std::string node;
  Incarnation incarnation;
  std::string why;
};
/// Of a process that is in and no concern of this machine.
struct Deliver {
  std::string node;
  Incarnation incarnation;
  Message message;
};
/// What endpoints(), views() or remark() give is another.
struct Changed {};
struct Event {
  const char* what = "";
  std::string node, detail;
};
}  // namespace peer_out
using PeerEffect = std::variant<peer_out::Dial, peer_out::Send, peer_out::Drop, peer_out::Cut,
                                peer_out::Watch, peer_out::Beat, peer_out::Joined, peer_out::Gone,
                                peer_out::Deliver, peer_out::Changed, peer_out::Event>;

/// Another node, for people.
struct PeerView {
  std::string node;
  Incarnation incarnation;  ///< zero: none counts
  std::string state;        ///< as it says; suspect; stopped: it never came or was found dead
  std::string reason;       ///< why it is not ready
  bool config_differs = false;
  std::vector<ActorStatus> actors;
};

class NodePeers {
 public:
  explicit NodePeers(NodePeersConfig config);

  void step(Time now, const PeerInput& input, std::vector<PeerEffect>& out);
  std::optional<Time> deadline() const;

  bool knows(const std::string& node) const { return peers_.contains(node); }
  /// Nodes that may be spoken to, with the link to each.
  struct Contact {
    std::string node;
    Incarnation incarnation;
    PeerLinkId link;
  };
  std::vector<Contact> joined() const;
  /// All groups of the other nodes as routers of this one should know them.
  std::vector<GroupEndpoint> endpoints() const;
  std::vector<PeerView> views() const;
  /// Whom this node does not hear; see SelfDoubt.
  std::string remark() const { return doubt_.remark(); }
  bool cut_off() const { return doubt_.cut_off(); }
  uint64_t dropped() const { return dropped_; }
  void check() const;

 private:
  enum class State : uint8_t {
    away,      ///< it dials
    waiting,   ///< dialled at `due`
    dialling,  ///< until `due`
    greeting,  ///< linked; its Hello is awaited until `due`
    joined,    ///< both were accepted
  };
  struct Peer {
    PeerSpec spec;
    bool dials = false;  ///< this node dials it
    State state = State::away;
    PeerLinkId link;          ///< greeting or joined
    Incarnation incarnation;  ///< that counts; zero: none
    Verdict verdict = Verdict::alive;
    bool config_differs = false;
    std::optional<NodeReport> report;  ///< of `incarnation`
    std::string why;                   ///< it is not in
    std::string refusal;               ///< of its last Hello that was refused; told once
    int failures = 0;
    Time due{};
  };
  void on_from(Time now, Peer& peer, const peer_in::From& from, std::vector<PeerEffect>& out);
  void on_hello(Time now, Peer& peer, const peer_in::From& from, const Hello& hello,
                std::vector<PeerEffect>& out);
  void on_report(Time now, Peer& peer, const NodeReport& report, std::vector<PeerEffect>& out);
  void on_judged(Time now, Peer& peer, Verdict verdict, std::vector<PeerEffect>& out);
  Result<void> judge(const Peer& peer, PeerLinkId link, const Hello& hello) const;
  void join(Time now, Peer& peer, const peer_in::From& from, const Hello& hello,
            std::vector<PeerEffect>& out);
  void age_reports(Time now, std::vector<PeerEffect>& out);
  void unlink(Time now, Peer& peer, std::string why, Duration most, std::vector<PeerEffect>& out);
  void forget(Peer& peer, const std::string& why, std::vector<PeerEffect>& out);
  std::string why_not_in(const Peer& peer) const;
  std::string late(const Peer& peer) const;  ///< empty: its last report is fresh
  GroupEndpoint endpoint(const Peer& peer, const PeerGroup& group) const;

  NodePeersConfig config_;
  std::map<std::string, Peer> peers_;
  ReportAges ages_;  ///< of those with an incarnation
  SelfDoubt doubt_;
  uint64_t dropped_ = 0;
};

}  // namespace troupe
