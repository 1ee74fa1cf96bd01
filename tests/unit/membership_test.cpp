#include "cluster/membership.h"

#include <doctest/doctest.h>

#include <string>

using namespace troupe;

namespace membership_test {
namespace {

struct Rig {
  Rig() {
    MembershipTerms terms;
    terms.cluster = "demo";
    terms.node = "n1";
    terms.build = "b1";
    terms.wire_version = 4;
    terms.config_digest[0] = 9;
    book = Membership(terms);
    book.add("n1/router", Role::router);
    book.add("n1/shard", Role::shard);
    book.spawned(now, "n1/router", Incarnation(10), 1);
    book.check();
  }
  ~Rig() { book.check(); }
  Membership book{MembershipTerms{}};
  Time now{};

  Hello hello() const {
    Hello h;
    h.cluster = "demo";
    h.node = "n1";
    h.build = "b1";
    h.wire_version = 4;
    h.role = Role::router;
    h.process = "n1/router";
    h.incarnation = Incarnation(10);
    h.config_digest[0] = 9;
    return h;
  }
  std::string refusal(const Hello& h) {
    const uint64_t before = book.refused();
    auto admission = book.greet(h);
    book.check();
    CHECK(book.refused() == before + (admission ? 0 : 1));
    return admission ? "" : admission.error().message;
  }
  Standing standing(const std::string& name = "n1/router") const {
    return book.find(name)->standing;
  }
};

}  // namespace

TEST_CASE("membership: a process is expected once spawned and a member once its Hello agrees") {
  Rig rig;
  CHECK(rig.standing() == Standing::expected);
  CHECK(rig.standing("n1/shard") == Standing::absent);
  CHECK(!rig.book.is_member("n1/router", Incarnation(10)));
  CHECK(rig.book.greet(rig.hello()) == Membership::Admission::joined);
  CHECK(rig.book.is_member("n1/router", Incarnation(10)));
  CHECK(!rig.book.is_member("n1/router", Incarnation(11)));
  CHECK(rig.book.greet(rig.hello()) == Membership::Admission::repeated);
}

TEST_CASE("membership: a Hello that does not agree is refused with the reason") {
  Rig rig;
  Hello h = rig.hello();
  SUBCASE("cluster") {
    h.cluster = "other";
    CHECK(rig.refusal(h) ==
          "it belongs to cluster other, this is demo: give it this cluster's config");
  }
  SUBCASE("wire version") {
    h.wire_version = 3;
    CHECK(rig.refusal(h) ==
          "it speaks wire version 3, this is 4: run one release of troupe on both");
  }
  SUBCASE("unknown process") {
    h.process = "n1/nobody";
    CHECK(rig.refusal(h) ==
          "process n1/nobody of node n1 is not part of node n1: name it in the config");
  }
  SUBCASE("another node's") {
    h.node = "n2";
    CHECK(rig.refusal(h) ==
          "process n1/router of node n2 is not part of node n1: name it in the config");
  }
  SUBCASE("role") {
    h.role = Role::shard;
    CHECK(rig.refusal(h) ==
          "process n1/router is a shard, and here a router is expected: look for two processes "
          "of one name");
  }
  SUBCASE("build") {
    h.build = "b2";
    CHECK(rig.refusal(h) == "it is build b2, this is b1: restart both from one build");
  }
  SUBCASE("config digest") {
    h.config_digest[31] = 1;
    CHECK(rig.refusal(h) ==
          "its config differs from this node's: start the node anew with one config");
  }
  SUBCASE("stale incarnation") {
    h.incarnation = Incarnation(9);
    CHECK(rig.refusal(h) == "it is not the process that was started here: end it");
  }
  SUBCASE("no process was started") {
    h.process = "n1/shard";
    h.role = Role::shard;
    h.incarnation = Incarnation();
    CHECK(rig.refusal(h) == "it is not the process that was started here: end it");
  }
  CHECK(rig.standing() == Standing::expected);
  CHECK(rig.refusal(rig.hello()) == "");
}

TEST_CASE("membership: who is lost stays lost until it is reaped and spawned anew") {
  Rig rig;
  CHECK(rig.book.greet(rig.hello()).has_value());
  SUBCASE("its link broke") {
    CHECK(!rig.book.lose("n1/router", Incarnation(9)));
    CHECK(rig.book.lose("n1/router", Incarnation(10)));
  }
  SUBCASE("it is dead") {
    CHECK(!rig.book.judge("n1/router", Incarnation(9), Verdict::dead));
    CHECK(rig.book.judge("n1/router", Incarnation(10), Verdict::dead));
  }
  CHECK(rig.standing() == Standing::lost);
  CHECK(!rig.book.lose("n1/router", Incarnation(10)));
  CHECK(!rig.book.judge("n1/router", Incarnation(10), Verdict::alive));
  CHECK(!rig.book.is_member("n1/router", Incarnation(10)));
  CHECK(rig.refusal(rig.hello()) == "this node has given it up and starts another one: end it");
  CHECK(!rig.book.reaped("n1/router", Incarnation(9)));
  CHECK(rig.book.reaped("n1/router", Incarnation(10)));
  CHECK(!rig.book.reaped("n1/router", Incarnation(10)));
  CHECK(rig.standing() == Standing::absent);
  rig.book.spawned(rig.now, "n1/router", Incarnation(11), 1);
  CHECK(rig.refusal(rig.hello()) == "it is not the process that was started here: end it");
  Hello fresh = rig.hello();
  fresh.incarnation = Incarnation(11);
  CHECK(rig.refusal(fresh) == "");
}

TEST_CASE("membership: a verdict is news once, and suspicion can end") {
  Rig rig;
  CHECK(!rig.book.judge("n1/router", Incarnation(10), Verdict::alive));
  CHECK(rig.book.judge("n1/router", Incarnation(10), Verdict::suspect));
  CHECK(!rig.book.judge("n1/router", Incarnation(10), Verdict::suspect));
  CHECK(rig.book.judge("n1/router", Incarnation(10), Verdict::alive));
  CHECK(!rig.book.judge("n1/shard", Incarnation(), Verdict::suspect));
  CHECK(!rig.book.judge("n1/nobody", Incarnation(1), Verdict::suspect));
}

TEST_CASE("membership: a Hello is due 10 s after the spawn, stretched by timing_scale") {
  Rig rig;
  rig.book.spawned(rig.now, "n1/shard", Incarnation(20), 2);
  CHECK(rig.book.deadline() == rig.now + 10s);
  CHECK(rig.book.overdue(rig.now + 10s - 1ns).empty());
  CHECK(rig.book.overdue(rig.now + 10s) == std::vector<std::string>{"n1/router"});
  CHECK(rig.book.overdue(rig.now + 20s) == std::vector<std::string>{"n1/router", "n1/shard"});
  CHECK(rig.refusal(rig.hello()) == "");
  CHECK(rig.book.deadline() == rig.now + 20s);
  CHECK(rig.book.lose("n1/shard", Incarnation(20)));
  CHECK(!rig.book.deadline());
}

TEST_CASE("membership: only a member's own report is kept, and it outlives its process") {
  Rig rig;
  ProcessReport report;
  report.process = "n1/router";
  report.incarnation = Incarnation(10);
  report.requests_running = 3;
  CHECK(!rig.book.report("n1/router", Incarnation(10), report));  // no Hello yet
  CHECK(rig.refusal(rig.hello()) == "");
  CHECK(!rig.book.report("n1/router", Incarnation(9), report));
  ProcessReport foreign = report;
  foreign.process = "n1/shard";
  CHECK(!rig.book.report("n1/router", Incarnation(10), foreign));
  foreign = report;
  foreign.incarnation = Incarnation(9);
  CHECK(!rig.book.report("n1/router", Incarnation(10), foreign));
  CHECK(rig.book.reports().empty());
  CHECK(rig.book.report("n1/router", Incarnation(10), report));
  REQUIRE(rig.book.current_report("n1/router"));
  CHECK(rig.book.current_report("n1/router")->requests_running == 3);
  CHECK(rig.book.reaped("n1/router", Incarnation(10)));
  rig.book.spawned(rig.now, "n1/router", Incarnation(11), 1);
  CHECK(!rig.book.current_report("n1/router"));
  CHECK(rig.book.reports().at("n1/router") == report);
}

}  // namespace membership_test
