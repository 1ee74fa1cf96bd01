// Seeded histories of one node: NodeSupervisor with a GroupDialer in its router, and children that
// die, hang, load wrongly, repeat old messages and ignore orders. An own book of what each child
// was told and said is the oracle.
#include <doctest/doctest.h>

#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cluster/group_dialer.h"
#include "config/digest.h"
#include "tests/unit/node_rig.h"

using namespace troupe;

namespace node_random_test {
namespace {

/// One process as it really is.
struct Process {
  Incarnation incarnation;
  Role role = Role::shard;
  bool greeted = false, draining = false;
  Generation ordered;                ///< of its only LoadOrder
  std::optional<Time> dies;          ///< an End or Abort that it obeys
  std::optional<Generation> loaded;  ///< as the node was told, until it was told of an end
};

/// That the histories are worth something: summed over the seeds.
struct Tally {
  int ready = 0, suspect = 0, failed = 0, deaths = 0, links = 0, repeats = 0, cut_short = 0;
};

class World {
 public:
  World(uint64_t seed, Tally& tally)
      : tally_(tally), random_(seed), config_(test::node_config()), node_(config_) {}

  void run(int steps) {
    node(node_in::Start{});
    for (int i = 0; i < steps; ++i) {
      pass(Duration(static_cast<int64_t>(below(120)) * 1'000'000));
      fault();
      work();
    }
    heal();
    drain();
  }

 private:
  uint64_t below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(random_); }
  bool chance(double p) { return std::uniform_real_distribution<double>(0, 1)(random_) < p; }

  // -- the node --
  void node(const NodeInput& input) {
    if (auto* told = std::get_if<node_in::FromChild>(&input)) remember(*told);
    NodeEffects effects;
    node_.step(now_, input, effects);
    node_.check();
    for (NodeEffect& effect : effects) perform(effect);
    check_table(node_.routing());
  }
  void remember(const node_in::FromChild& said) {
    if (said_.size() == 64) said_.pop_front();
    said_.push_back(said);
  }
  void from(const std::string& child, Message message) {
    const node_in::FromChild said{child, processes_.at(child).incarnation, std::move(message)};
    node(said);
    if (processes_.contains(child) && chance(0.1)) node(said);
  }
  Process* alive(const std::string& child, Incarnation incarnation) {
    auto at = processes_.find(child);
    return at != processes_.end() && at->second.incarnation == incarnation ? &at->second : nullptr;
  }
  void perform(NodeEffect& effect) {
    if (auto* spawn = std::get_if<node_out::Spawn>(&effect)) {
      REQUIRE(!drained_at_);
      REQUIRE(!processes_.contains(spawn->child.name));
      REQUIRE(spawning_.insert(spawn->child.name).second);
    } else if (auto* end = std::get_if<node_out::End>(&effect)) {
      Process* process = alive(end->child, end->incarnation);
      REQUIRE(process);  // never a successor, never one that was reaped
      const Time at = now_ + (end->force || chance(0.5) ? Duration(1ms) : kAbortDeadline);
      process->dies = std::min(process->dies.value_or(at), at);
    } else if (auto* to = std::get_if<node_out::ToChild>(&effect)) {
      if (Process* process = alive(to->child, to->incarnation))
        told(to->child, *process, to->message);
    } else if (std::holds_alternative<node_out::Stopped>(effect)) {
      REQUIRE(drained_at_);
      REQUIRE(!stopped_);
      REQUIRE(processes_.empty());
      REQUIRE(spawning_.empty());
      stopped_ = true;
    }
  }
  void told(const std::string& child, Process& process, Message& message) {
    if (auto* order = std::get_if<LoadOrder>(&message)) {
      REQUIRE(process.ordered == Generation());  // a second order would end it
      REQUIRE(order->generation.value > 0);
      process.ordered = order->generation;
    } else if (std::holds_alternative<AbortOrder>(message)) {
      process.loaded.reset();
      if (chance(0.7)) process.dies = now_ + 1ms;  // else the node must see to it
    } else if (auto* table = std::get_if<RoutingTable>(&message)) {
      CHECK(child == test::NodeRig::kRouter);
      auto& seen = tables_[process.incarnation];
      REQUIRE((seen.version < table->version || seen == *table));
      seen = *table;
      dial(dialer_in::Routing{*table});
    } else if (std::holds_alternative<DrainOrder>(message)) {
      process.draining = true;
    }
  }
  /// Ready or suspect only while each rank is loaded under the current generation, as it was told.
  void check_table(const RoutingTable& table) {
    REQUIRE(table.version >= last_.version);
    REQUIRE((table.version > last_.version || table == last_));
    for (size_t i = 0; i < table.groups.size(); ++i) {
      const GroupEndpoint& group = table.groups[i];
      if (table.version > last_.version) {
        tally_.ready += group.state == GroupState::ready;
        tally_.suspect += group.state == GroupState::suspect;
        tally_.failed += group.state == GroupState::failed;
      }
      if (!last_.groups.empty()) REQUIRE(group.generation >= last_.groups[i].generation);
      if (group.state != GroupState::ready && group.state != GroupState::suspect) continue;
      for (const ChildSpec& child : config_.children) {
        if (child.role != Role::shard || child.group != group.group) continue;
        auto process = processes_.find(child.name);
        REQUIRE(process != processes_.end());
        REQUIRE(process->second.loaded == group.generation);
        if (child.rank == 0) REQUIRE(process->second.incarnation == group.incarnation);
      }
    }
    last_ = table;
  }

  // -- the children --
  void born(const std::string& child) {
    spawning_.erase(child);
    if (faulty_ && chance(0.1)) return node(node_in::SpawnFailed{child, "no memory"});
    Process process;
    process.incarnation = Incarnation(++next_);
    if (child == test::NodeRig::kRouter) {
      process.role = Role::router;
      dialer_ = GroupDialer();
      links_.clear();
    }
    processes_[child] = process;
    node(node_in::Spawned{child, process.incarnation, static_cast<int64_t>(next_)});
  }
  void die(const std::string& child) {
    const Incarnation incarnation = processes_.at(child).incarnation;
    processes_.erase(child);
    ++tally_.deaths;
    ended_.emplace_back(child, incarnation);
    node(node_in::Exited{child, incarnation, "signal 9 (SIGKILL)"});
    for (const ChildSpec& spec : config_.children)
      if (spec.name == child && spec.role == Role::shard && spec.rank == 0)
        dial(dialer_in::Lost{spec.group, incarnation});
  }
  /// What healthy children do: greet, load, answer dials, obey.
  void work() {
    for (const std::string& child : std::set<std::string>(spawning_))
      if (!faulty_ || chance(0.5)) born(child);
    for (const ChildSpec& spec : config_.children) {
      if (!processes_.contains(spec.name)) continue;
      Process& process = processes_.at(spec.name);
      if (process.dies && now_ >= *process.dies) {
        die(spec.name);
      } else if (!process.greeted) {
        if (faulty_ && chance(0.5)) continue;
        process.greeted = true;
        Hello hello{"demo", 1, "b1", "n1", spec.role, spec.name, process.incarnation, {}};
        from(spec.name, hello);
      } else if (process.ordered.value > 0 && !process.loaded && !process.dies &&
                 member(spec.name)) {
        load(spec, process);
      } else if (process.draining && router_drains_ && chance(0.3)) {
        from(spec.name, Drained{spec.name});
      }
    }
    answer_dials();
  }
  bool member(const std::string& child) {
    return node_.membership().is_member(child, processes_.at(child).incarnation);
  }
  void load(const ChildSpec& spec, Process& process) {
    LoadReport report;
    report.group = spec.group;
    report.rank = spec.rank;
    report.generation = process.ordered;
    report.ok = !faulty_ || chance(0.8);
    report.weights_id[0] = 5;
    if (report.ok)
      process.loaded = process.ordered;
    else
      process.dies = now_ + 50ms;
    from(spec.name, report);
  }

  // -- the router's dialer --
  void dial(const DialerInput& input) {
    std::vector<DialerEffect> effects;
    dialer_.step(now_, input, effects);
    dialer_.check();
    for (DialerEffect& effect : effects) {
      if (auto* up = std::get_if<dialer_out::LinkUp>(&effect)) {
        ++tally_.links;
        REQUIRE(links_.emplace(up->group, up->incarnation).second);
        REQUIRE(served_.contains({up->group, up->incarnation}));
      } else if (auto* down = std::get_if<dialer_out::LinkDown>(&effect)) {
        REQUIRE(links_.at(down->group) == down->incarnation);
        links_.erase(down->group);
      } else {
        dials_.push_back(std::move(effect));
      }
    }
  }
  void answer_dials() {
    if (!processes_.contains(test::NodeRig::kRouter)) {
      dials_.clear();
      return;
    }
    for (DialerEffect& effect : std::exchange(dials_, {})) {
      if (auto* order = std::get_if<dialer_out::Dial>(&effect)) {
        dial(dialer_in::Dialled{
            order->group, order->incarnation,
            serves(order->group, order->incarnation) && !(faulty_ && chance(0.2))});
      } else if (auto* hello = std::get_if<dialer_out::SendHello>(&effect)) {
        if (faulty_ && chance(0.1)) continue;
        const bool right = serves(hello->group, hello->incarnation);
        if (right) served_.insert({hello->group, hello->incarnation});
        dial(dialer_in::Greeted{hello->group,
                                hello->incarnation,
                                {right ? hello->incarnation : Incarnation(3), true, ""}});
      } else if (auto* ask = std::get_if<dialer_out::SendBundleRequest>(&effect)) {
        if (faulty_ && chance(0.1)) continue;
        BundleChunk chunk{ask->group, sha256(std::vector<std::byte>(9)), ask->request.offset, 9,
                          std::vector<std::byte>(3)};
        if (faulty_ && chance(0.1)) chunk.bytes[0] = std::byte{1};
        dial(dialer_in::Chunk{ask->group, ask->incarnation, chunk});
        if (chance(0.2)) dial(dialer_in::Chunk{ask->group, ask->incarnation, chunk});
      } else if (auto* bundle = std::get_if<dialer_out::Bundle>(&effect)) {
        const GroupEndpoint& of = bundle->endpoint;
        REQUIRE(bundle->bytes == std::vector<std::byte>(9));
        if (faulty_ && chance(0.1)) {
          dial(dialer_in::BundleRefused{of.group, of.incarnation, "it is odd"});
        } else {
          dial(dialer_in::BundleServed{of.group, of.incarnation});
        }
      }
    }
  }
  bool serves(GroupId group, Incarnation incarnation) {
    for (const ChildSpec& spec : config_.children)
      if (spec.role == Role::shard && spec.group == group && spec.rank == 0)
        return alive(spec.name, incarnation) && processes_.at(spec.name).loaded;
    return false;
  }

  // -- faults --
  void fault() {
    if (!chance(0.3)) return;
    const ChildSpec& spec = config_.children[below(config_.children.size())];
    auto at = processes_.find(spec.name);
    switch (below(8)) {
      case 0:  // an old message again, as it was
        if (!said_.empty()) {
          const node_in::FromChild old = said_[below(said_.size())];
          if (!alive(old.child, old.incarnation) || repeats(old)) {
            ++tally_.repeats;
            node(old);
          }
        }
        return;
      case 1:  // old news of an end
        if (!ended_.empty()) {
          const auto [child, incarnation] = ended_[below(ended_.size())];
          node(node_in::Exited{child, incarnation, "late"});
          node(node_in::LinkLost{child, incarnation});
          node(node_in::Judged{child, incarnation, Verdict::dead});
        }
        return;
      case 2:
        if (at != processes_.end()) die(spec.name);
        return;
      case 3:
        if (at == processes_.end() || !member(spec.name)) return;
        at->second.loaded.reset();
        return node(node_in::LinkLost{spec.name, at->second.incarnation});
      case 4:
        if (at == processes_.end()) return;
        at->second.loaded.reset();
        return node(node_in::Judged{spec.name, at->second.incarnation, Verdict::dead});
      case 5:
      case 6:
        if (at != processes_.end())
          node(node_in::Judged{spec.name, at->second.incarnation,
                               chance(0.5) ? Verdict::suspect : Verdict::alive});
        return;
      default:
        if (at != processes_.end() && at->second.loaded && chance(0.5)) {
          const Generation generation = *at->second.loaded;
          at->second.loaded.reset();
          return from(spec.name, StepFault{spec.group, generation, {}});
        }
        return node(node_in::Restart{spec.name});
    }
  }
  /// A fault said again would change what the book holds of a living process.
  static bool repeats(const node_in::FromChild& old) {
    return !std::holds_alternative<StepFault>(old.message) &&
           !std::holds_alternative<LoadReport>(old.message);
  }
  /// Time passes as a shell sees it: a Tick at each deadline.
  void pass(Duration d) {
    const Time until = now_ + d;
    for (;;) {
      std::optional<Time> due = node_.deadline();
      if (auto dialer = dialer_.deadline(); dialer && (!due || *dialer < *due)) due = dialer;
      for (const auto& [name, process] : processes_)
        if (process.dies && (!due || *process.dies < *due)) due = process.dies;
      if (!due || *due > until) break;
      now_ = std::max(now_, *due);
      node(node_in::Tick{});
      dial(dialer_in::Tick{});
      for (const auto& [name, process] : std::map<std::string, Process>(processes_))
        if (process.dies && now_ >= *process.dies) die(name);
    }
    now_ = until;
  }

  // -- after the faults --
  void heal() {
    faulty_ = false;
    for (auto& [name, process] : processes_)
      if (member(name)) node(node_in::Judged{name, process.incarnation, Verdict::alive});
    for (int i = 0; i < 4'000; ++i) {  // longer than a budget takes to come back
      pass(100ms);
      work();
    }
    for (const GroupEndpoint& group : node_.routing().groups) {
      CHECK_MESSAGE(group.state == GroupState::ready, group.reason);
      REQUIRE(links_.contains(group.group));
      CHECK(links_.at(group.group) == group.incarnation);
    }
  }
  void drain() {
    faulty_ = chance(0.5);
    router_drains_ = chance(0.5);
    if (faulty_) fault();
    drained_at_ = now_;
    node(node_in::Drain{});
    while (!stopped_ && now_ <= *drained_at_ + config_.limits.drain + kEndingMax) {
      pass(50ms);
      if (faulty_) fault();
      work();
    }
    REQUIRE(stopped_);
    tally_.cut_short += now_ - *drained_at_ >= config_.limits.drain;
    for (int i = 0; i < 10; ++i) {
      pass(60s);
      node(node_in::Drain{});
    }
  }

  Tally& tally_;
  std::mt19937_64 random_;
  NodeSupervisorConfig config_;
  NodeSupervisor node_;
  GroupDialer dialer_;
  Time now_{};
  uint64_t next_ = 100;
  bool faulty_ = true, router_drains_ = true, stopped_ = false;
  std::optional<Time> drained_at_;
  std::map<std::string, Process> processes_;
  std::set<std::string> spawning_;
  std::deque<node_in::FromChild> said_;
  std::vector<std::pair<std::string, Incarnation>> ended_;
  std::map<Incarnation, RoutingTable> tables_;  ///< the latest, by router process
  RoutingTable last_;
  std::vector<DialerEffect> dials_;
  std::map<GroupId, Incarnation> links_;
  std::set<std::pair<GroupId, Incarnation>> served_;
};

}  // namespace

TEST_CASE(
    "node: random exits, silences, repeats and orders ignored keep every promise, and it heals and "
    "drains") {
  const char* only = std::getenv("TROUPE_SEED");
  const uint64_t first = only ? std::strtoull(only, nullptr, 10) : 1, last = only ? first : 60;
  Tally tally;
  for (uint64_t seed = first; seed <= last; ++seed) {
    INFO("TROUPE_SEED=" << seed);
    World(seed, tally).run(400);
  }
  MESSAGE(tally.deaths << " deaths, " << tally.ready << " times ready, " << tally.suspect
                       << " suspect, " << tally.failed << " failed, " << tally.links << " links, "
                       << tally.repeats << " repeats, " << tally.cut_short << " drains cut short");
  if (only) return;
  CHECK(tally.ready > 200);
  CHECK(tally.suspect > 20);
  CHECK(tally.failed > 5);
  CHECK(tally.links > 200);
  CHECK(tally.repeats > 100);
  CHECK(tally.cut_short > 5);
}

}  // namespace node_random_test
