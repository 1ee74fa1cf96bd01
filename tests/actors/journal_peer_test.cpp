// The node process as journal peer, through the real shells: what a router showed before it died
// can be read back by the next one.
#include <doctest/doctest.h>

#include "model/oracle/oracle_reference.h"
#include "tests/actors/one_node.h"

using troupe::testing::Delivered;
using troupe::testing::OneNode;
using troupe::testing::Recorder;

namespace troupe::journal_peer_test {
namespace {

const std::vector<int32_t> kPrompt = {104, 101, 108, 108, 111};

JournalEntry read_back(OneNode& node, Recorder* router, RequestId id) {
  caf::send_as(router->handle, node.supervisor,
               wire(node.spawned.back().incarnation, JournalRead{id}));
  node.stage.drain();
  const auto entries = router->all<JournalEntry>();
  REQUIRE_FALSE(entries.empty());
  CHECK(entries.back().id == id);
  return entries.back();
}

}  // namespace

TEST_CASE("journal peer: a dead router's open request is read back with all that was shown of it") {
  OneNode node;
  const RequestId ended = node.submit(kPrompt, 4);
  node.advance(1s);
  REQUIRE(node.bridge.got[ended].ended);
  node.lane->steps_left = 6;  // the answer stops in the middle
  const RequestId open = node.submit({104, 105}, 50);
  node.advance(500ms);
  const Delivered shown = node.bridge.got[open];
  CHECK_FALSE(shown.ended);
  REQUIRE(shown.tokens.size() >= 3);

  Recorder* next = node.replace_router();
  const JournalEntry entry = read_back(node, next, open);
  REQUIRE(entry.known);
  CHECK(entry.open.prompt == std::vector<TokenId>{TokenId(104), TokenId(105)});
  CHECK(entry.open.max_new == 50);
  CHECK(entry.open.model == "oracle");
  CHECK(entry.open.sampling.ignore_eos);
  REQUIRE(entry.accepted.size() == 1);
  std::vector<int32_t> accepted;
  for (const TokenId token : entry.accepted[0]) accepted.push_back(token.value);
  // Nothing was shown before it was written, and what was written is the answer.
  REQUIRE(accepted.size() >= shown.tokens.size());
  CHECK(std::equal(shown.tokens.begin(), shown.tokens.end(), accepted.begin()));
  const auto whole = oracle_continue_past_end(kOracleSeed, std::vector<int32_t>{104, 105}, 50);
  CHECK(std::equal(accepted.begin(), accepted.end(), whole.begin()));
  // What had ended is nobody's any more.
  CHECK_FALSE(read_back(node, next, ended).known);
}

}  // namespace troupe::journal_peer_test
