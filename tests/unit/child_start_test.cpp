#include "net/child_start.h"

#include <doctest/doctest.h>

namespace troupe {

TEST_CASE("child start: what a link is told arrives, every field of it") {
  ChildStart start;
  start.cluster = "demo";
  start.node = "n1";
  start.process = "n1/link";
  start.role = Role::link;
  start.incarnation = Incarnation(7);
  start.link.files = {"/c/ca.pem", "/c/n1.pem", "/c/n1.key"};
  start.link.peers = {{"n2", {"fd00::2", 7401}}, {"n3", {"host3", 65535}}};
  start.link.doors = {{"/s/d2.sock", LinkService::basp, "n1", "n2", "n2"},
                      {"/s/f2.sock", LinkService::file, "n1/router", "n2", "n2/files"}};
  start.link.targets = {{LinkService::beat, "n1", "/s/b.sock"}};
  const auto back = decode_child_start(encode_child_start(start));
  REQUIRE(back.has_value());
  CHECK(*back == start);
}

TEST_CASE("child start: a rank is told which file to load in place of the one in its order") {
  ChildStart start;
  start.process = "n1/shard/m.0.0";
  start.model_file = "/state/models/0123.gguf";
  const auto back = decode_child_start(encode_child_start(start));
  REQUIRE(back.has_value());
  CHECK(*back == start);
}

TEST_CASE("child start: where a rank waits for those of other hosts arrives") {
  ChildStart start;
  start.role = Role::shard;
  start.rank_host = "fd00::7";
  start.rank_ports = {7500, 65535};
  const auto back = decode_child_start(encode_child_start(start));
  REQUIRE(back.has_value());
  CHECK(*back == start);
}

TEST_CASE("child start: a router is told the names it goes by") {
  for (const auto asked : {HostPolicy::HostOf::all_requests, HostPolicy::HostOf::pages}) {
    ChildStart start;
    start.role = Role::router;
    start.hosts = {{{"chat.example", 0}, {"fd00::7", 65535}}, asked};
    const auto back = decode_child_start(encode_child_start(start));
    REQUIRE(back.has_value());
    CHECK(*back == start);
  }
}

TEST_CASE("child start: a service that does not exist is refused") {
  ChildStart start;
  start.link.targets = {{static_cast<LinkService>(kLinkServices), "n1", "/s"}};
  const auto back = decode_child_start(encode_child_start(start));
  REQUIRE_FALSE(back.has_value());
  CHECK(back.error().message ==
        "the lifeline's first packet does not parse; the node runs another build");
}

}  // namespace troupe
