// Who asks, and the proof: what each client may see is computed beforehand by the oracle's own
// formula, and every delivery is held against it. Also counts what a run reached, so that a quiet
// run cannot pass for a test.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/router.h"
#include "tests/sim/world.h"

namespace troupe::sim {

struct Cluster;
struct RouterHost;

/// How one request went for its client.
struct Asked {
  ClientRequest request;
  Incarnation router;
  std::shared_ptr<RouterHost> host;
  Time submitted{}, ended_at{};
  std::vector<TokenId>
      answer;        ///< of the oracle, without the end token; every choice gets the same
  std::string text;  ///< what the client sees in the end
  Finish finish = Finish::none;
  struct Choice {
    std::vector<TokenId> tokens;
    std::string text;
    Finish finish = Finish::none;
  };
  std::vector<Choice> choices;
  enum class End : uint8_t { open, complete, failed, gone, lost } end = End::open;
  ErrorCode error{};
};

struct Totals {
  uint64_t asked = 0, complete = 0, failed = 0, gone = 0, lost = 0, tokens = 0, retries = 0,
           cached = 0, coalesced = 0;
};

struct Clients {
  explicit Clients(World& w) : world(w) {}

  /// Asks a router of the cluster something; nothing happens when none is there.
  void ask(Cluster& cluster, bool demanding);
  void delivered(RouterHost& router, const router_out::Deliver& deliver);
  void failed(RouterHost& router, const router_out::Fail& fail);
  /// A router's process died: its clients' connections broke.
  void lost(const Process& process);
  void check_overdue();
  bool all_ended() const;

  World& world;
  std::map<RequestId, Asked> asked;
  Totals totals;
  bool calm = false;  ///< no fault was or will be injected: failures have no excuse

 private:
  Asked* open(const RouterHost& router, RequestId id, const char* what);
  void end(Asked& a, Asked::End how);
  void check_piece(Asked& a, const router_out::Piece& piece);
  void check_journalled(const RouterHost& router, const Asked& a);
};

}  // namespace troupe::sim
