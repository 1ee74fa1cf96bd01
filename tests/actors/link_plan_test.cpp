#include "actors/link_plan.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

using namespace troupe;

namespace link_plan_test {
namespace {

struct Folder {
  Folder() { REQUIRE(::mkdtemp(path) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  char path[32] = "/tmp/troupe-plan-XXXXXX";
};

/// Three nodes of one slot, a router on n1 and n3, three groups of a model: one a node.
ClusterConfig three_nodes() {
  ClusterConfig config;
  config.cluster = "demo";
  config.certs = "/pki";
  uint16_t port = 7401;
  for (const char* name : {"n1", "n2", "n3"}) {
    NodeConfig node;
    node.name = name;
    node.host = std::string("host-") + name;
    node.control_port = port++;
    node.cpu_slots = 1;
    config.nodes.push_back(node);
  }
  for (const char* name : {"n1", "n3"}) {
    RouterListen router;
    router.node = name;
    config.routers.push_back(router);
  }
  ModelConfig model;
  model.name = "m";
  model.backend = "oracle";
  model.groups = 3;
  config.models.push_back(model);
  return config;
}

LinkWays plan(const ClusterConfig& config, const std::string& node, const StateDir& state) {
  auto ways = plan_link(config, node, state);
  REQUIRE(ways.has_value());
  return *ways;
}

}  // namespace

TEST_CASE("link plan: every pair of nodes has one door, and every group is a target once") {
  Folder folder;
  auto state = StateDir::open(folder.path);
  REQUIRE(state.has_value());
  const ClusterConfig config = three_nodes();
  std::set<std::pair<std::string, std::string>> node_doors;
  int group_targets = 0;
  for (const NodeConfig& node : config.nodes) {
    const LinkWays ways = plan(config, node.name, *state);
    for (const LinkDoor& door : ways.doors)
      if (door.source_process == node.name && door.service == LinkService::basp) {
        CHECK(node_doors.insert({node.name, door.node}).second);
        CHECK(door.target_process == door.node);
      }
    for (const LinkTarget& target : ways.targets) group_targets += target.process != node.name;
  }
  CHECK(node_doors ==
        std::set<std::pair<std::string, std::string>>{{"n1", "n2"}, {"n1", "n3"}, {"n2", "n3"}});
  CHECK(group_targets == 3);
}

TEST_CASE(
    "link plan: a router's node has a door to each group elsewhere, where that group listens") {
  Folder folder;
  auto state = StateDir::open(folder.path);
  REQUIRE(state.has_value());
  const ClusterConfig config = three_nodes();
  const LinkWays ways = plan(config, "n1", *state);
  CHECK(ways.files == LinkFiles{"/pki/ca.pem", "/pki/n1.pem", "/pki/n1.key"});
  CHECK(ways.peers == std::vector<LinkPeer>{{"n2", {"host-n2", 7402}}, {"n3", {"host-n3", 7403}}});
  std::map<std::string, std::string> to_groups;  // target process -> path of the door
  for (const LinkDoor& door : ways.doors)
    if (door.source_process == "n1/router") to_groups[door.target_process] = door.path;
  CHECK(to_groups ==
        std::map<std::string, std::string>{{"n2/shard/m.1.0", state->door_to_group(GroupId(1))},
                                           {"n3/shard/m.2.0", state->door_to_group(GroupId(2))}});
  // What n1 dials is what n2 listens for.
  const LinkWays there = plan(config, "n2", *state);
  CHECK(std::ranges::find(there.targets, LinkTarget{LinkService::basp, "n2/shard/m.1.0",
                                                    state->group_socket(GroupId(1))}) !=
        there.targets.end());
  for (const LinkDoor& door : there.doors) CHECK(door.source_process == "n2");  // no router there
  std::set<std::string> paths;
  for (const LinkDoor& door : ways.doors) CHECK(paths.insert(door.path).second);
}

TEST_CASE("link plan: files of configured digests have a way from every node to every other") {
  Folder folder;
  auto state = StateDir::open(folder.path);
  REQUIRE(state.has_value());
  ClusterConfig config = three_nodes();
  for (const LinkTarget& target : plan(config, "n2", *state).targets)
    CHECK(target.service != LinkService::file);  // there are none
  CHECK(plan_files(config, "n2", *state).files.empty());
  ModelConfig model = config.models.front();
  model.source = "/m.gguf";
  model.sha256 = Digest{1};
  config.models.push_back(model);
  config.models.push_back(model);  // of the same file
  for (NodeConfig& node : config.nodes) node.cpu_slots = 3;
  const FilePlan files = plan_files(config, "n2", *state);
  CHECK(files.files == std::vector<StoredFile>{{Digest{1}, "/m.gguf"}});
  // The next node of the config is asked first, so that not all begin with one.
  CHECK(files.ways ==
        FileWays{state->file_socket(), {{"n3", state->file_door(2)}, {"n1", state->file_door(0)}}});
  const LinkWays ways = plan(config, "n2", *state);
  CHECK(std::ranges::find(ways.targets, LinkTarget{LinkService::file, "n2",
                                                   state->file_socket()}) != ways.targets.end());
  for (const FileDoor& door : files.ways.doors)
    CHECK(std::ranges::find(ways.doors, LinkDoor{door.path, LinkService::file, "n2", door.node,
                                                 door.node}) != ways.doors.end());
  config.nodes.resize(1);
  CHECK(plan_files(config, "n1", *state).ways == FileWays{});
}

TEST_CASE("link plan: of two nodes the lower one has the other's beats behind a door of its own") {
  Folder folder;
  auto state = StateDir::open(folder.path);
  REQUIRE(state.has_value());
  const ClusterConfig config = three_nodes();
  CHECK(plan_beats(config, "n1", *state) ==
        BeatWays{
            state->beat_socket(), {{"n2", state->beat_door(1)}, {"n3", state->beat_door(2)}}, {}});
  CHECK(plan_beats(config, "n2", *state) ==
        BeatWays{state->beat_socket(), {{"n3", state->beat_door(2)}}, {"n1"}});
  CHECK(plan_beats(config, "n3", *state) == BeatWays{state->beat_socket(), {}, {"n1", "n2"}});
  // The link opens these doors, and brings callers to the socket.
  for (const char* node : {"n1", "n2", "n3"}) {
    const LinkWays ways = plan(config, node, *state);
    const BeatWays beats = plan_beats(config, node, *state);
    std::vector<BeatDoor> doors;
    for (const LinkDoor& door : ways.doors)
      if (door.service == LinkService::beat) doors.push_back({door.target_process, door.path});
    CHECK(doors == beats.doors);
    CHECK(std::ranges::find(ways.targets, LinkTarget{LinkService::beat, node, beats.socket}) !=
          ways.targets.end());
  }
}

}  // namespace link_plan_test
