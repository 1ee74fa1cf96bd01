// Which groups a router is linked to: dials the endpoints of the routing table, greets them,
// fetches each model's bundle once, and says when a link is up or gone. A group with other weights
// than the model is served with is not dialled; one that was linked before stays, for what runs
// there. Pure; owned by the router actor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/messages.h"
#include "config/limits.h"

namespace troupe {

namespace dialer_in {
struct Routing {
  RoutingTable table;
};
/// The dial ordered for this process ended.
struct Dialled {
  GroupId group;
  Incarnation incarnation;
  bool ok = false;
};
struct Greeted {
  GroupId group;
  Incarnation incarnation;
  HelloReply reply;
};
struct Lost {
  GroupId group;
  Incarnation incarnation;
};
struct Chunk {
  GroupId group;
  Incarnation incarnation;
  BundleChunk chunk;
};
/// The shell serves the model by the bundle it was handed.
struct BundleServed {
  GroupId group;
  Incarnation incarnation;
};
/// It can't: the bundle is fetched anew after a back-off.
struct BundleRefused {
  GroupId group;
  Incarnation incarnation;
  std::string why;
};
struct Tick {};
}  // namespace dialer_in
using DialerInput = std::variant<dialer_in::Routing, dialer_in::Dialled, dialer_in::Greeted,
                                 dialer_in::Lost, dialer_in::Chunk, dialer_in::BundleServed,
                                 dialer_in::BundleRefused, dialer_in::Tick>;

namespace dialer_out {
struct Dial {
  GroupId group;
  Incarnation incarnation;
  std::string socket;
};
/// Drop the link and forget the peer.
struct Close {
  GroupId group;
  Incarnation incarnation;
};
struct SendHello {
  GroupId group;
  Incarnation incarnation;
};
struct SendBundleRequest {
  GroupId group;
  Incarnation incarnation;
  BundleRequest request;
};
/// A whole bundle arrived undamaged; the shell makes a served model of it and says whether it
/// could: BundleServed or BundleRefused. Until then the link is not up.
struct Bundle {
  GroupEndpoint endpoint;
  Digest digest{};
  std::vector<std::byte> bytes;
};
struct LinkUp {
  GroupId group;
  Incarnation incarnation;
};
struct LinkDown {
  GroupId group;
  Incarnation incarnation;
};
/// For the log.
struct Event {
  std::string text;
};
}  // namespace dialer_out
using DialerEffect = std::variant<dialer_out::Dial, dialer_out::Close, dialer_out::SendHello,
                                  dialer_out::SendBundleRequest, dialer_out::Bundle,
                                  dialer_out::LinkUp, dialer_out::LinkDown, dialer_out::Event>;

class GroupDialer {
 public:
  explicit GroupDialer(double timing_scale = 1)
      : answer_within_(scaled(kHandshakeTimeout, timing_scale)) {}

  void step(Time now, const DialerInput& input, std::vector<DialerEffect>& out);
  std::optional<Time> deadline() const;
  /// A dial of this process is still wanted: the shell drops the end of any other.
  bool dialling(GroupId group, Incarnation incarnation) const;
  void check() const;

 private:
  enum class State : uint8_t { waiting, dialling, greeting, fetching, opening, up };
  struct Peer {
    GroupEndpoint endpoint;
    State state = State::waiting;
    bool fits = true;  ///< has_serving_weights
    int failures = 0;
    int refusals = 0;  ///< bundles in a row of this process that could not be used
    Time due{};        ///< waiting: dial then; others: give up then
    std::vector<std::byte> bundle;
    uint64_t total = 0;

    /// Something is done at `due`.
    bool wants_time() const { return state == State::waiting ? fits : state != State::up; }
  };
  void on_routing(Time now, const RoutingTable& table, std::vector<DialerEffect>& out);
  void on_greeted(Time now, const dialer_in::Greeted& greeted, std::vector<DialerEffect>& out);
  void on_chunk(Time now, const dialer_in::Chunk& got, std::vector<DialerEffect>& out);
  void on_served(const dialer_in::BundleServed& served, std::vector<DialerEffect>& out);
  void refuse_bundle(Time now, Peer& peer, const std::string& why, std::vector<DialerEffect>& out);
  void serve_from(Peer& peer, std::vector<DialerEffect>& out);
  void retry(Time now, Peer& peer, std::string why, std::vector<DialerEffect>& out);
  void remove(std::map<GroupId, Peer>::iterator at, std::vector<DialerEffect>& out);
  Peer* current(GroupId group, Incarnation incarnation);

  Duration answer_within_;  ///< each of a dial, a greeting and a chunk
  Incarnation node_;
  uint64_t version_ = 0;
  std::map<GroupId, Peer> peers_;
  std::map<std::string, Digest> have_;  ///< weights of each model that is served
};

}  // namespace troupe
