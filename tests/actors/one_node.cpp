#include "tests/actors/one_node.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "actors/batcher_actor.h"
#include "config/digest.h"
#include "model/model_bundle.h"
#include "model/oracle/oracle_reference.h"

namespace troupe::testing {
namespace {

constexpr const char* kRankProcess = "n1/shard/oracle.0.0";
constexpr const char* kRouterProcess = "n1/router";

std::vector<std::byte> bundle_of_oracle() {
  ModelBundle bundle;
  bundle.spec = oracle_spec();
  bundle.tokenizer = oracle_tokenizer_spec();
  identify(bundle);
  return encode_bundle(bundle);
}

}  // namespace

void KeepingBridge::set_models(std::vector<std::shared_ptr<const ServedModel>> models) {
  models_served = models.size();
}

void KeepingBridge::deliver(std::vector<router_out::Deliver> deliveries) {
  for (const router_out::Deliver& delivery : deliveries) {
    Delivered& to = got[delivery.id];
    for (const router_out::Piece& piece : delivery.pieces)
      for (const TokenId token : piece.tokens) to.tokens.push_back(token.value);
    to.cache = delivery.cache;
    to.ended |= delivery.last;
  }
}

OneNode::OneNode() {
  tokenizer_ = *Tokenizer::make(oracle_tokenizer_spec());
  middleman = stage.system.spawn<ScriptedActor>([this]() -> caf::behavior {
    return {[this](caf::connect_atom, const std::string&, uint16_t)
                -> caf::result<caf::node_id, caf::strong_actor_ptr, std::set<std::string>> {
      return {caf::node_id{}, caf::actor_cast<caf::strong_actor_ptr>(batcher),
              std::set<std::string>{}};
    }};
  });
  stage.drain();
  start_supervisor();
  tell(node_in::Start{});

  const SpawnCommand rank = last_spawn(kRankProcess);
  tell(node_in::Spawned{rank.child, rank.incarnation, 4711});
  living_[rank.child] = rank.incarnation;
  Recorder* shard = Recorder::spawn(stage, recorders);
  const auto say = [&](Message message) {
    caf::send_as(shard->handle, supervisor, wire(rank.incarnation, std::move(message)));
    stage.drain();
  };
  say(Hello{"demo", kWireVersion, "b1", "n1", Role::shard, rank.child, rank.incarnation, {}});
  REQUIRE(shard->all<LoadOrder>().size() == 1);
  const LoadOrder order = shard->all<LoadOrder>()[0];
  start_batcher(order, rank.incarnation);
  LoadReport loaded;
  loaded.group = order.group;
  loaded.generation = order.generation;
  loaded.ok = true;
  loaded.weights_id = sha256("oracle");
  loaded.numerics_id = lane->capabilities.numerics_id;
  loaded.context = 512;
  loaded.kv_blocks = 64;
  say(loaded);
  start_router();
  advance(1s);
  REQUIRE(bridge.models_served == 1);
  REQUIRE(bridge.ready);
}

OneNode::~OneNode() {
  for (const caf::actor& actor : {router, batcher, shard_, supervisor, middleman})
    caf::anon_send_exit(actor, caf::exit_reason::kill);
  for (auto& recorder : recorders) caf::anon_send_exit(recorder->handle, caf::exit_reason::kill);
  stage.drain();
}

void OneNode::start_supervisor() {
  SupervisorActorConfig config;
  NodeSupervisorConfig& m = config.machine;
  m.cluster = "demo";
  m.node = "n1";
  m.build = "b1";
  m.wire_version = kWireVersion;
  m.incarnation = Incarnation(1);
  HeadedGroup group;
  group.order.model = "oracle";
  group.socket = "/rank0";
  m.groups = {group};
  m.children = {{kRankProcess, Role::shard, GroupId(0), 0}, {kRouterProcess, Role::router, {}, 0}};
  for (const ChildSpec& child : m.children) {
    ChildStart& start = config.starts[child.name];
    start.cluster = "demo";
    start.node = "n1";
    start.build = "b1";
    start.process = child.name;
  }
  config.spawn = [this](SpawnCommand command) { spawned.push_back(std::move(command)); };
  config.end = [this](EndCommand command) { ended.push_back(std::move(command)); };
  config.draw_incarnation = [this] { return Incarnation(next_incarnation_++); };
  config.tree = tree;
  config.serving = [](const std::string&) {};
  config.load_failed = [](const Error& error) { FAIL(error.message); };
  config.stopped = [] {};
  config.exit = [this](int code) { exits.push_back(code); };
  supervisor = stage.system.spawn<SupervisorActor>(std::move(config));
  stage.drain();
}

void OneNode::start_batcher(const LoadOrder& order, Incarnation incarnation) {
  BatcherActorConfig config;
  config.cluster = "demo";
  config.build = "b1";
  config.id = "n1/batcher/oracle.0";
  config.incarnation = incarnation;
  config.lane = lane;
  shard_ = stage.system.spawn<ScriptedActor>([]() -> caf::behavior {
    return {[](Local<StepFault>& fault) { FAIL(fault.value->error.message); },
            [](Local<BatcherReport>&) {}};
  });
  config.shard = shard_;
  BatcherConfig& m = config.machine;
  m.group = order.group;
  m.generation = order.generation;
  m.epoch = incarnation.value;
  m.weights_id = sha256("oracle");
  m.numerics_id = lane->capabilities.numerics_id;
  m.kv_blocks = 64;
  m.max_rows = 64;
  m.max_slots = 8;
  m.prefill_chunk = 32;
  m.context = 512;
  m.vocab = kOracleVocab;
  m.queue_max = 16;
  m.canary_interval = 2s;
  m.bundle = bundle_of_oracle();
  batcher = stage.system.spawn<BatcherActor>(std::move(config));
  stage.drain();
}

void OneNode::start_router() {
  const SpawnCommand command = last_spawn(kRouterProcess);
  const auto start = decode_child_start(command.start_packet);
  REQUIRE(start.has_value());
  tell(node_in::Spawned{command.child, command.incarnation, 4712});
  living_[command.child] = command.incarnation;
  RouterActorConfig config;
  config.start = *start;
  config.node = supervisor;
  config.middleman = middleman;
  auto cache = make_cache(*start);
  REQUIRE(cache.has_value());
  config.cache = *cache;
  config.exit = [this](int code) { router_exits.push_back(code); };
  router = stage.system.spawn<RouterActor>(std::move(config));
  caf::anon_send(router, local(BridgeUp{&bridge}));
  stage.drain();
}

Recorder* OneNode::replace_router() {
  caf::anon_send_exit(router, caf::exit_reason::kill);
  stage.drain();
  tell(node_in::Exited{kRouterProcess, living_.at(kRouterProcess), "signal 9 (SIGKILL)"});
  living_.erase(kRouterProcess);
  advance(2 * kRespawnFirst);
  const SpawnCommand command = last_spawn(kRouterProcess);
  tell(node_in::Spawned{command.child, command.incarnation, 4713});
  living_[command.child] = command.incarnation;
  Recorder* next = Recorder::spawn(stage, recorders);
  caf::send_as(next->handle, supervisor,
               wire(command.incarnation, Hello{"demo",
                                               kWireVersion,
                                               "b1",
                                               "n1",
                                               Role::router,
                                               command.child,
                                               command.incarnation,
                                               {}}));
  stage.drain();
  return next;
}

void OneNode::advance(Duration by) {
  for (Duration done{}; done < by; done += 100ms) {
    for (const auto& [child, incarnation] : living_)
      caf::anon_send(supervisor, local(BeatNote{child, incarnation}));
    stage.advance(std::min<Duration>(100ms, by - done));
  }
}

void OneNode::tell(NodeInput input) {
  caf::anon_send(supervisor, local(std::move(input)));
  stage.drain();
}

RequestId OneNode::submit(const std::vector<int32_t>& prompt, int32_t max_new) {
  ClientRequest request;
  request.id = {0xabc, next_request_++};
  request.model = "oracle";
  request.tokenizer = tokenizer_;
  for (const int32_t token : prompt) request.prompt.emplace_back(token);
  request.max_new = max_new;
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.deadline = 60s;
  request.cache_key = sha256(std::as_bytes(std::span(prompt)));
  request.numerics_id = lane->capabilities.numerics_id;
  const RequestId id = request.id;
  caf::anon_send(router, local(BridgeSubmit{std::move(request)}));
  return id;
}

Delivered OneNode::ask(const std::vector<int32_t>& prompt, int32_t max_new) {
  const RequestId id = submit(prompt, max_new);
  for (int tries = 0; tries < 50 && !bridge.got[id].ended && bridge.got[id].failed.empty(); ++tries)
    advance(100ms);
  return bridge.got[id];
}

ActorStatus OneNode::row(const std::string& id) const {
  for (const ActorStatus& row : tree->get().actors)
    if (row.id == id) return row;
  FAIL("no actor " << id);
  return {};
}

SpawnCommand OneNode::last_spawn(const std::string& child) const {
  const auto found = std::find_if(spawned.rbegin(), spawned.rend(),
                                  [&](const SpawnCommand& each) { return each.child == child; });
  REQUIRE(found != spawned.rend());
  return {found->child, found->incarnation, found->start_packet, found->descriptors};
}

}  // namespace troupe::testing
