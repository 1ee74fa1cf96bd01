#include "cluster/file_fetch.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "config/digest.h"
#include "tests/support/all_of_kind.h"

using namespace troupe;

namespace file_fetch_test {
namespace {

const Digest kRight = sha256("right"), kWrong = sha256("wrong");
const std::string kMissing = "/m.gguf is not there";

struct Rig {
  FileFetch machine;
  FetchEffects effects;  ///< of the last step
  Time now{};

  explicit Rig(std::vector<std::string> peers = {"n2", "n3"})
      : machine({kRight, "/m.gguf", std::move(peers), 1'000}) {}

  void step(const FetchInput& input) {
    effects.clear();
    machine.step(now, input, effects);
    machine.check();
  }
  template <class Effect>
  std::vector<Effect> all() const {
    return test::all_of_kind<Effect>(effects);
  }
  void want() { step(fetch_in::Want{}); }
  void checked(FilePlace place, const Digest& digest) {
    step(fetch_in::Checked{place, digest, {}});
  }
  void missing(FilePlace place) {
    step(fetch_in::Checked{place, std::nullopt, {ErrorCode::not_found, kMissing, {}}});
  }
  /// Wanted, and neither here nor fetched before: a peer is asked.
  void nothing_here() {
    want();
    missing(FilePlace::source);
    missing(FilePlace::copy);
  }
  /// One transfer that reaches its end; the part's digest is to be found out.
  void transfer(uint64_t from = 0) {
    step(fetch_in::Answered{100, from});
    if (from < 100) step(fetch_in::Came{100});
    CHECK(checks() == std::vector{FilePlace::part});
  }
  void elapse() {
    REQUIRE(machine.deadline().has_value());
    now = *machine.deadline();
    step(fetch_in::Tick{});
  }
  std::vector<FilePlace> checks() const {
    std::vector<FilePlace> places;
    for (const auto& check : all<fetch_out::Check>()) places.push_back(check.place);
    return places;
  }
  /// Whom the last step asked; empty: nobody.
  std::string asked() const {
    const auto asks = all<fetch_out::Ask>();
    CHECK(asks.size() <= 1);
    return asks.empty() ? "" : asks.front().peer;
  }
  std::string told() const {
    const auto tells = all<fetch_out::Tell>();
    return tells.empty() ? "" : tells.back().what;
  }
  std::string warned() const {
    const auto warnings = all<fetch_out::Warn>();
    return warnings.empty() ? "" : warnings.back().what;
  }
  bool ready(FilePlace place) const {
    const auto readies = all<fetch_out::Ready>();
    return readies.size() == 1 && readies.front().place == place;
  }
  bool hung_up() const { return !all<fetch_out::HangUp>().empty(); }
};

}  // namespace

TEST_CASE("file fetch: the source is used if its digest is right, and nobody is asked") {
  Rig rig;
  rig.want();
  CHECK(rig.checks() == std::vector{FilePlace::source});
  rig.step(fetch_in::Reading{FilePlace::source, 12'345'678});
  CHECK(rig.told() == "all 12.3 MB of its file are checked against sha256");
  rig.checked(FilePlace::source, kRight);
  CHECK(rig.ready(FilePlace::source));
  CHECK(rig.warned().empty());
  CHECK_FALSE(rig.machine.deadline().has_value());
  // The next process that starts has it looked at again: it may be another file by now.
  rig.want();
  CHECK(rig.checks() == std::vector{FilePlace::source});
}

TEST_CASE("file fetch: without a source the copy is used, and one that is damaged is deleted") {
  Rig rig;
  rig.want();
  rig.missing(FilePlace::source);
  CHECK(rig.checks() == std::vector{FilePlace::copy});
  rig.checked(FilePlace::copy, kRight);
  CHECK(rig.ready(FilePlace::copy));
  CHECK(rig.warned().empty());

  rig.want();
  rig.missing(FilePlace::source);
  rig.checked(FilePlace::copy, kWrong);
  REQUIRE(rig.all<fetch_out::Discard>().size() == 1);
  CHECK(rig.all<fetch_out::Discard>().front().place == FilePlace::copy);
  CHECK(rig.warned() == "the copy that was fetched in place of /m.gguf is damaged: it is deleted");
  CHECK(rig.asked() == "n2");
}

TEST_CASE("file fetch: what a peer sends is used once all of it has the digest") {
  Rig rig;
  rig.nothing_here();
  CHECK(rig.asked() == "n2");
  rig.step(fetch_in::Answered{100, 0});
  CHECK(rig.told() == "its file comes from n2: 0 % of 0.0 MB");
  rig.step(fetch_in::Came{60});
  CHECK(rig.effects.empty());
  rig.now += kFileTellInterval;
  rig.step(fetch_in::Came{70});
  CHECK(rig.told() == "its file comes from n2: 70 % of 0.0 MB");
  rig.step(fetch_in::Came{100});
  CHECK(rig.hung_up());
  CHECK(rig.checks() == std::vector{FilePlace::part});
  rig.checked(FilePlace::part, kRight);
  CHECK(rig.all<fetch_out::Keep>().size() == 1);
  CHECK_FALSE(rig.ready(FilePlace::copy));  // not before it is on disk under its name
  rig.step(fetch_in::Kept{});
  CHECK(rig.ready(FilePlace::copy));
}

TEST_CASE("file fetch: another file at the source is told with both digests, unless a peer helps") {
  Rig rig({"n2"});
  rig.want();
  rig.checked(FilePlace::source, kWrong);
  rig.missing(FilePlace::copy);
  CHECK(rig.asked() == "n2");
  rig.step(fetch_in::Refused{FileRefusal::unknown});
  const std::string differs =
      "/m.gguf has sha256 " + to_hex(kWrong) + ", the config asks for " + to_hex(kRight);
  CHECK(rig.told() == differs +
                          ", and no other node sends it (n2 does not have it); put the right "
                          "file there, or start a node that has it");
  rig.elapse();
  rig.checked(FilePlace::source, kWrong);
  rig.missing(FilePlace::copy);
  rig.transfer();
  rig.checked(FilePlace::part, kRight);
  rig.step(fetch_in::Kept{});
  CHECK(rig.ready(FilePlace::copy));
  CHECK(rig.warned() ==
        differs + ": the copy fetched from another node is used; put the right file there");
}

TEST_CASE("file fetch: a cluster of one node says what is wrong and looks again") {
  Rig rig{std::vector<std::string>{}};
  rig.want();
  rig.missing(FilePlace::source);
  rig.missing(FilePlace::copy);
  CHECK(rig.told() == kMissing + "; put the right file there");
  CHECK(rig.asked().empty());
  rig.elapse();
  CHECK(rig.checks() == std::vector{FilePlace::source});
  rig.checked(FilePlace::source, kRight);
  CHECK(rig.ready(FilePlace::source));
}

TEST_CASE("file fetch: peers are asked in turn, and all again with back-off up to its bound") {
  Rig rig;
  rig.nothing_here();
  CHECK(rig.asked() == "n2");
  rig.step(fetch_in::Refused{FileRefusal::busy});
  CHECK(rig.hung_up());
  CHECK(rig.asked() == "n3");
  rig.step(fetch_in::Broken{"does not answer"});
  CHECK(rig.told() == kMissing +
                          ", and no other node sends it (n2 sends to others, n3 does not answer); "
                          "put the right file there, or start a node that has it");
  for (Duration wait = kFileRetryFirst; wait < 3 * kFileRetryMax; wait *= 2) {
    CHECK(*rig.machine.deadline() - rig.now == std::min(wait, kFileRetryMax));
    rig.elapse();
    rig.missing(FilePlace::source);
    rig.missing(FilePlace::copy);
    CHECK(rig.asked() == "n2");
    rig.step(fetch_in::Refused{FileRefusal::busy});
    rig.step(fetch_in::Broken{"does not answer"});
    CHECK(rig.told().empty());  // nothing new
  }
  // Who comes to wait is told what the others were told.
  rig.want();
  CHECK(rig.told().starts_with(kMissing));
  CHECK(rig.effects.size() == 1);
}

TEST_CASE("file fetch: a peer that is silent is given up, before and in a transfer") {
  Rig rig;
  rig.nothing_here();
  CHECK(*rig.machine.deadline() == rig.now + kFileAnswerTimeout);
  rig.elapse();
  CHECK(rig.hung_up());
  CHECK(rig.asked() == "n3");
  rig.step(fetch_in::Answered{100, 0});
  rig.now += 1s;
  rig.step(fetch_in::Came{10});
  CHECK(*rig.machine.deadline() == rig.now + kFileSilenceMax);
  rig.now += 1s;
  rig.step(fetch_in::Came{10});  // nothing new is no sign of life
  CHECK(*rig.machine.deadline() == rig.now - 1s + kFileSilenceMax);
  rig.elapse();
  CHECK(rig.hung_up());
  CHECK(rig.told().find("(n2 did not answer within 5 s, n3 sent nothing for 15 s)") !=
        std::string::npos);
}

TEST_CASE("file fetch: a transfer that broke off goes on with the next peer, where it was") {
  Rig rig;
  rig.nothing_here();
  rig.step(fetch_in::Answered{100, 0});
  rig.step(fetch_in::Came{40});
  rig.step(fetch_in::Broken{"hung up at byte 40"});
  CHECK(rig.asked() == "n3");
  CHECK(rig.all<fetch_out::Discard>().empty());
  rig.step(fetch_in::Answered{100, 40});
  CHECK(rig.told() == "its file comes from n3: 40 % of 0.0 MB");
  rig.step(fetch_in::Came{100});
  rig.checked(FilePlace::part, kRight);
  rig.step(fetch_in::Kept{});
  CHECK(rig.ready(FilePlace::copy));
}

TEST_CASE("file fetch: progress makes the next try soon") {
  Rig rig({"n2"});
  rig.nothing_here();
  for (int i = 0; i < 5; ++i) {
    rig.step(fetch_in::Refused{FileRefusal::unchecked});
    rig.elapse();
    rig.missing(FilePlace::source);
    rig.missing(FilePlace::copy);
  }
  rig.step(fetch_in::Answered{100, 0});
  rig.step(fetch_in::Came{1});
  rig.step(fetch_in::Broken{"hung up at byte 1"});
  CHECK(*rig.machine.deadline() - rig.now == kFileRetryFirst);
}

TEST_CASE("file fetch: all that is left of a whole part is to check it") {
  Rig rig;
  rig.nothing_here();
  rig.transfer(100);
  rig.checked(FilePlace::part, kRight);
  CHECK(rig.all<fetch_out::Keep>().size() == 1);
}

TEST_CASE("file fetch: wrong bytes are fetched anew once, and then people are told") {
  Rig rig;
  rig.nothing_here();
  rig.transfer(40);  // of a former life
  rig.checked(FilePlace::part, kWrong);
  REQUIRE(rig.all<fetch_out::Discard>().size() == 1);
  CHECK(rig.all<fetch_out::Discard>().front().place == FilePlace::part);
  const std::string wrong =
      "has sha256 " + to_hex(kWrong) + ", the config asks for " + to_hex(kRight);
  CHECK(rig.warned() == "what came from n2 " + wrong + ": it is fetched anew");
  CHECK(rig.asked() == "n3");  // not the one it came from, if there is another
  rig.transfer();
  rig.checked(FilePlace::part, kWrong);
  CHECK(rig.all<fetch_out::Discard>().size() == 1);
  CHECK(rig.asked().empty());
  CHECK(rig.told() == "what came from n3 " + wrong +
                          ", also when it was fetched anew; compare the files of the nodes");
  CHECK(*rig.machine.deadline() - rig.now == kFileWrongRetry);
  // And the next time once more.
  rig.elapse();
  rig.missing(FilePlace::source);
  rig.missing(FilePlace::copy);
  rig.transfer();
  rig.checked(FilePlace::part, kWrong);
  CHECK(rig.asked() != "");
}

TEST_CASE("file fetch: a part that is longer than the file is begun anew") {
  Rig rig({"n2"});
  rig.nothing_here();
  rig.step(fetch_in::Refused{FileRefusal::past_end});
  CHECK(rig.hung_up());
  CHECK(rig.all<fetch_out::Discard>().size() == 1);
  CHECK(rig.asked() == "n2");
  rig.transfer();
  rig.checked(FilePlace::part, kRight);
  rig.step(fetch_in::Kept{});
  CHECK(rig.ready(FilePlace::copy));
}

TEST_CASE("file fetch: a file over the limit is not taken") {
  for (const uint64_t size : {uint64_t{1'001}, uint64_t{0}, ~uint64_t{0}}) {
    Rig rig({"n2"});
    rig.nothing_here();
    rig.step(fetch_in::Answered{size, 0});
    CHECK(rig.hung_up());
    CHECK(rig.told().find("n2 has one of " + std::to_string(size) + " bytes, the limit is 1000") !=
          std::string::npos);
  }
  Rig rig;
  rig.nothing_here();
  rig.step(fetch_in::Answered{1'000, 0});
  CHECK_FALSE(rig.hung_up());
}

TEST_CASE("file fetch: a disk that takes no more is told, and tried again") {
  for (const bool early : {true, false}) {
    Rig rig;
    rig.nothing_here();
    if (!early) rig.step(fetch_in::Answered{100, 0});
    rig.step(fetch_in::Stuck{{ErrorCode::unavailable, "the disk is full; free some space", {}}});
    CHECK(rig.told() == "the disk is full; free some space");
    CHECK(rig.asked().empty());
    CHECK(*rig.machine.deadline() - rig.now == kFileRetryMax);
    rig.elapse();
    CHECK(rig.checks() == std::vector{FilePlace::source});
  }
}

TEST_CASE("file fetch: for a caller the file is looked at, and nothing is fetched") {
  Rig rig;
  rig.step(fetch_in::Asked{});
  CHECK(rig.checks() == std::vector{FilePlace::source});
  rig.step(fetch_in::Reading{FilePlace::source, 1'000});
  rig.missing(FilePlace::source);
  rig.missing(FilePlace::copy);
  CHECK(rig.effects.empty());
  CHECK_FALSE(rig.machine.deadline().has_value());
  rig.step(fetch_in::Asked{});
  rig.checked(FilePlace::source, kRight);
  CHECK(rig.effects.empty());
  // A rank that comes to want it meanwhile gets it.
  rig.step(fetch_in::Asked{});
  rig.want();
  rig.missing(FilePlace::source);
  rig.missing(FilePlace::copy);
  CHECK(rig.asked() == "n2");
}

TEST_CASE("file fetch: whatever peers and disks do, only right bytes are used, and in the end") {
  const uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  for (int round = 0; round < 300; ++round) {
    Rig rig({"n2", "n3", "n4"});
    // What lies where; the part as (bytes, all right).
    std::map<FilePlace, Digest> here;
    uint64_t part = random() % 101;
    bool part_right = part == 0 || chance(50);
    bool calm = false;
    int used = 0;
    std::vector<FetchInput> inputs = {fetch_in::Want{}};
    std::optional<uint64_t> line;  // an open connection: where the transfer is
    bool sends_right = true;
    for (int steps = 0; steps < 3'000 && !used; ++steps) {
      calm = steps > 300;  // from then on every peer is good
      if (inputs.empty()) {
        if (line) {
          part = std::min<uint64_t>(100, *line + 1 + random() % 60);
          part_right &= sends_right;
          line = part;
          inputs.push_back(!calm && chance(20) ? FetchInput(fetch_in::Broken{"broke off"})
                                               : FetchInput(fetch_in::Came{part}));
          if (std::holds_alternative<fetch_in::Broken>(inputs.back())) line.reset();
        } else {
          REQUIRE(rig.machine.deadline().has_value());
          rig.now = *rig.machine.deadline();
          inputs.push_back(fetch_in::Tick{});
        }
      }
      const FetchInput input = inputs.front();
      inputs.erase(inputs.begin());
      rig.step(input);
      for (const FetchEffect& effect : rig.effects) {
        if (auto* check = std::get_if<fetch_out::Check>(&effect)) {
          fetch_in::Checked checked{check->place, std::nullopt, {ErrorCode::not_found, "gone", {}}};
          if (check->place == FilePlace::part)
            checked.digest = part == 100 && part_right ? kRight : kWrong;
          else if (here.contains(check->place))
            checked.digest = here.at(check->place);
          inputs.push_back(checked);
        } else if (std::holds_alternative<fetch_out::Ask>(effect)) {
          CHECK_FALSE(line.has_value());
          if (!calm && chance(50)) {
            inputs.push_back(chance(50) ? FetchInput(fetch_in::Refused{static_cast<FileRefusal>(
                                              1 + random() % kFileRefusals)})
                                        : FetchInput(fetch_in::Broken{"no answer"}));
          } else {
            sends_right = calm || chance(60);
            line = part;
            inputs.push_back(fetch_in::Answered{100, part});
          }
        } else if (std::holds_alternative<fetch_out::HangUp>(effect)) {
          line.reset();
        } else if (auto* discard = std::get_if<fetch_out::Discard>(&effect)) {
          if (discard->place == FilePlace::part) {
            part = 0;
            part_right = true;
          } else {
            here.erase(discard->place);
          }
        } else if (std::holds_alternative<fetch_out::Keep>(effect)) {
          CHECK(part == 100);
          if (chance(20)) {
            inputs.push_back(fetch_in::Stuck{{ErrorCode::unavailable, "full", {}}});
          } else {
            here[FilePlace::copy] = part_right ? kRight : kWrong;
            part = 0;
            part_right = true;
            inputs.push_back(fetch_in::Kept{});
          }
        } else if (auto* ready = std::get_if<fetch_out::Ready>(&effect)) {
          ++used;
          REQUIRE(here.contains(ready->place));
          CHECK(here.at(ready->place) == kRight);
        }
      }
    }
    CHECK(used == 1);
  }
}

}  // namespace file_fetch_test
