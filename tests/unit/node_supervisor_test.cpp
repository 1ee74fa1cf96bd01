#include "cluster/node_supervisor.h"

#include <algorithm>

#include "node_rig.h"

using namespace troupe;
using troupe::test::NodeRig;

namespace node_supervisor_test {
namespace {
const std::string &kRouter = NodeRig::kRouter, &kSolo = NodeRig::kSolo, &kFirst = NodeRig::kFirst,
                  &kSecond = NodeRig::kSecond;

/// The only table sent to the router in the last step.
RoutingTable table(const NodeRig& rig) {
  const auto tables = rig.sent<RoutingTable>(kRouter);
  REQUIRE(tables.size() == 1);
  return tables[0];
}
}  // namespace

TEST_CASE("node supervisor: from start to ready, each step tells whom it must") {
  NodeRig rig;
  rig.step(node_in::Start{});
  CHECK(rig.all<node_out::Spawn>().size() == 4);
  rig.spawned(kRouter);
  REQUIRE(rig.all<node_out::Watch>().size() == 1);
  CHECK(rig.all<node_out::Watch>()[0].incarnation == rig.incarnation(kRouter));
  rig.hello(kRouter);
  REQUIRE(rig.sent<HelloReply>(kRouter).size() == 1);
  CHECK(rig.sent<HelloReply>(kRouter)[0].accepted);
  CHECK(rig.sent<HelloReply>(kRouter)[0].incarnation == Incarnation(1));
  CHECK(table(rig).groups[0].state == GroupState::starting);
  rig.join(kSolo);
  REQUIRE(rig.sent<LoadOrder>(kSolo).size() == 1);
  CHECK(rig.sent<LoadOrder>(kSolo)[0].generation == Generation(1));
  CHECK(rig.sent<LoadOrder>(kSolo)[0].model == "m");
  rig.loaded(kSolo);
  CHECK(table(rig).groups[0].state == GroupState::ready);
  CHECK(table(rig).groups[0].incarnation == rig.incarnation(kSolo));
  CHECK(table(rig).groups[0].context == 64);
  CHECK(table(rig).groups[0].socket == "/run/g0");
  rig.join(kFirst);
  CHECK(rig.sent<LoadOrder>(kFirst).empty());  // its partner is missing
  rig.join(kSecond);
  REQUIRE(rig.sent<LoadOrder>(kSecond).size() == 1);
  CHECK(rig.sent<LoadOrder>(kSecond)[0].rank == 1);
  CHECK(rig.sent<LoadOrder>(kFirst).size() == 1);
}

TEST_CASE("node supervisor: table versions grow only with their content") {
  NodeRig rig;
  rig.start_all();
  const RoutingTable before = rig.machine.routing();
  rig.wait(1s);
  rig.step(node_in::Judged{kRouter, rig.incarnation(kRouter), Verdict::suspect});
  rig.hello(kSolo);
  CHECK(rig.machine.routing() == before);
  CHECK(rig.sent<RoutingTable>(kRouter).empty());
  rig.step(node_in::Judged{kSolo, rig.incarnation(kSolo), Verdict::suspect});
  CHECK(table(rig).version == before.version + 1);
  CHECK(table(rig).groups[0].state == GroupState::suspect);
  rig.step(node_in::Judged{kSolo, rig.incarnation(kSolo), Verdict::alive});
  CHECK(table(rig).version == before.version + 2);
  CHECK(table(rig).groups == before.groups);
}

TEST_CASE(
    "node supervisor: a killed shard takes its group down at once and comes back with the next "
    "generation") {
  NodeRig rig;
  rig.start_all();
  rig.exit(kSolo, "signal 9 (SIGKILL)");
  CHECK(rig.all<node_out::Forget>().size() == 1);
  CHECK(table(rig).groups[0].state == GroupState::starting);
  CHECK(table(rig).groups[0].reason == "the shard process ended: signal 9 (SIGKILL)");
  CHECK(table(rig).groups[0].incarnation == Incarnation());
  CHECK(table(rig).groups[1].state == GroupState::ready);
  CHECK(rig.machine.deadline() == rig.now + 100ms);
  rig.wait(100ms);
  REQUIRE(rig.all<node_out::Spawn>().size() == 1);
  CHECK(rig.all<node_out::Spawn>()[0].child.name == kSolo);
  rig.join(kSolo);
  CHECK(rig.sent<LoadOrder>(kSolo)[0].generation == Generation(2));
  rig.loaded(kSolo);
  CHECK(table(rig).groups[0].state == GroupState::ready);
}

TEST_CASE(
    "node supervisor: one lost rank aborts the other, both are ordered to load again together") {
  NodeRig rig;
  rig.start_all();
  rig.exit(kSecond);
  REQUIRE(rig.sent<AbortOrder>(kFirst).size() == 1);
  CHECK(rig.sent<AbortOrder>(kFirst)[0].generation == Generation(1));
  rig.exit(kFirst);
  CHECK(rig.group(1).reason == "the process of rank 1 ended: exit status 70");
  rig.wait(100ms);
  CHECK(rig.all<node_out::Spawn>().size() == 2);
  rig.join(kFirst);
  CHECK(rig.sent<LoadOrder>(kFirst).empty());
  rig.join(kSecond);
  CHECK(rig.sent<LoadOrder>(kFirst)[0].generation == Generation(2));
}

TEST_CASE("node supervisor: a child whose link broke is ended, and its late words are dropped") {
  NodeRig rig;
  rig.start_all();
  const Incarnation old = rig.incarnation(kSolo);
  rig.step(node_in::LinkLost{kSolo, old});
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(rig.all<node_out::End>()[0].force);
  CHECK(rig.all<node_out::End>()[0].incarnation == old);
  CHECK(rig.group(0).reason == "the shard process ended: its link broke");
  rig.step(node_in::LinkLost{kSolo, old});
  rig.step(node_in::Judged{kSolo, old, Verdict::dead});
  CHECK(rig.effects.empty());
  rig.hello(kSolo);
  CHECK(rig.sent<HelloReply>(kSolo)[0].reason ==
        "this node has given it up and starts another one: end it");
  CHECK(rig.sent<LoadOrder>(kSolo).empty());
  const uint64_t dropped = rig.machine.dropped();
  rig.loaded(kSolo);
  CHECK(rig.effects.empty());
  CHECK(rig.machine.dropped() == dropped + 1);
  rig.exit(kSolo);
  CHECK(rig.group(0).reason == "the shard process ended: its link broke");
}

TEST_CASE("node supervisor: a broken link of a stranger or of a former process harms nobody") {
  NodeRig rig;
  rig.start_all();
  rig.step(node_in::LinkLost{kSolo, Incarnation(5)});
  CHECK(rig.effects.empty());
  rig.step(node_in::LinkLost{"n1/nobody", Incarnation(5)});
  CHECK(rig.effects.empty());
  rig.step(node_in::Exited{kSolo, Incarnation(5), "late"});
  CHECK(rig.effects.empty());
  rig.step(node_in::Judged{kSolo, Incarnation(5), Verdict::dead});
  CHECK(rig.effects.empty());
  CHECK(rig.group(0).state == GroupState::ready);
}

TEST_CASE("node supervisor: a silent shard is suspect, then ended by force and replaced") {
  NodeRig rig;
  rig.start_all();
  const Incarnation i = rig.incarnation(kSolo);
  rig.step(node_in::Judged{kSolo, i, Verdict::suspect});
  CHECK(rig.group(0).state == GroupState::suspect);
  CHECK(rig.all<node_out::End>().empty());
  rig.step(node_in::Judged{kSolo, i, Verdict::dead});
  CHECK(rig.group(0).reason == "the shard process ended: it was silent");
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(rig.all<node_out::End>()[0].force);
  rig.exit(kSolo, "signal 9 (SIGKILL)");
  rig.wait(100ms);
  CHECK(rig.all<node_out::Spawn>().size() == 1);
}

TEST_CASE("node supervisor: a shard that was suspect before its Hello is suspect once loaded") {
  NodeRig rig;
  rig.step(node_in::Start{});
  rig.spawned(kSolo);
  rig.step(node_in::Judged{kSolo, rig.incarnation(kSolo), Verdict::suspect});
  rig.hello(kSolo);
  rig.loaded(kSolo);
  CHECK(rig.group(0).state == GroupState::suspect);
  rig.step(node_in::Judged{kSolo, rig.incarnation(kSolo), Verdict::alive});
  CHECK(rig.group(0).state == GroupState::ready);
}

TEST_CASE("node supervisor: a process that never says Hello is ended after 10 s") {
  NodeRig rig;
  rig.step(node_in::Start{});
  rig.spawned(kSolo);
  CHECK(rig.machine.deadline() == rig.now + 10s);
  rig.wait(10s - 1ns);
  CHECK(rig.all<node_out::End>().empty());
  rig.wait(1ns);
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(rig.all<node_out::End>()[0].force);
  CHECK(rig.event("given up") == "it never said Hello");
}

TEST_CASE("node supervisor: who is refused is told why and never heard") {
  NodeRig rig;
  rig.step(node_in::Start{});
  rig.spawned(kSolo);
  Hello wrong = rig.hello_of(kSolo);
  wrong.build = "b2";
  rig.from(kSolo, wrong);
  REQUIRE(rig.sent<HelloReply>(kSolo).size() == 1);
  CHECK(!rig.sent<HelloReply>(kSolo)[0].accepted);
  CHECK(rig.sent<HelloReply>(kSolo)[0].reason ==
        "it is build b2, this is b1: restart both from one build");
  CHECK(rig.sent<LoadOrder>(kSolo).empty());
  rig.from(kSolo, StepFault{});
  CHECK(rig.effects.empty());
  CHECK(rig.machine.dropped() == 2);
  // A Hello that speaks for another process than its link's.
  rig.step(node_in::FromChild{kFirst, Incarnation(3), rig.hello_of(kSolo)});
  CHECK(rig.effects.empty());
  CHECK(rig.machine.dropped() == 3);
}

TEST_CASE(
    "node supervisor: a Hello said twice neither loads twice nor costs the router its table") {
  NodeRig rig;
  rig.start_all();
  rig.hello(kSolo);
  CHECK(rig.sent<HelloReply>(kSolo)[0].accepted);
  CHECK(rig.sent<LoadOrder>(kSolo).empty());
  CHECK(rig.group(0).state == GroupState::ready);
  rig.hello(kRouter);
  CHECK(table(rig) == rig.machine.routing());
}

TEST_CASE(
    "node supervisor: a failed load is told once, and its reason stays while the child backs off") {
  NodeRig rig;
  rig.step(node_in::Start{});
  rig.join(kSolo);
  const LoadReport failed = rig.report(kSolo, false);
  rig.from(kSolo, failed);
  REQUIRE(rig.all<node_out::LoadFailed>().size() == 1);
  CHECK(rig.all<node_out::LoadFailed>()[0].error.message == "no such file");
  rig.from(kSolo, failed);
  CHECK(rig.all<node_out::LoadFailed>().empty());
  rig.exit(kSolo);
  CHECK(rig.group(0).reason == "loading failed: no such file");
  rig.wait(100ms);
  rig.join(kSolo);
  rig.from(kSolo, failed);  // of the former generation
  CHECK(rig.all<node_out::LoadFailed>().empty());
  CHECK(rig.group(0).reason == "the model is loading");
}

TEST_CASE("node supervisor: reports about another group or rank are dropped") {
  NodeRig rig;
  rig.step(node_in::Start{});
  for (const std::string& child : {kSolo, kFirst, kSecond}) rig.join(child);
  rig.from(kFirst, rig.report(kSolo, true));
  CHECK(rig.effects.empty());
  rig.from(kFirst, rig.report(kSecond, true));
  CHECK(rig.effects.empty());
  rig.from(kSolo, StepFault{GroupId(1), Generation(1), {}});
  CHECK(rig.effects.empty());
  CHECK(rig.machine.dropped() == 3);
}

TEST_CASE(
    "node supervisor: a group is failed when any of its ranks spent the budget, and the table says "
    "why") {
  NodeRig rig;
  rig.start_all();
  for (int death = 1; death <= 6; ++death) {
    rig.exit(kSecond, "exit status 1");
    if (death == 6) break;
    rig.now = std::max(rig.now, rig.machine.deadline().value());
    while (rig.machine.supervision().find(kSecond)->state == ChildState::backoff) rig.wait(100ms);
    rig.join(kSecond);
  }
  CHECK(rig.group(1).state == GroupState::failed);
  CHECK(rig.group(1).reason ==
        "its shard process died 6 times in 300 s, tried again every 30 s; last: exit status 1");
  CHECK(rig.group(0).state == GroupState::ready);
  const uint64_t version = rig.machine.routing().version;
  while (rig.all<node_out::Spawn>().empty()) rig.wait(100ms);
  CHECK(rig.machine.routing().version == version + 1);  // routers hear of the new try
  CHECK(rig.group(1).state == GroupState::starting);
}

TEST_CASE("node supervisor: a router is told to be serving each time it could not before") {
  NodeRig rig;
  rig.start_all();
  ProcessReport report;
  report.process = kRouter;
  report.incarnation = rig.incarnation(kRouter);
  auto told = [&](bool serving) {
    report.serving = serving;
    rig.from(kRouter, report);
    return rig.all<node_out::Serving>().size();
  };
  CHECK(told(false) == 0);
  CHECK(told(true) == 1);
  CHECK(told(true) == 0);
  CHECK(told(false) == 0);
  CHECK(told(true) == 1);
  rig.exit(kRouter);
  rig.wait(100ms);
  rig.join(kRouter);
  CHECK(told(true) == 0);  // the former process's words
  report.incarnation = rig.incarnation(kRouter);
  CHECK(told(true) == 1);
}

TEST_CASE("node supervisor: it keeps a router's journal and gives it to its successor") {
  NodeRig rig;
  rig.start_all();
  JournalAppend append;
  append.router = rig.incarnation(kRouter);
  append.number = 1;
  append.whole = true;
  append.opened.emplace_back();
  append.opened[0].id = RequestId{1, 2};
  append.opened[0].prompt = {TokenId(4)};
  rig.from(kRouter, append);
  REQUIRE(rig.sent<JournalAck>(kRouter).size() == 1);
  CHECK(rig.sent<JournalAck>(kRouter)[0].number == 1);
  append.router = Incarnation(5);
  rig.from(kRouter, append);
  CHECK(rig.sent<JournalAck>(kRouter).empty());
  rig.from(kSolo, JournalRead{RequestId{1, 2}});
  CHECK(rig.effects.empty());  // prompts are no shard's business
  rig.exit(kRouter);
  rig.wait(100ms);
  rig.join(kRouter);
  rig.from(kRouter, JournalRead{RequestId{1, 2}});
  REQUIRE(rig.sent<JournalEntry>(kRouter).size() == 1);
  CHECK(rig.sent<JournalEntry>(kRouter)[0].known);
}

TEST_CASE("node supervisor: an operator's restart comes back at once") {
  NodeRig rig;
  rig.start_all();
  rig.step(node_in::Restart{kSolo});
  REQUIRE(rig.all<node_out::End>().size() == 1);
  CHECK(!rig.all<node_out::End>()[0].force);
  rig.exit(kSolo, "exit status 0");
  CHECK(rig.all<node_out::Spawn>().size() == 1);
  rig.step(node_in::Restart{"n1/nobody"});
  CHECK(rig.effects.empty());
}

TEST_CASE(
    "node supervisor: the tree shows each process with its actors, generation and last error") {
  NodeRig rig;
  rig.start_all();
  rig.exit(kSolo, "signal 9 (SIGKILL)");
  rig.wait(100ms);
  rig.join(kSolo);
  rig.loaded(kSolo);
  ProcessReport report;
  report.process = kSolo;
  report.incarnation = rig.incarnation(kSolo);
  report.describe = "oracle";
  report.actors = {{"n1/batcher/m.0", Role::batcher, 0, "", 3, 0ns, 4ms},
                   {kSolo, Role::shard, 0, "", 1, 2ms, 4ms}};
  rig.from(kSolo, report);
  rig.step(node_in::Judged{kRouter, rig.incarnation(kRouter), Verdict::suspect});
  const auto rows = rig.machine.tree();
  REQUIRE(rows.size() == 5);
  CHECK(rows[0].id == kRouter);
  CHECK(rows[0].state == "suspect");
  CHECK(rows[1].id == kSolo);
  CHECK(rows[1].state == "ready");
  CHECK(rows[1].generation == 2);
  CHECK(rows[1].restarts == 1);
  CHECK(rows[1].last_error == "signal 9 (SIGKILL)");
  CHECK(rows[1].describe == "oracle");
  CHECK(rows[1].mailbox_age == 2ms);
  CHECK(rows[2].id == "n1/batcher/m.0");
  CHECK(rows[2].mailbox_depth == 3);
  CHECK(rows[3].generation == 1);
  rig.exit(kSecond);
  CHECK(rig.machine.tree()[4].state == "starting");
  CHECK(rig.machine.tree()[3].reason == "the process of rank 1 ended: exit status 70");
}

TEST_CASE("node supervisor: what a spawn waits for is shown until it is carried out") {
  NodeRig rig;
  rig.step(node_in::Start{});
  rig.step(node_in::SpawnWaits{kSolo, "its file comes from n2: 5 % of 80.0 MB"});
  CHECK(rig.group(0).reason == "its file comes from n2: 5 % of 80.0 MB");
  CHECK(rig.group(0).state == GroupState::starting);
  CHECK(rig.machine.tree()[1].reason == "its file comes from n2: 5 % of 80.0 MB");
  CHECK(rig.event("group").ends_with("its file comes from n2: 5 % of 80.0 MB"));
  rig.join(kSolo);
  rig.step(node_in::SpawnWaits{kSolo, "its file comes from n2: 9 % of 80.0 MB"});
  CHECK(rig.group(0).reason == "the model is loading");
  rig.loaded(kSolo);
  for (const std::string& child : {kSolo, kRouter, std::string("n1/shard/nobody")}) {
    rig.step(node_in::SpawnWaits{child, "its file is missing"});
    CHECK(rig.effects.empty());
  }
  CHECK(rig.group(0).state == GroupState::ready);
}

}  // namespace node_supervisor_test
