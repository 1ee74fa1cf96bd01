#include "actors/link_actor.h"

#include <doctest/doctest.h>

#include <map>

#include "tests/actors/fixture.h"

using namespace troupe;
using troupe::testing::Recorder;
using troupe::testing::Stage;

namespace link_actor_test {
namespace {

struct Scene {
  Stage stage;
  std::vector<std::unique_ptr<Recorder>> recorders;
  Recorder* node = Recorder::spawn(stage, recorders);
  LinkStats stats;
  std::vector<int> exits;
  std::vector<std::string> cut;
  int looks = 0;
  caf::actor link;

  Scene() {
    LinkActorConfig config;
    config.start.cluster = "demo";
    config.start.node = "n1";
    config.start.process = "n1/link";
    config.start.role = Role::link;
    config.start.incarnation = Incarnation(7);
    config.node = node->handle;
    config.stats = [this] { return stats; };
    config.certificate_expires = [] {
      return std::chrono::sys_seconds(std::chrono::seconds(1'800'000'000));
    };
    config.refresh = [this]() -> Result<bool> {
      ++looks;
      return false;
    };
    config.cut = [this](const std::string& dead) { cut.push_back(dead); };
    config.exit = [this](int code) { exits.push_back(code); };
    link = stage.system.spawn<LinkActor>(std::move(config));
    stage.drain();
  }
  ~Scene() {
    caf::anon_send_exit(link, caf::exit_reason::kill);
    for (const auto& recorder : recorders)
      caf::anon_send_exit(recorder->handle, caf::exit_reason::kill);
    stage.drain();
  }
};

}  // namespace

TEST_CASE("link actor: it greets the node as a link and reports each second what it carries") {
  Scene scene;
  REQUIRE(scene.node->all<Hello>().size() == 1);
  CHECK(scene.node->all<Hello>()[0].role == Role::link);
  CHECK(scene.node->all<Hello>()[0].process == "n1/link");
  scene.stats.open = 3;
  scene.stats.bytes_in = 5'000'000;
  scene.stats.bytes_out = 7'900'000;
  scene.stats.refused[static_cast<size_t>(LinkRefusal::not_tls)] = 5;
  scene.stats.failed[static_cast<size_t>(LinkRefusal::unreachable)] = 6;
  scene.stage.advance(3s);
  REQUIRE(scene.node->all<ProcessReport>().size() == 3);
  const ProcessReport report = scene.node->all<ProcessReport>().back();
  CHECK(report.incarnation == Incarnation(7));
  CHECK(report.describe == "3 streams, 5 MB in, 7 MB out");
  REQUIRE(report.actors.size() == 1);
  CHECK(report.actors[0].role == Role::link);
  REQUIRE(report.link.has_value());
  CHECK(report.link->open == 3);
  CHECK(report.link->bytes_in == 5'000'000);
  CHECK(report.link->bytes_out == 7'900'000);
  CHECK(report.link->certificate_expires == 1'800'000'000);
  std::map<std::string_view, uint64_t> refused, failed;
  for (size_t i = 0; i < kLinkRefusals; ++i) {
    if (uint64_t n = report.link->refused.at(i)) refused[name_of(static_cast<LinkRefusal>(i))] = n;
    if (uint64_t n = report.link->failed.at(i)) failed[name_of(static_cast<LinkRefusal>(i))] = n;
  }
  CHECK(refused == std::map<std::string_view, uint64_t>{{"not_tls", 5}});
  CHECK(failed == std::map<std::string_view, uint64_t>{{"unreachable", 6}});
}

TEST_CASE("link actor: once a minute it looks for a replaced certificate") {
  Scene scene;
  scene.stage.advance(59s);
  CHECK(scene.looks == 0);
  scene.stage.advance(2s);
  CHECK(scene.looks == 1);
  scene.stage.advance(60s);
  CHECK(scene.looks == 2);
}

TEST_CASE("link actor: refused by its node, or without it, the process ends") {
  Scene refused;
  caf::anon_send(refused.link, wire(Incarnation(1), HelloReply{Incarnation(1), true, ""}));
  refused.stage.drain();
  CHECK(refused.exits.empty());
  caf::anon_send(refused.link, wire(Incarnation(1), HelloReply{Incarnation(1), false, "draining"}));
  refused.stage.drain();
  CHECK(refused.exits == std::vector<int>{70});

  Scene orphan;
  caf::anon_send_exit(orphan.node->handle, caf::exit_reason::kill);
  orphan.stage.drain();
  CHECK(orphan.exits == std::vector<int>{70});
}

TEST_CASE("link actor: the streams of a node that was found dead are cut when the node says so") {
  Scene scene;
  caf::send_as(scene.node->handle, scene.link, wire(Incarnation(1), CutOrder{"n3"}));
  scene.stage.drain();
  CHECK(scene.cut == std::vector<std::string>{"n3"});
  CHECK(scene.exits.empty());
}

}  // namespace link_actor_test
