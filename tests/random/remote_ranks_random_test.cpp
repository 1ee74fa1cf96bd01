// A head and a node that runs two of its four ranks, over links that break at any moment and with
// processes and nodes that die: one generation serves in the end, and no process is told twice.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "cluster/rank_proxy.h"
#include "cluster/remote_ranks.h"

using namespace troupe;

namespace remote_ranks_random_test {
namespace {

constexpr GroupId kGroup(7);

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    for (int32_t rank = 0; rank < 4; ++rank) spawn(rank);
    relink();
  }

  void storm(int steps) {
    for (int i = 0; i < steps; ++i) {
      switch (random_() % 40) {
        case 0:
          kill(static_cast<int32_t>(random_() % 4), "killed");
          break;
        case 1:
          relink();
          break;
        case 2:
          head_dies();
          break;
        case 3:
          node_dies();
          break;
        case 4:
          suspect(static_cast<int32_t>(random_() % 4));
          break;
        default:
          turn();
      }
      now_ += 1ms;
    }
  }
  /// Until nothing is on its way any more.
  void settle() {
    for (auto& [rank, p] : processes_)
      if (p.suspect) suspect(rank);
    for (int i = 0; i < 4000 && !at_rest(); ++i) {
      turn();
      now_ += 5ms;
    }
  }
  void check_serving() {
    CHECK(name_of(group_->state()) == "ready");
    for (const auto& [rank, p] : processes_) {
      CHECK(p.generation == group_->generation());
      CHECK(p.met);
      CHECK(p.loaded);
    }
  }

 private:
  struct Process {
    uint64_t id = 0;  ///< 0: none; spawned again when `spawn_at` comes
    Generation generation;
    bool listens = false, told = false, met = false, loaded = false, ending = false,
         suspect = false;
    Time spawn_at{};
  };
  static bool local(int32_t rank) { return rank < 2; }
  bool at_rest() const {
    return to_node_.empty() && to_head_.empty() && group_->state() == GroupState::ready &&
           std::ranges::all_of(processes_, [](const auto& entry) {
             return entry.second.loaded && !entry.second.ending;
           });
  }

  void spawn(int32_t rank) {
    Process& p = processes_[rank];
    p = {};
    p.id = ++ids_;
    tell(rank, group_in::RankUp{rank, Incarnation(p.id)});
  }
  void kill(int32_t rank, const std::string& why) {
    Process& p = processes_[rank];
    if (p.id == 0) return;
    const Incarnation old(p.id);
    p = {};
    p.spawn_at = now_ + 20ms;
    tell(rank, group_in::RankLost{rank, old, why});
  }
  void suspect(int32_t rank) {
    Process& p = processes_[rank];
    if (p.id == 0) return;
    p.suspect = !p.suspect;
    tell(rank, group_in::RankSuspect{rank, Incarnation(p.id), p.suspect});
  }
  /// From a process or about it, to whoever watches over it.
  template <class Input>
  void tell(int32_t rank, Input input) {
    if (local(rank))
      head(input);
    else
      node(input);
  }
  void order(int32_t rank, Incarnation process, Generation generation) {
    Process& p = processes_[rank];
    if (Incarnation(p.id) != process) return;
    CHECK(p.generation == Generation());  // told twice
    p.generation = generation;
  }
  static HostPort place(const Process& p) { return {"h", static_cast<uint16_t>(p.id % 60000)}; }
  void join(int32_t rank, Incarnation process, const RankJoin& join) {
    Process& p = processes_[rank];
    if (Incarnation(p.id) != process) return;
    CHECK(p.listens);
    CHECK(!std::exchange(p.told, true));
    p.met = true;
    CHECK(join.generation == p.generation);
    REQUIRE(join.addresses.size() == 4);
    CHECK(join.addresses[static_cast<size_t>(rank)] == place(p));
    // The place of who is gone leads nowhere: then nobody has met all of them.
    for (const auto& [other, q] : processes_)
      p.met &=
          q.generation == p.generation && place(q) == join.addresses[static_cast<size_t>(other)];
  }
  void abort(int32_t rank, Incarnation process) {
    Process& p = processes_[rank];
    if (p.id != 0 && Incarnation(p.id) == process) p.ending = true;
  }

  void head(const GroupInput& input) {
    std::vector<GroupEffect> effects;
    group_->step(now_, input, effects);
    group_->check();
    for (const GroupEffect& effect : effects) {
      if (auto* load = std::get_if<group_out::Load>(&effect)) {
        LoadOrder order_to;
        order_to.group = kGroup;
        order_to.generation = load->generation;
        if (remote_->has(load->rank))
          remote_->load(*load, order_to);
        else
          order(load->rank, load->incarnation, load->generation);
      } else if (auto* meet = std::get_if<group_out::Join>(&effect)) {
        const RankJoin where{kGroup, meet->generation, meet->addresses, {}};
        if (remote_->has(meet->rank))
          remote_->join(meet->rank, where);
        else
          join(meet->rank, meet->incarnation, where);
      } else if (auto* gone = std::get_if<group_out::Abort>(&effect)) {
        if (remote_->has(gone->rank))
          remote_->end(gone->rank);
        else
          abort(gone->rank, gone->incarnation);
      } else if (auto* late = std::get_if<group_out::Kill>(&effect)) {
        if (remote_->has(late->rank)) remote_->end(late->rank);
      }
    }
    for (auto& [name, sent] : remote_->take_orders()) to_node_.push_back(sent);
  }
  void node(const ProxyInput& input) {
    std::vector<ProxyEffect> effects;
    proxy_->step(now_, input, effects);
    proxy_->check();
    bool formed = false;
    for (const ProxyEffect& effect : effects) {
      if (auto* told = std::get_if<proxy_out::Report>(&effect)) {
        to_head_.push_back(told->report);
      } else if (auto* load = std::get_if<proxy_out::Load>(&effect)) {
        CHECK(formed);
        order(load->order.rank, load->process, load->order.generation);
      } else if (auto* meet = std::get_if<proxy_out::Join>(&effect)) {
        join(meet->rank, meet->process, meet->join);
      } else if (auto* gone = std::get_if<group_out::Abort>(&effect)) {
        abort(gone->rank, gone->incarnation);
      } else if (std::holds_alternative<group_out::Form>(effect)) {
        CHECK(!shared_);
        formed = shared_ = true;
      } else if (std::holds_alternative<group_out::Disband>(effect)) {
        CHECK(shared_);
        shared_ = false;
      }
    }
  }

  /// One thing that was to happen happens.
  void turn() {
    const int32_t rank = static_cast<int32_t>(random_() % 4);
    Process& p = processes_[rank];
    switch (random_() % 4) {
      case 0:
        if (to_node_.empty()) break;
        {
          const RanksOrder next = to_node_.front();
          to_node_.pop_front();
          node(proxy_in::Ordered{next});
        }
        break;
      case 1:
        if (to_head_.empty()) break;
        {
          const RanksReport next = to_head_.front();
          to_head_.pop_front();
          for (const GroupInput& input : remote_->reported("n2", next)) head(input);
        }
        break;
      case 2:
        if (p.id == 0 && now_ >= p.spawn_at)
          spawn(rank);
        else if (p.id != 0 && p.ending)
          kill(rank, "exit status 70");
        break;
      default:
        if (p.id == 0 || p.ending || p.generation == Generation() || p.loaded) break;
        if (!std::exchange(p.listens, true)) {
          const Incarnation process(p.id);
          tell(rank, group_in::Listening{process, {kGroup, p.generation, rank, place(p)}});
        } else if (p.met) {
          p.loaded = true;
          LoadReport report;
          report.group = kGroup;
          report.generation = p.generation;
          report.rank = rank;
          report.ok = random_() % 8 != 0 || now_ > calm_;
          tell(rank, group_in::Loaded{Incarnation(p.id), report});
          if (!report.ok) kill(rank, "it could not load");
        }
    }
    head(group_in::Tick{});
    node(group_in::Tick{});
  }

  /// The link breaks with all that is on its way, and is made anew.
  void relink() {
    to_node_.clear();
    to_head_.clear();
    node(proxy_in::HeadJoined{});
    remote_->joined("n2");
    head(group_in::Tick{});
  }
  void head_dies() {
    for (int32_t rank : {0, 1}) processes_[rank] = {.spawn_at = now_ + 10ms};
    group_.emplace(kGroup, 4, 1.0, kNodes);
    remote_.emplace(kGroup, "n1", kNodes);
    node(proxy_in::HeadGone{});
    relink();
  }
  void node_dies() {
    for (int32_t rank : {2, 3}) processes_[rank] = {.spawn_at = now_ + 10ms};
    proxy_.emplace(kGroup, std::vector<int32_t>{2, 3}, 1.0);
    shared_ = false;
    to_node_.clear();
    to_head_.clear();
    for (const GroupInput& input : remote_->gone("n2", "it was found dead")) head(input);
    relink();
  }

  inline static const std::vector<std::string> kNodes{"n1", "n1", "n2", "n2"};
  static constexpr Time calm_{1s};
  std::mt19937_64 random_;
  Time now_{};
  uint64_t ids_ = 0;
  std::optional<ShardGroup> group_{std::in_place, kGroup, 4, 1.0, kNodes};
  std::optional<RemoteRanks> remote_{std::in_place, kGroup, "n1", kNodes};
  std::optional<RankProxy> proxy_{std::in_place, kGroup, std::vector<int32_t>{2, 3}, 1.0};
  std::map<int32_t, Process> processes_;
  bool shared_ = false;
  std::deque<RanksOrder> to_node_;
  std::deque<RanksReport> to_head_;
};

}  // namespace

TEST_CASE("remote ranks: after any storm all four ranks serve one generation") {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    CAPTURE(seed);
    World world(seed);
    world.storm(600);
    world.settle();
    world.check_serving();
  }
}

}  // namespace remote_ranks_random_test
