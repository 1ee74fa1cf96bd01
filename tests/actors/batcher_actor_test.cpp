#include "actors/batcher_actor.h"

#include <doctest/doctest.h>

#include "model/oracle/oracle_reference.h"
#include "tests/actors/fixture.h"
#include "tests/actors/inline_lane.h"

using namespace troupe;
using troupe::testing::InlineLane;
using troupe::testing::Recorder;
using troupe::testing::ScriptedActor;
using troupe::testing::Stage;

namespace batcher_actor_test {
namespace {

struct Faults {
  std::vector<StepFault> seen;
  caf::actor handle;
  explicit Faults(Stage& stage) {
    handle = stage.system.spawn<ScriptedActor>([this]() -> caf::behavior {
      return {[this](Local<StepFault>& fault) { seen.push_back(*fault.value); },
              [](Local<BatcherReport>&) {}};
    });
  }
};

struct Scene {
  Stage stage;
  std::vector<std::unique_ptr<Recorder>> recorders;
  std::shared_ptr<InlineLane> lane = std::make_shared<InlineLane>();
  Faults shard{stage};
  Recorder* router = Recorder::spawn(stage, recorders);
  caf::actor batcher;

  Scene() {
    BatcherActorConfig config;
    config.cluster = "demo";
    config.build = "b1";
    config.id = "n1/batcher/oracle.0";
    config.incarnation = Incarnation(42);
    config.lane = lane;
    config.shard = shard.handle;
    BatcherConfig& m = config.machine;
    m.generation = Generation(3);
    m.epoch = 42;
    m.numerics_id = lane->capabilities.numerics_id;
    m.kv_blocks = 64;
    m.max_rows = 64;
    m.max_slots = 8;
    m.prefill_chunk = 32;
    m.context = 512;
    m.vocab = kOracleVocab;
    m.queue_max = 16;
    m.canary_interval = 2s;
    m.bundle = std::vector<std::byte>(kWireChunkBytesMax + 10, std::byte{5});
    batcher = stage.system.spawn<BatcherActor>(std::move(config));
    stage.drain();
  }
  ~Scene() {
    for (const caf::actor& actor : {batcher, shard.handle, router->handle})
      caf::anon_send_exit(actor, caf::exit_reason::kill);
    stage.drain();
  }
  void send(Message message) {
    caf::send_as(router->handle, batcher, wire(Incarnation(7), std::move(message)));
    stage.drain();
  }
  Hello hello() const {
    Hello h;
    h.cluster = "demo";
    h.wire_version = kWireVersion;
    h.build = "b1";
    h.role = Role::router;
    h.process = "n1/router";
    h.incarnation = Incarnation(7);
    return h;
  }
  Enqueue request(int32_t max_new) const {
    Enqueue e;
    e.key.id = {1, 2};
    e.attempt = {Incarnation(7), OwnerEpoch(1), Attempt(1)};
    e.generation = Generation(3);
    for (int32_t t : {104, 101, 108, 108, 111}) e.prompt.emplace_back(t);
    e.max_new = max_new;
    e.sampling.ignore_eos = true;
    e.deadline_left = 60s;
    return e;
  }
};

}  // namespace

TEST_CASE(
    "batcher actor: nothing counts before a Hello, and a wrong one is refused with the reason") {
  Scene scene;
  scene.send(scene.request(4));
  CHECK(scene.router->envelopes.empty());
  Hello wrong = scene.hello();
  wrong.cluster = "other";
  scene.send(wrong);
  auto replies = scene.router->all<HelloReply>();
  REQUIRE(replies.size() == 1);
  CHECK_FALSE(replies[0].accepted);
  CHECK(replies[0].reason ==
        "it belongs to cluster other, this is demo: give it this cluster's config");
  scene.send(scene.request(4));
  CHECK(scene.router->all<TokenBatch>().empty());
}

TEST_CASE("batcher actor: a greeted router gets the oracle's tokens, one message a step") {
  Scene scene;
  scene.send(scene.hello());
  REQUIRE(scene.router->all<HelloReply>().at(0).accepted);
  CHECK(scene.router->all<GroupStatus>().size() == 1);
  scene.send(scene.request(12));
  std::vector<int32_t> got;
  Finish finish = Finish::none;
  for (const TokenBatch& batch : scene.router->all<TokenBatch>()) {
    CHECK(batch.generation == Generation(3));
    for (const TokenChunk& chunk : batch.chunks) {
      CHECK(chunk.seq == got.size());
      for (TokenId token : chunk.tokens) got.push_back(token.value);
      finish = chunk.finish;
    }
  }
  const std::vector<int32_t> prompt = {104, 101, 108, 108, 111};
  CHECK(got == oracle_continue_past_end(kOracleSeed, prompt, 12));
  CHECK(finish == Finish::length);
}

TEST_CASE(
    "batcher actor: a router that greets again over a new connection loses what the old one "
    "asked") {
  Scene scene;
  scene.send(scene.hello());
  scene.lane->hang = true;
  scene.send(scene.request(12));
  Recorder* again = Recorder::spawn(scene.stage, scene.recorders);
  caf::send_as(again->handle, scene.batcher, wire(Incarnation(7), scene.hello()));
  scene.stage.drain();
  REQUIRE(again->all<GroupStatus>().size() == 1);
  CHECK(again->all<GroupStatus>()[0].queued == 0);
  // The old connection is not listened to any more.
  const size_t before = scene.router->envelopes.size();
  scene.send(BundleRequest{GroupId(0), 0});
  CHECK(scene.router->envelopes.size() == before);
  caf::anon_send_exit(again->handle, caf::exit_reason::kill);
}

TEST_CASE("batcher actor: a bundle travels in chunks of at most a mebibyte") {
  Scene scene;
  scene.send(scene.hello());
  scene.send(BundleRequest{GroupId(0), 0});
  scene.send(BundleRequest{GroupId(0), kWireChunkBytesMax});
  scene.send(BundleRequest{GroupId(0), uint64_t{1} << 60});
  auto chunks = scene.router->all<BundleChunk>();
  REQUIRE(chunks.size() == 3);
  CHECK(chunks[0].bytes.size() == kWireChunkBytesMax);
  CHECK(chunks[1].bytes.size() == 10);
  CHECK(chunks[2].bytes.empty());
  CHECK(chunks[0].total == kWireChunkBytesMax + 10);
}

TEST_CASE("batcher actor: a router that has the whole bundle is told at once how the group does") {
  Scene scene;
  scene.send(scene.hello());
  scene.send(BundleRequest{GroupId(0), 0});
  CHECK(scene.router->all<GroupStatus>().size() == 1);  // of the Hello
  scene.send(BundleRequest{GroupId(0), kWireChunkBytesMax});
  CHECK(scene.router->all<BundleChunk>().size() == 2);
  CHECK(scene.router->all<GroupStatus>().size() == 2);
}

TEST_CASE(
    "batcher actor: a step that never ends is a fault of the generation, and the lane is told") {
  Scene scene;
  scene.send(scene.hello());
  scene.lane->hang = true;
  scene.send(scene.request(12));
  scene.stage.advance(kStepDeadlineMax + 100ms);
  REQUIRE(scene.shard.seen.size() == 1);
  CHECK(scene.shard.seen[0].generation == Generation(3));
  CHECK(scene.lane->aborted);
  auto refused = scene.router->all<Refused>();
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].error.code == ErrorCode::aborted);
}

TEST_CASE("batcher actor: statuses go to routers every 200 ms and count an idle group's canaries") {
  Scene scene;
  scene.send(scene.hello());
  scene.stage.advance(5s);
  auto statuses = scene.router->all<GroupStatus>();
  CHECK(statuses.size() >= 24);
  CHECK(statuses.size() <= 27);
  CHECK(statuses.back().steps_done >= 2);
  CHECK(statuses.back().last_step_age <= 2100ms);
}

TEST_CASE("batcher actor: what it does not act on is counted by why, and its statuses say so") {
  Scene scene;
  scene.send(scene.request(4));  // nobody said Hello
  scene.send(scene.hello());
  const Cancel nobody{{{9, 9}, 0}, {Incarnation(7), OwnerEpoch(1), Attempt(1)}};
  scene.send(nobody);
  scene.send(DrainOrder{1s});  // routers do not say so
  WireBytes cut = wire(Incarnation(7), nobody);
  cut.pop_back();
  caf::send_as(scene.router->handle, scene.batcher, cut);
  scene.stage.drain();
  scene.stage.advance(kBeatInterval * 2);
  const auto count = [&](GroupDrop why) {
    return scene.router->all<GroupStatus>().back().dropped[static_cast<size_t>(why)];
  };
  CHECK(count(GroupDrop::not_accepted) == 1);
  CHECK(count(GroupDrop::stale) == 1);
  CHECK(count(GroupDrop::unexpected) == 1);
  CHECK(count(GroupDrop::damaged) == 1);
}

}  // namespace batcher_actor_test
