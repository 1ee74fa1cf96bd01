// Every kind of call with every kind of size, on every plane, against what the seed foretells.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "config/limits.h"
#include "model/step_frame.h"
#include "net/shm_collective.h"
#include "tests/collectives/call_script.h"
#include "tests/collectives/rank_processes.h"
#include "tests/support/local_collective.h"

namespace troupe::testing {
namespace random_calls_test {
namespace {

constexpr int kCalls = 60;

void check_plane(Plane plane) {
  for (int ranks = 2; ranks <= 5; ++ranks) {
    const uint64_t seed = 100 + static_cast<uint64_t>(ranks);
    const auto script = random_script(seed, ranks, kCalls);
    CAPTURE(seed);
    CAPTURE(ranks);
    CHECK(first_complaint(plane, ranks, [&](Collective& collective, const Parent&) {
            return play(collective, seed, script);
          }) == "");
  }
}

/// Ranks as threads of this process.
void check_threads(uint64_t seed, int ranks,
                   const std::function<std::unique_ptr<Collective>(int rank)>& make) {
  const auto script = random_script(seed, ranks, kCalls);
  std::vector<std::string> outcomes(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back(
        [&, r] { outcomes[static_cast<size_t>(r)] = play(*make(r), seed, script); });
  for (std::thread& thread : threads) thread.join();
  CAPTURE(seed);
  for (const std::string& outcome : outcomes) CHECK(outcome == "fine");
}

}  // namespace

TEST_CASE("collectives: ranks over shared memory get what their calls foretell") {
  check_plane(Plane::shm);
}

TEST_CASE("collectives: ranks over TLS get what their calls foretell") { check_plane(Plane::tcp); }

TEST_CASE("collectives: ranks of which some share a host get what their calls foretell") {
  check_plane(Plane::mixed);
}

TEST_CASE("collectives: the reference for tests gets what its calls foretell") {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    LocalGroup group(ranks, kTestGeneration);
    check_threads(200 + static_cast<uint64_t>(ranks), ranks, [&](int r) { return group.rank(r); });
  }
}

// One map for all, so that the thread sanitizer sees who writes what when.
TEST_CASE("collectives: threads over one map of shared memory get what their calls foretell") {
  for (int ranks = 2; ranks <= 4; ++ranks) {
    const auto map = ShmMap::create(ranks, kTestGeneration).value();
    check_threads(300 + static_cast<uint64_t>(ranks), ranks,
                  [&](int r) { return make_shm_collective(map, r).value(); });
  }
}

TEST_CASE("collectives: answers ahead leave the head rank while rank 0 takes none") {
  for (const Plane plane : {Plane::shm, Plane::tcp, Plane::mixed}) {
    CAPTURE(to_string(plane));
    CHECK(first_complaint(plane, 3, [](Collective& collective, const Parent&) {
            std::vector<std::byte> frame(StepFrame::kFirstPart);
            const auto first = tag(0);
            // Rank 0 takes from rank 2 only once that has told rank 1 that all has left.
            Result<void> done;
            if (collective.rank() == 1) {
              done = collective.recv({frame}, 2, first);
              if (done) done = collective.send({frame}, 0, first);
              return told(done);
            }
            if (collective.rank() == 0) done = collective.recv({frame}, 1, first);
            for (uint32_t i = 0; done && i < kAnswersAheadBytes / frame.size(); ++i)
              done = collective.rank() == 0 ? collective.recv({frame}, 2, tag(i))
                                            : collective.send({frame}, 0, tag(i));
            if (done && collective.rank() == 2) done = collective.send({frame}, 1, first);
            return told(done);
          }) == "");
  }
}

TEST_CASE("collectives: a gather reads a rank's part from its place in the result") {
  for (const Plane plane : {Plane::shm, Plane::tcp, Plane::mixed}) {
    CHECK(first_complaint(plane, 3, [](Collective& collective, const Parent&) {
            const std::vector<size_t> counts{3, 0, 2};
            std::vector<std::byte> all(5, std::byte{0});
            const size_t begins[] = {0, 3, 3};
            const auto own = static_cast<size_t>(collective.rank());
            const auto mine = std::span(all).subspan(begins[own], counts[own]);
            std::ranges::fill(mine, static_cast<std::byte>(own + 1));
            if (auto done = collective.all_gather_v(mine, all, counts, tag(0)); !done)
              return told(done);
            const std::vector<std::byte> expected{std::byte{1}, std::byte{1}, std::byte{1},
                                                  std::byte{3}, std::byte{3}};
            return std::string(all == expected ? "fine" : "other bytes");
          }) == "");
  }
}

}  // namespace random_calls_test
}  // namespace troupe::testing
