// The kinds of process around their machines, as thin as the real shells: receive, step, perform
// effects, keep one timer. check() runs after every step.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "cluster/batcher.h"
#include "cluster/failure_detector.h"
#include "cluster/node_supervisor.h"
#include "cluster/router.h"
#include "model/oracle/oracle_partition.h"
#include "tests/sim/rank_mesh.h"
#include "tests/sim/rank_plane.h"
#include "tests/sim/tamper.h"
#include "tests/sim/world.h"

namespace troupe::sim {

struct Clients;
struct NodeHost;
struct RouterHost;
struct ShardHost;

/// One host: its node and what outlives its processes.
struct Site {
  int host = 0;
  NodeSupervisorConfig config;        ///< incarnation is drawn anew for each life of the node
  std::shared_ptr<NodeHost> node;     ///< of the present or the last life; null: it never came
  std::map<std::string, int> deaths;  ///< by child, this life of the node
  bool stopped = false;               ///< after a drain

  bool alive() const;
};

struct Cluster {
  Cluster(World& w, Clients& c, Tamper& t) : world(w), clients(c), tamper(t) {}
  ~Cluster();
  World& world;
  Clients& clients;
  Tamper& tamper;
  std::deque<Site> sites;  ///< by host; never moved
  BatcherConfig batcher;   ///< group, generation and epoch are filled in
  std::map<Digest, std::shared_ptr<const CachedResponse>> cache;
  std::map<SequenceKey, size_t> journalled;  ///< tokens a node has acknowledged
  uint64_t peer_links = 0;                   ///< numbers of links between nodes
  RankMesh mesh;
  int node_deaths = 0;
  int hangs = 0;               ///< of supervisors, that another node had to notice
  Only only = Only::anything;  ///< else no node may be found dead

  bool several() const { return sites.size() > 1; }
  void start_node(Site& site);
  /// It comes back after a while.
  void kill_node(Site& site, World::Death how, Duration back_after);
  /// What the others must see of a supervisor that has hung since then.
  void check_hung(const std::shared_ptr<NodeHost>& node, Time since);
  Site& site_of(const std::string& node);
  const Site& site_of(const std::string& node) const;
  size_t groups() const;  ///< of all sites
  /// That have a rank on this node.
  size_t groups_with(const std::string& node) const;
  std::vector<std::shared_ptr<RouterHost>> routers() const;
  std::vector<std::shared_ptr<ShardHost>> shards() const;
  /// The process that carries the streams of this host runs.
  bool carries(int host) const;
  /// So it does at both, and the ways are open.
  bool reachable(int from, int to) const;
  void link_died(int host);
  /// Every node is up and knows of every other that all is well with it; all groups serve.
  bool formed() const { return unformed().empty(); }
  std::string unformed() const;  ///< why not, for people
  /// Of all processes but links, and of groups: their incarnations and generations.
  std::map<std::string, uint64_t> lives() const;
  /// Nobody computes and every group serves.
  bool at_rest() const { return unrest().empty(); }
  std::string unrest() const;

 private:
  /// A generation of a group that had a rank on a dead node.
  struct Orphan {
    Incarnation head;  ///< the node's
    GroupId group;
    Generation generation;
    bool operator==(const Orphan&) const = default;
  };
  using Orphaned = std::vector<Orphan>;
  Orphaned orphaned_by(const std::string& node) const;
  void check_left(Site& site, const std::set<Incarnation>& dead, const Orphaned& orphaned,
                  Time died) const;
};

/// One outstanding timer; the newest wins.
struct Timer {
  uint64_t version = 0;
  Time armed = Time::max();
  Time ticked{};
  int spins = 0;  ///< ticks at one and the same time
};

struct NodeHost : Process, std::enable_shared_from_this<NodeHost> {
  NodeHost(Cluster& c, Site& s, NodeSupervisorConfig config);
  void resumed(Duration pause) override;
  // -- beats: node_hangs.cpp
  /// To the other nodes, from a thread of their own: the supervisor's pauses do not stop them.
  void beat_nodes();
  /// Its actors stand still, its beats go on.
  void hang(Duration lasts);
  // --
  void input(NodeInput in);
  void note_journal(const NodeInput& in, const NodeEffects& effects);
  void detect(const DetectorInput& in);
  void perform(NodeEffects effects);
  void perform_one(const NodeEffect& effect);
  void spawn(const ChildSpec& child);
  void end(const std::string& child, Incarnation incarnation, Duration after);
  void arm();
  // -- other nodes: peer_links.cpp
  void dial(const std::string& node);
  void try_dial(const std::string& node, uint64_t number, Time until);
  void connect(Site& there);
  void dialled(const std::string& node, uint64_t dial, PeerLinkId link);
  void say(const node_out::ToPeer& to);
  void hear(PeerLinkId link, const std::string& node, Incarnation incarnation,
            const Message& message);
  void lose(PeerLinkId link);
  void drop_links(const std::string& node, PeerLinkId only);

  Cluster& cluster;
  Site& site;
  NodeSupervisor machine;
  FailureDetector detector;
  Timer timer, detector_timer;
  bool hangs = false;
  struct Child {
    ProcessPtr process;
    LinkPtr link;
  };
  std::map<std::string, Child> children;  ///< the newest process of each
  RankPlanes planes;
  struct PeerLink {
    std::string node;
    LinkPtr link;
    std::shared_ptr<NodeHost> other;
    PeerLinkId other_link;    ///< its number there
    Incarnation incarnation;  ///< heard over it; zero: none yet
  };
  std::map<PeerLinkId, PeerLink> peer_links;
  std::map<std::string, uint64_t> dials;  ///< number of the last dial; an older one's end is stale
};

/// What a router and a shard process have in common: a parent.
struct ChildHost : Process, std::enable_shared_from_this<ChildHost> {
  ChildHost(Cluster& c, std::shared_ptr<NodeHost> parent, ChildSpec spec, Incarnation i);
  void start();
  void beat();
  void tell_node(Message message);
  virtual void from_node(const Message& message) = 0;

  Cluster& cluster;
  std::shared_ptr<NodeHost> parent;
  ChildSpec spec;
  LinkPtr node_link;
};

/// Carries the streams between hosts. Killed, they break; stopped, they stand still.
struct LinkHost final : ChildHost {
  using ChildHost::ChildHost;
  void from_node(const Message& message) override;
  void stopping() override { world.freeze(host); }
  void resumed(Duration) override { world.thaw(host); }
};

struct RouterHost final : ChildHost {
  RouterHost(Cluster& c, std::shared_ptr<NodeHost> parent, ChildSpec spec, Incarnation i);
  void from_node(const Message& message) override;
  void input(RouterInput in);
  void perform(RouterEffects effects);
  void perform_one(const RouterEffect& effect);
  void follow(const RoutingTable& table);
  void dial(const GroupEndpoint& endpoint);
  void unlink(GroupId group);
  void arm();
  void note_stale(const RouterInput& in);

  Router machine;
  Timer timer;
  RoutingTable table;
  std::map<GroupId, std::pair<Incarnation, LinkPtr>> links;
  std::set<GroupId> dialling;
  std::map<SequenceKey, AttemptId> latest;  ///< attempt placed last
  uint64_t stale_expected = 0;
};

struct ShardHost final : ChildHost {
  ShardHost(Cluster& c, std::shared_ptr<NodeHost> parent, ChildSpec spec, Incarnation i);
  void from_node(const Message& message) override;
  void load();
  // -- one of several ranks: shard_ranks.cpp
  /// Until it has what it needs to load.
  void prepare();
  /// The lifeline brings its generation's memory.
  void offered(std::shared_ptr<RankPlane> memory);
  void join(const RankJoin& others);
  void dial_others();
  void fail_load(Error error);
  void take_part();
  /// The generation of this memory is over.
  void dismissed(const std::shared_ptr<RankPlane>& memory);
  void watch_others();
  void let_go(const std::string& why);
  /// False: the step can't end now.
  bool others_step();
  // --
  /// A router's connection; false: not listening yet.
  bool accept(const std::shared_ptr<RouterHost>& router, LinkPtr link);
  void input(BatcherInput in);
  void perform(BatcherEffects effects);
  void perform_one(const BatcherEffect& effect);
  void run(const batcher_out::RunStep& step);
  void start_ready();
  void finish_oldest();
  void arm();

  std::optional<Batcher> batcher;  ///< rank 0, once loaded
  BatcherConfig config;
  std::unique_ptr<OraclePartition> partition;
  std::deque<std::shared_ptr<const StepPlan>> plans;  ///< of the device, oldest first
  size_t started = 0;                                 ///< of them: those that run, one a stage
  bool hung = false;                                  ///< its device never ends a step again
  std::vector<Time> stage_free{};  ///< by stage of the device: when it has done what it has
  std::optional<Generation> serving;
  std::optional<LoadOrder> order;           ///< the only one of its life
  std::shared_ptr<RankPlane> offer, plane;  ///< that came; that it loads with
  bool awaits_memory = false;
  std::optional<HostPort> address;  ///< where it listens
  std::optional<RankJoin> joined;   ///< where the others do
  bool alone = false;               ///< of rank 0: no step of it ends well any more
  Timer timer;
  std::map<RouterId, LinkPtr> routers;
};

/// After a step: when to tick next. A machine that wants a tick at once again and again does not
/// move on.
template <class Host>
void arm_timer(Host& host, Timer& timer, std::optional<Time> due, std::function<void()> tick) {
  World& world = host.world;
  if (!due) {
    ++timer.version;
    timer.armed = Time::max();
    return;
  }
  const Time when = std::max(*due, world.now()) + world.between(0us, 1ms);
  timer.armed = when;
  world.at(when,
           [&world, process = host.shared_from_this(), &timer, version = ++timer.version, tick] {
             world.post(process, Duration{}, [&world, process, &timer, version, tick] {
               if (timer.version != version) return;
               timer.spins = timer.ticked == world.now() ? timer.spins + 1 : 0;
               timer.ticked = world.now();
               world.expect(timer.spins < 20, "{} spins: its deadline does not move past the clock",
                            process->name);
               tick();
             });
           });
}

}  // namespace troupe::sim
