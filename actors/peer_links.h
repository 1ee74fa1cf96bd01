// The supervisor's handles of other nodes' supervisors: dials them through the link's doors,
// numbers the links and says over which one a message came. Of the supervisor actor; decides
// nothing.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "actors/shell.h"
#include "cluster/node_supervisor.h"
#include "net/envelope.h"

namespace troupe {

class PeerLinks {
 public:
  /// `doors`: where this node dials another one. `middleman` answers connect_atom.
  PeerLinks(caf::event_based_actor* self, caf::actor middleman,
            std::map<std::string, std::string> doors, double timing_scale)
      : self_(self),
        middleman_(std::move(middleman)),
        doors_(std::move(doors)),
        dial_within_(scaled(kHandshakeTimeout, timing_scale)) {}

  /// `done` gets the end of the dial, unless a newer dial of that node has begun.
  void dial(const std::string& node, std::function<void(NodeInput)> done);
  /// What it means if it came from another node that is known; else nothing.
  std::optional<NodeInput> heard(const caf::actor& sender, Envelope& envelope);
  /// A Hello of another node's supervisor makes its sender known: under the name that its link
  /// proved, whatever the Hello says. `done` gets it then; until then nothing of the sender counts.
  /// One that came over no link is none.
  void greeted(const caf::actor& sender, Envelope envelope, std::function<void(NodeInput)> done);
  /// The sender is gone. Nothing if it was no other node.
  std::optional<NodeInput> lost(const caf::actor_addr& sender);
  /// As ToPeer says; null if that link is gone.
  caf::actor find(const node_out::ToPeer& to) const;
  /// `link` zero: all links to the node.
  void drop(const std::string& node, PeerLinkId link);

 private:
  struct Peer {
    PeerLinkId link;
    std::string node;
    Incarnation incarnation;  ///< of who was heard over it; zero: nobody yet
    caf::actor handle;
  };
  Peer& add(const caf::actor& handle, const std::string& node);

  caf::event_based_actor* self_;
  caf::actor middleman_;
  std::map<std::string, std::string> doors_;
  Duration dial_within_;
  std::map<caf::actor_addr, Peer> peers_;
  std::map<std::string, uint64_t> dials_;  ///< number of each node's last dial
  uint64_t links_ = 0;
};

}  // namespace troupe
