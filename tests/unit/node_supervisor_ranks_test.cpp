// What a node decides for the ranks of one group together.
#include <algorithm>

#include "cluster/node_supervisor.h"
#include "node_rig.h"

using namespace troupe;
using troupe::test::NodeRig;

namespace node_supervisor_ranks_test {
namespace {
const std::string &kSolo = NodeRig::kSolo, &kFirst = NodeRig::kFirst, &kSecond = NodeRig::kSecond;
}

TEST_CASE("node supervisor: ranks of a group share memory before they load, until it ends") {
  NodeRig rig;
  rig.step(node_in::Start{});
  rig.join(kSolo);
  CHECK(rig.all<node_out::Share>().empty());
  rig.join(kFirst);
  rig.join(kSecond);
  const auto shares = rig.all<node_out::Share>();
  REQUIRE(shares.size() == 1);
  CHECK(shares[0].group == GroupId(1));
  CHECK(shares[0].generation == Generation(1));
  REQUIRE(shares[0].ranks.size() == 2);
  CHECK(shares[0].ranks[0].child == kFirst);
  CHECK(shares[0].ranks[0].incarnation == rig.incarnation(kFirst));
  CHECK(shares[0].ranks[1].child == kSecond);
  CHECK(shares[0].ranks[1].incarnation == rig.incarnation(kSecond));
  const auto is_load = [](const NodeEffect& e) {
    const auto* to = std::get_if<node_out::ToChild>(&e);
    return to && std::holds_alternative<LoadOrder>(to->message);
  };
  const auto share = std::ranges::find_if(
      rig.effects, [](const NodeEffect& e) { return std::holds_alternative<node_out::Share>(e); });
  CHECK(share < std::ranges::find_if(rig.effects, is_load));
  SUBCASE("memory that can't be had is the reason why nothing loads") {
    rig.step(node_in::ShareFailed{
        GroupId(1), Generation(1), {ErrorCode::unavailable, "no memory is left", {}}});
    CHECK(rig.group(1).reason == "loading failed: no memory is left");
    REQUIRE(rig.all<node_out::LoadFailed>().size() == 1);
  }
  SUBCASE("a rank that is lost") {
    rig.loaded(kFirst);
    rig.loaded(kSecond);
    CHECK(rig.all<node_out::Unshare>().empty());
    rig.exit(kSecond);
  }
  REQUIRE(rig.all<node_out::Unshare>().size() == 1);
  CHECK(rig.all<node_out::Unshare>()[0].group == GroupId(1));
  CHECK(rig.all<node_out::Unshare>()[0].generation == Generation(1));
}

}  // namespace node_supervisor_ranks_test
