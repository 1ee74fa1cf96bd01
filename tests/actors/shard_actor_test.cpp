#include "actors/shard_actor.h"

#include <doctest/doctest.h>

#include "model/oracle/oracle_reference.h"
#include "tests/actors/fixture.h"

using namespace troupe;
using troupe::testing::Recorder;
using troupe::testing::Stage;

namespace shard_actor_test {
namespace {

/// Answers a load as it is told to, at once.
class ScriptedLane final : public Lane {
 public:
  Result<LoadedModel> answer =
      fail(ErrorCode::data_loss, "model.gguf is truncated; download it again");
  LoadOrder order;
  std::optional<HostPort> listens;  ///< where it says to wait for other hosts
  std::optional<RankJoin> joined;
  void load(LoadOrder asked, std::function<void(HostPort)> listening,
            std::function<void(Result<LoadedModel>)> done) override {
    order = std::move(asked);
    if (listens) listening(*listens);
    done(answer);
  }
  void join(RankJoin join) override { joined = std::move(join); }
  void run(std::shared_ptr<const StepPlan>, Duration, std::function<void(BatcherInput)>) override {}
  Duration idle{};  ///< not 0 once it follows
  std::function<void()> stepped;
  std::function<void(Error)> ended;
  void follow(Duration most, std::function<void()> each, std::function<void(Error)> done) override {
    idle = most;
    stepped = std::move(each);
    ended = std::move(done);
  }
  void abort() noexcept override {}
};

struct Scene {
  Stage stage;
  std::vector<std::unique_ptr<Recorder>> recorders;
  std::shared_ptr<ScriptedLane> lane = std::make_shared<ScriptedLane>();
  Recorder* node = Recorder::spawn(stage, recorders);
  std::vector<int> exits;
  std::vector<caf::actor> published;
  caf::actor shard;

  Scene() {
    ShardActorConfig config;
    config.start.cluster = "demo";
    config.start.node = "n1";
    config.start.process = "n1/shard/oracle.0.0";
    config.start.role = Role::shard;
    config.start.incarnation = Incarnation(9);
    config.node = node->handle;
    config.lane = lane;
    config.publish = [this](const caf::actor& batcher) -> Result<void> {
      published.push_back(batcher);
      return {};
    };
    config.exit = [this](int code) { exits.push_back(code); };
    shard = stage.system.spawn<ShardActor>(std::move(config));
    stage.drain();
  }
  ~Scene() {
    for (const caf::actor& actor : published) caf::anon_send_exit(actor, caf::exit_reason::kill);
    caf::anon_send_exit(shard, caf::exit_reason::kill);
    caf::anon_send_exit(node->handle, caf::exit_reason::kill);
    published.clear();
    stage.drain();
  }
  void send(Message message) {
    caf::send_as(node->handle, shard, wire(Incarnation(1), std::move(message)));
    stage.drain();
  }
  static LoadOrder order() {
    LoadOrder o;
    o.group = GroupId(2);
    o.generation = Generation(5);
    o.model = "oracle";
    o.backend = "oracle";
    o.queue_max = 8;
    return o;
  }
};

}  // namespace

TEST_CASE("shard actor: greets its node first") {
  Scene scene;
  REQUIRE(scene.node->envelopes.size() == 1);
  auto hellos = scene.node->all<Hello>();
  REQUIRE(hellos.size() == 1);
  CHECK(hellos[0].process == "n1/shard/oracle.0.0");
  CHECK(hellos[0].incarnation == Incarnation(9));
}

TEST_CASE("shard actor: a refused Hello ends the process") {
  Scene scene;
  scene.send(HelloReply{Incarnation(1), false, "it is another build"});
  CHECK(scene.exits == std::vector<int>{70});
}

TEST_CASE("shard actor: a model that can't be loaded is reported, then the process ends") {
  Scene scene;
  scene.send(Scene::order());
  auto reports = scene.node->all<LoadReport>();
  REQUIRE(reports.size() == 1);
  CHECK_FALSE(reports[0].ok);
  CHECK(reports[0].generation == Generation(5));
  CHECK(reports[0].error.message == "model.gguf is truncated; download it again");
  CHECK(scene.exits.empty());
  scene.stage.advance(200ms);
  CHECK(scene.exits == std::vector<int>{70});
}

TEST_CASE("shard actor: a rank other than 0 follows, and its process ends with the generation") {
  Scene scene;
  LoadedModel loaded;
  loaded.bundle.manifest.weights_id[0] = 5;
  loaded.capabilities.numerics_id[0] = 6;
  loaded.capabilities.describe = "rank 1 of 2";
  loaded.plan.budget.context = 512;
  scene.lane->answer = loaded;
  LoadOrder order = Scene::order();
  order.rank = 1;
  order.tensor_parallel = 2;
  order.timing_scale = 2;
  scene.send(order);
  auto reports = scene.node->all<LoadReport>();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].ok);
  CHECK(reports[0].rank == 1);
  CHECK(reports[0].weights_id == loaded.bundle.manifest.weights_id);
  CHECK(reports[0].numerics_id == loaded.capabilities.numerics_id);
  CHECK(reports[0].context == 512);
  CHECK(scene.published.empty());  // no router ever speaks to it
  CHECK(scene.lane->idle == 2 * kFollowIdleMax);
  scene.lane->stepped();
  scene.stage.advance(1500ms);
  auto process = scene.node->all<ProcessReport>();
  REQUIRE(process.size() >= 1);
  REQUIRE(process.back().actors.size() == 1);
  CHECK(process.back().describe == "rank 1 of 2");
  scene.lane->ended({ErrorCode::deadline_exceeded, "rank 0 did not answer", ""});
  scene.stage.drain();
  auto faults = scene.node->all<StepFault>();
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].group == GroupId(2));
  CHECK(faults[0].generation == Generation(5));
  CHECK(faults[0].error.message == "rank 0 did not answer");
  CHECK(scene.exits.empty());
  scene.stage.advance(200ms);
  CHECK(scene.exits == std::vector<int>{70});
}

TEST_CASE("shard actor: a loaded model is published and reported under the order's generation") {
  Scene scene;
  LoadedModel loaded;
  loaded.bundle.spec = oracle_spec();
  loaded.plan.budget = {1, 64, 32, 4, 512, nullptr};
  loaded.plan.prefill_chunk = 16;
  loaded.plan.canary = 2s;
  loaded.capabilities.describe = "oracle";
  scene.lane->answer = loaded;
  scene.send(Scene::order());
  auto reports = scene.node->all<LoadReport>();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].ok);
  CHECK(reports[0].group == GroupId(2));
  CHECK(reports[0].generation == Generation(5));
  CHECK(reports[0].context == 512);
  CHECK(scene.published.size() == 1);
  SUBCASE("an abort of another generation changes nothing, its own ends the process") {
    scene.send(AbortOrder{GroupId(2), Generation(4)});
    CHECK(scene.exits.empty());
    scene.send(AbortOrder{GroupId(2), Generation(5)});
    CHECK(scene.exits == std::vector<int>{70});
  }
  SUBCASE("the end of a drain is told once the last tokens had time to leave") {
    caf::anon_send(scene.shard, local(batcher_out::Drained{}));
    scene.stage.drain();
    CHECK(scene.node->all<Drained>().empty());
    scene.stage.advance(100ms);
    REQUIRE(scene.node->all<Drained>().size() == 1);
    CHECK(scene.node->all<Drained>()[0].process == "n1/shard/oracle.0.0");
    CHECK(scene.exits.empty());
  }
  SUBCASE("a report with both actors goes to the node each second") {
    scene.stage.advance(2500ms);
    auto process = scene.node->all<ProcessReport>();
    REQUIRE(process.size() >= 2);
    REQUIRE(process.back().actors.size() == 2);
    CHECK(process.back().actors[0].id == "n1/batcher/oracle.2");
    CHECK(process.back().actors[1].id == "n1/shard/oracle.0.0");
    CHECK(process.back().describe == "oracle");
  }
}

TEST_CASE("shard actor: a rank tells where it waits for other hosts, and its lane who they are") {
  Scene scene;
  scene.lane->listens = HostPort{"10.0.0.2", 7501};
  LoadOrder order = Scene::order();
  order.rank = 1;
  order.tensor_parallel = 2;
  order.hosts = {0, 1};
  scene.send(order);
  const auto told = scene.node->all<RankListening>();
  REQUIRE(told.size() == 1);
  CHECK(told[0] == RankListening{GroupId(2), Generation(5), 1, {"10.0.0.2", 7501}});
  CHECK(scene.lane->order.hosts == std::vector<int32_t>{0, 1});
  CHECK(!scene.lane->joined);
  const RankJoin join{GroupId(2), Generation(5), {{"10.0.0.1", 7500}, {"10.0.0.2", 7501}}, {}};
  scene.send(join);
  REQUIRE(scene.lane->joined);
  CHECK(*scene.lane->joined == join);
}

}  // namespace shard_actor_test
