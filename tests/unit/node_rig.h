// A NodeSupervisor under test: one router, group 0 of one rank and group 1 of two. Steps are
// checked; effects of the last step are kept.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "cluster/node_supervisor.h"
#include "tests/support/all_of_kind.h"

namespace troupe::test {

inline NodeSupervisorConfig node_config() {
  NodeSupervisorConfig config;
  config.cluster = "demo";
  config.node = "n1";
  config.build = "b1";
  config.wire_version = 1;
  config.incarnation = Incarnation(1);
  config.children = {{"n1/router", Role::router, {}, 0},
                     {"n1/shard/m.0.0", Role::shard, GroupId(0), 0},
                     {"n1/shard/m.1.0", Role::shard, GroupId(1), 0},
                     {"n1/shard/m.1.1", Role::shard, GroupId(1), 1}};
  for (uint32_t id : {0u, 1u}) {
    HeadedGroup group;
    group.order.group = GroupId(id);
    group.order.model = "m";
    group.ranks = static_cast<int32_t>(id) + 1;
    group.socket = "/run/g" + std::to_string(id);
    config.groups.push_back(group);
  }
  return config;
}

class NodeRig {
 public:
  NodeRig() : NodeRig(node_config()) {}
  explicit NodeRig(NodeSupervisorConfig config) : machine(std::move(config)) {}
  NodeSupervisor machine;
  NodeEffects effects;
  Time now{};

  inline static const std::string kRouter = "n1/router", kSolo = "n1/shard/m.0.0",
                                  kFirst = "n1/shard/m.1.0", kSecond = "n1/shard/m.1.1",
                                  kLink = "n1/link";  ///< only where a test adds it

  void step(const NodeInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  void wait(Duration d) {
    now += d;
    step(node_in::Tick{});
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  /// Messages of one kind sent to a child in the last step.
  template <class M>
  std::vector<M> sent(const std::string& child) const {
    std::vector<M> found;
    for (const auto& to : all<node_out::ToChild>())
      if (auto* m = std::get_if<M>(&to.message); m && to.child == child) found.push_back(*m);
    return found;
  }
  Incarnation incarnation(const std::string& child) const {
    return machine.membership().find(child)->incarnation;
  }
  std::string event(const std::string& what) const {
    for (const auto& e : all<node_out::Event>())
      if (e.what == what) return e.detail;
    return {};
  }

  void spawned(const std::string& child) {
    ++next_;
    step(node_in::Spawned{child, Incarnation(next_), static_cast<int64_t>(next_)});
  }
  Hello hello_of(const std::string& child) const {
    Hello h{"demo", 1, "b1", "n1", Role::shard, child, incarnation(child), {}};
    if (child == kRouter) h.role = Role::router;
    if (child == kLink) h.role = Role::link;
    return h;
  }
  void from(const std::string& child, Message message) {
    step(node_in::FromChild{child, incarnation(child), std::move(message)});
  }
  void hello(const std::string& child) { from(child, hello_of(child)); }
  void join(const std::string& child) {
    spawned(child);
    hello(child);
  }
  LoadReport report(const std::string& child, bool ok) const {
    LoadReport r;
    for (const ChildSpec& spec : node_config().children)
      if (spec.name == child) r.group = spec.group, r.rank = spec.rank;
    r.generation = group(r.group.value).generation;
    r.ok = ok;
    if (!ok) r.error = {ErrorCode::not_found, "no such file", "source"};
    r.weights_id[0] = 5;
    r.context = 64;
    return r;
  }
  void loaded(const std::string& child) { from(child, report(child, true)); }
  void exit(const std::string& child, const std::string& how = "exit status 70") {
    step(node_in::Exited{child, incarnation(child), how});
  }
  const GroupEndpoint& group(uint32_t id) const { return machine.routing().groups.at(id); }
  /// Everything runs and every group is ready.
  void start_all() {
    step(node_in::Start{});
    for (const std::string& child : {kRouter, kSolo, kFirst, kSecond}) join(child);
    for (const std::string& child : {kSolo, kFirst, kSecond}) loaded(child);
    REQUIRE(group(0).state == GroupState::ready);
    REQUIRE(group(1).state == GroupState::ready);
  }

 private:
  uint64_t next_ = 100;
};

}  // namespace troupe::test
