#include "actors/supervisor_actor.h"

#include <doctest/doctest.h>

#include "tests/actors/fixture.h"

using namespace troupe;
using troupe::testing::Recorder;
using troupe::testing::Stage;

namespace supervisor_actor_test {
namespace {

struct Scene {
  Stage stage;
  std::vector<std::unique_ptr<Recorder>> recorders;
  std::vector<SpawnCommand> spawned;
  std::vector<EndCommand> ended;
  std::vector<ShareCommand> shared;
  std::vector<Error> load_failures;
  int stopped = 0;
  uint64_t next_incarnation = 100;
  std::shared_ptr<SharedTree> tree = std::make_shared<SharedTree>();
  caf::actor supervisor;

  explicit Scene(int32_t ranks = 1, decltype(SupervisorActorConfig::prepare) prepare = {}) {
    SupervisorActorConfig config;
    NodeSupervisorConfig& m = config.machine;
    m.cluster = "demo";
    m.node = "n1";
    m.build = "b1";
    m.wire_version = kWireVersion;
    m.incarnation = Incarnation(1);
    HeadedGroup group;
    group.order.model = "m";
    group.ranks = ranks;
    m.groups = {group};
    for (int32_t rank = 0; rank < ranks; ++rank) {
      const std::string name = "n1/shard/m.0." + std::to_string(rank);
      m.children.push_back({name, Role::shard, GroupId(0), rank});
      config.starts[name].process = name;
    }
    config.prepare = std::move(prepare);
    config.spawn = [this](SpawnCommand command) { spawned.push_back(std::move(command)); };
    config.end = [this](EndCommand command) { ended.push_back(std::move(command)); };
    config.share = [this](ShareCommand command) { shared.push_back(std::move(command)); };
    config.draw_incarnation = [this] { return Incarnation(next_incarnation++); };
    config.tree = tree;
    config.serving = [](const std::string&) {};
    config.load_failed = [this](const Error& error) { load_failures.push_back(error); };
    config.stopped = [this] { ++stopped; };
    supervisor = stage.system.spawn<SupervisorActor>(std::move(config));
    stage.drain();
    tell(node_in::Start{});
  }
  ~Scene() {
    caf::anon_send_exit(supervisor, caf::exit_reason::kill);
    for (auto& recorder : recorders) caf::anon_send_exit(recorder->handle, caf::exit_reason::kill);
    stage.drain();
  }
  void tell(NodeInput input) {
    caf::anon_send(supervisor, local(std::move(input)));
    stage.drain();
  }
  /// A spawned process comes up and greets.
  Recorder* greet() { return greet(spawned.back()); }
  Recorder* greet(const SpawnCommand& last) {
    tell(node_in::Spawned{last.child, last.incarnation, 4711});
    Recorder* child = Recorder::spawn(stage, recorders);
    Hello hello{"demo", kWireVersion, "b1", "n1", Role::shard, last.child, last.incarnation, {}};
    caf::send_as(child->handle, supervisor, wire(last.incarnation, hello));
    stage.drain();
    return child;
  }
};

}  // namespace

TEST_CASE(
    "supervisor actor: starts its child with a fresh incarnation and orders the load after its "
    "Hello") {
  Scene scene;
  REQUIRE(scene.spawned.size() == 1);
  CHECK(scene.spawned[0].child == "n1/shard/m.0.0");
  auto start = decode_child_start(scene.spawned[0].start_packet);
  REQUIRE(start.has_value());
  CHECK(start->incarnation == Incarnation(100));
  CHECK(start->role == Role::shard);
  Recorder* child = scene.greet();
  REQUIRE(child->all<HelloReply>().size() == 1);
  CHECK(child->all<HelloReply>()[0].accepted);
  REQUIRE(child->all<LoadOrder>().size() == 1);
  CHECK(child->all<LoadOrder>()[0].generation == Generation(1));
}

TEST_CASE(
    "supervisor actor: a child that exits is spawned again after its back-off, under a new "
    "generation") {
  Scene scene;
  scene.greet();
  scene.tell(node_in::Exited{"n1/shard/m.0.0", Incarnation(100), "signal 9 (Killed)"});
  CHECK(scene.spawned.size() == 1);
  scene.stage.advance(kRespawnFirst + 50ms);
  REQUIRE(scene.spawned.size() == 2);
  CHECK(scene.spawned[1].incarnation == Incarnation(101));
  Recorder* child = scene.greet();
  REQUIRE(child->all<LoadOrder>().size() == 1);
  CHECK(child->all<LoadOrder>()[0].generation == Generation(2));
  CHECK(scene.tree->get().actors.back().restarts == 1);
  CHECK(scene.tree->get().actors.back().last_error == "signal 9 (Killed)");
}

TEST_CASE("supervisor actor: a process that needs something first starts once that is there") {
  std::function<void()> there;
  Scene scene(1, [&](ChildStart start, std::function<void(const ChildStart&)> go) {
    CHECK(start.process == "n1/shard/m.0.0");
    there = [start, go]() mutable {
      start.model_file = "/models/right.gguf";
      go(start);
    };
  });
  CHECK(scene.spawned.empty());
  scene.tell(node_in::SpawnWaits{"n1/shard/m.0.0", "its file is missing"});
  CHECK(scene.tree->get().actors.back().reason == "its file is missing");
  REQUIRE(there);
  there();
  REQUIRE(scene.spawned.size() == 1);
  CHECK(scene.spawned[0].child == "n1/shard/m.0.0");
  const auto start = decode_child_start(scene.spawned[0].start_packet);
  REQUIRE(start.has_value());
  CHECK(start->model_file == "/models/right.gguf");
  CHECK(start->incarnation == scene.spawned[0].incarnation);
}

TEST_CASE("supervisor actor: a child that stops beating is ended by force") {
  Scene scene;
  scene.greet();
  scene.stage.advance(kDeadAfter + 200ms);
  REQUIRE(scene.ended.size() == 1);
  CHECK(scene.ended[0].child == "n1/shard/m.0.0");
  CHECK(scene.ended[0].incarnation == Incarnation(100));
  CHECK(scene.ended[0].force);
}

TEST_CASE("supervisor actor: after a drain and the child's exit it reports itself stopped, once") {
  Scene scene;
  scene.greet();
  scene.tell(node_in::Drain{});
  REQUIRE(scene.ended.size() == 1);
  CHECK_FALSE(scene.ended[0].force);
  CHECK(scene.stopped == 0);
  scene.tell(node_in::Exited{"n1/shard/m.0.0", Incarnation(100), "exit status 0"});
  CHECK(scene.stopped == 1);
  scene.stage.advance(1s);
  CHECK(scene.stopped == 1);
  CHECK(scene.spawned.size() == 1);
}

TEST_CASE("supervisor actor: ranks of a group get one memory, which ends with their generation") {
  Scene scene(2);
  REQUIRE(scene.spawned.size() == 2);
  scene.greet(scene.spawned[0]);
  CHECK(scene.shared.empty());
  scene.greet(scene.spawned[1]);
  REQUIRE(scene.shared.size() == 2);
  std::vector<std::shared_ptr<ShmMap>> maps;
  for (size_t rank = 0; rank < 2; ++rank) {
    const ShareCommand& command = scene.shared[rank];
    CHECK(command.child == scene.spawned[rank].child);
    CHECK(command.incarnation == scene.spawned[rank].incarnation);
    CHECK(command.group == GroupId(0));
    CHECK(command.generation == Generation(1));
    auto map = ShmMap::open(command.memory.get());
    REQUIRE(map.has_value());
    CHECK((*map)->ranks() == 2);
    CHECK((*map)->generation() == 1);
    maps.push_back(*map);
  }
  maps[0]->control().ranks = 77;  // one and the same memory
  CHECK(maps[1]->control().ranks == 77);
  maps[0]->control().ranks = 2;
  CHECK(maps[0]->control().aborted.load() == 0);
  scene.tell(node_in::Exited{scene.spawned[1].child, scene.spawned[1].incarnation, "signal 9"});
  CHECK(maps[0]->control().aborted.load() == 1);
}

}  // namespace supervisor_actor_test
