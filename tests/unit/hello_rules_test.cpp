#include "cluster/hello_rules.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>

using namespace troupe;

namespace hello_rules_test {
namespace {

Digest digest_of(uint8_t first) {
  Digest digest{};
  digest[0] = first;
  return digest;
}

const HelloTerms kStrict{.cluster = "demo",
                         .build = "b1",
                         .wire_version = 4,
                         .config_digest = digest_of(9),
                         .role = Role::router,
                         .incarnation = Incarnation(10)};

const Hello kGood{.cluster = "demo",
                  .wire_version = 4,
                  .build = "b1",
                  .node = "n1",
                  .role = Role::router,
                  .process = "n1/router",
                  .incarnation = Incarnation(10),
                  .config_digest = digest_of(9)};

struct Case {
  const char* what;
  std::function<void(Hello&)> bend;
  const char* why;
};

const Case kCases[] = {
    {"another cluster", [](Hello& h) { h.cluster = "other"; },
     "it belongs to cluster other, this is demo: give it this cluster's config"},
    {"an older wire", [](Hello& h) { h.wire_version = 3; },
     "it speaks wire version 3, this is 4: run one release of troupe on both"},
    {"a newer wire", [](Hello& h) { h.wire_version = 5; },
     "it speaks wire version 5, this is 4: run one release of troupe on both"},
    {"another role", [](Hello& h) { h.role = Role::shard; },
     "process n1/router is a shard, and here a router is expected: look for two processes of one "
     "name"},
    {"a former process", [](Hello& h) { h.incarnation = Incarnation(9); },
     "it is not the process that was started here: end it"},
    {"no incarnation", [](Hello& h) { h.incarnation = Incarnation(); },
     "it is not the process that was started here: end it"},
    {"another build", [](Hello& h) { h.build = "b2"; },
     "it is build b2, this is b1: restart both from one build"},
    {"another config", [](Hello& h) { h.config_digest = digest_of(8); },
     "its config differs from this node's: start the node anew with one config"},
};

std::string refusal(const Hello& hello, const HelloTerms& terms) {
  const auto judged = judge_hello(hello, terms);
  if (judged) return "";
  CHECK(judged.error().code == ErrorCode::invalid_argument);
  return judged.error().message;
}

}  // namespace

TEST_CASE("hello rules: a Hello that agrees in all is accepted, one that differs is told in what") {
  CHECK(refusal(kGood, kStrict) == "");
  for (const Case& c : kCases) {
    CAPTURE(c.what);
    Hello hello = kGood;
    c.bend(hello);
    CHECK(refusal(hello, kStrict) == c.why);
  }
}

TEST_CASE("hello rules: what the terms leave open is not asked, but an incarnation must be named") {
  const HelloTerms open{.cluster = "demo", .build = "b1", .wire_version = 4};
  Hello hello = kGood;
  hello.config_digest = digest_of(8);
  hello.role = Role::shard;
  hello.incarnation = Incarnation(9);
  CHECK(refusal(hello, open) == "");
  hello.incarnation = Incarnation();
  CHECK(refusal(hello, open) == "it is not the process that was started here: end it");
}

TEST_CASE("hello rules: of several differences the cluster is named first, then the wire version") {
  Hello hello = kGood;
  for (size_t i = std::size(kCases); i-- > 0;) kCases[i].bend(hello);
  CHECK(refusal(hello, kStrict) == kCases[0].why);
  hello.cluster = "demo";
  CHECK(refusal(hello, kStrict) == kCases[1].why);
}

}  // namespace hello_rules_test
