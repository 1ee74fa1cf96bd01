#include "cluster/self_doubt.h"

#include <doctest/doctest.h>

using namespace troupe;

namespace self_doubt_test {
namespace {

/// That hears these.
SelfDoubt hears(std::initializer_list<const char*> nodes, double timing_scale = 1) {
  SelfDoubt doubt(nodes.size(), timing_scale);
  for (const char* node : nodes) doubt.heard(node);
  return doubt;
}

const std::string kAlone =
    "this node hears no other node of its config: check its network, and whether they run";

}  // namespace

TEST_CASE("self-doubt: one of three that hears neither of the others any more is in doubt") {
  SelfDoubt doubt = hears({"a", "b"});
  doubt.fell_silent(Time(10s), "a");
  CHECK_FALSE(doubt.cut_off());
  CHECK(doubt.remark().empty());
  doubt.fell_silent(Time(10s + kDeadAfter), "b");
  CHECK(doubt.cut_off());
  CHECK(doubt.remark() ==
        "this node stopped hearing 2 of 2 other nodes at once and may be the one that is cut off: "
        "check its network");
  doubt.heard("b");
  CHECK_FALSE(doubt.cut_off());
  CHECK(doubt.remark().empty());
}

TEST_CASE("self-doubt: of two nodes neither can tell, but who is alone says so") {
  SelfDoubt doubt = hears({"a"});
  CHECK(doubt.remark().empty());
  doubt.fell_silent(Time(10s), "a");
  CHECK_FALSE(doubt.cut_off());
  CHECK(doubt.remark() == kAlone);
  doubt.heard("a");
  CHECK(doubt.remark().empty());
}

TEST_CASE("self-doubt: half of four says nothing, three of four do") {
  SelfDoubt doubt = hears({"a", "b", "c"});
  doubt.fell_silent(Time(10s), "a");
  doubt.fell_silent(Time(10s), "b");
  CHECK_FALSE(doubt.cut_off());
  CHECK(doubt.remark().empty());
  doubt.fell_silent(Time(10s), "c");
  CHECK(doubt.cut_off());
  // It lasts until so many are heard that the others are no longer more.
  doubt.heard("a");
  CHECK_FALSE(doubt.cut_off());
}

TEST_CASE("self-doubt: nodes that fall one after another are dead, not out of reach") {
  SelfDoubt doubt = hears({"a", "b"});
  doubt.fell_silent(Time(10s), "a");
  doubt.fell_silent(Time(10s + kDeadAfter + 1ms), "b");
  CHECK_FALSE(doubt.cut_off());
  CHECK(doubt.remark() == kAlone);
  // A slow machine's window is longer.
  SelfDoubt slow = hears({"a", "b"}, 3);
  slow.fell_silent(Time(10s), "a");
  slow.fell_silent(Time(10s + kDeadAfter + 1ms), "b");
  CHECK(slow.cut_off());
}

TEST_CASE("self-doubt: nodes that said that they would go raise none") {
  SelfDoubt doubt = hears({"a", "b"});
  doubt.left("a");
  doubt.fell_silent(Time(10s), "b");
  CHECK_FALSE(doubt.cut_off());
  CHECK(doubt.remark() == kAlone);
}

TEST_CASE("self-doubt: who never heard anybody says so, and a node alone in its config does not") {
  CHECK(SelfDoubt(2, 1).remark() == kAlone);
  CHECK(SelfDoubt(0, 1).remark().empty());
}

}  // namespace self_doubt_test
