// What a router knows of the groups: the node's routing table, links and statuses, and from these
// which are ready. Ready needs all three: the table says so, the link to that process is up, and
// its step progress is fresh. Pure; owned by the Router machine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/group_choice.h"
#include "cluster/messages.h"
#include "cluster/router.h"

namespace troupe {

/// Where a request was placed. Messages from elsewhere, or from another life of the group, are
/// stale.
struct Place {
  GroupId group;
  Incarnation incarnation;
  Generation generation;
  bool operator==(const Place&) const = default;
};

class GroupTable {
 public:
  explicit GroupTable(const Limits& limits);

  /// False: stale, nothing changed.
  bool set_table(Time now, const RoutingTable& table);
  /// False: about another life of the link, nothing changed.
  bool set_link(GroupId group, Incarnation incarnation, bool up);
  /// False: not from the present link, or of an older generation.
  bool set_status(Time now, Incarnation incarnation, const GroupStatus& status);
  bool link_is(GroupId group, Incarnation incarnation) const;

  /// The generation ended before the table says so.
  void generation_died(const Place& place);
  /// No new work before `until`.
  void hold(GroupId group, Time until);
  /// Prompt tokens to be computed, sent since its last status.
  void add_queued(GroupId group, int64_t tokens, int32_t sequences);

  bool knows_model(std::string_view model) const;
  /// Some group of the model is ready or may become so by itself.
  bool may_serve(std::string_view model) const;
  /// Empty when ready; else why not, for people.
  std::string why_not_ready(GroupId group, Time now) const;
  /// Groups that take new work now, with their load; what depends on the request is left to the
  /// caller.
  std::vector<GroupCandidate> candidates(std::string_view model, Time now) const;
  std::optional<Place> place_of(GroupId group) const;
  const GroupEndpoint* endpoint(GroupId group) const;
  const GroupStatus* status(GroupId group) const;

  /// Whether sequences placed there may still be running.
  bool alive(const Place& place) const;
  /// When it began to drain.
  std::optional<Time> draining_since(GroupId group) const;
  /// Next end of a hold after `now`.
  std::optional<Time> next_hold_end(Time now) const;

  std::vector<ModelReadiness> readiness(Time now) const;

 private:
  struct Group {
    std::optional<GroupEndpoint> endpoint;
    bool fits = true;  ///< its weights are those the model is served with
    std::optional<Incarnation> link;
    std::optional<GroupStatus> status;
    Time status_at{};
    std::optional<Place> dead;
    Time held_until{};
    std::optional<Time> draining, slow;
    int64_t sent_tokens = 0;
    int32_t sent_sequences = 0;
  };
  static bool is_dead(const Group& group, Incarnation process, Generation generation);
  std::string why_not_ready(const Group& group, Time now) const;
  void mark_draining(Group& group, Time now);
  void mark_slow(const std::string& model, Time now);

  Limits limits_;
  std::optional<Incarnation> node_;
  uint64_t version_ = 0;
  std::map<GroupId, Group> groups_;
};

}  // namespace troupe
