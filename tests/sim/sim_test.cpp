#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <thread>

#include "tests/sim/run.h"

using namespace troupe;

namespace sim_test {
namespace {

constexpr uint64_t kSeeds = TROUPE_SIM_SEEDS;

thread_local uint64_t current_seed = 0;

/// A broken invariant of a machine aborts: say which seed shows it.
void say_seed(int) {
  std::fprintf(stderr, "replay with: scripts/sim.sh %llu --trace\n",
               static_cast<unsigned long long>(current_seed));
  std::signal(SIGABRT, SIG_DFL);
  std::raise(SIGABRT);
}

}  // namespace

TEST_CASE("sim: whatever goes wrong, every answer is the oracle's and every request ends once") {
  auto* const before = std::signal(SIGABRT, say_seed);
  std::atomic<uint64_t> next{1};
  std::mutex mutex;
  std::vector<std::pair<uint64_t, std::string>> violations;
  sim::Totals totals;
  uint64_t deaths = 0, drains = 0, node_deaths = 0, several = 0, events = 0, meetings = 0,
           hangs = 0;
  const auto work = [&] {
    while ((current_seed = next++) <= kSeeds) {
      const sim::RunResult result = sim::run({.seed = current_seed});
      const std::lock_guard lock(mutex);
      if (!result.violation.empty()) violations.emplace_back(current_seed, result.violation);
      totals.complete += result.totals.complete;
      totals.failed += result.totals.failed;
      totals.lost += result.totals.lost;
      totals.tokens += result.totals.tokens;
      totals.retries += result.totals.retries;
      totals.cached += result.totals.cached;
      totals.coalesced += result.totals.coalesced;
      deaths += static_cast<uint64_t>(result.deaths);
      drains += static_cast<uint64_t>(result.drains);
      node_deaths += static_cast<uint64_t>(result.node_deaths);
      several += result.nodes > 1 ? 1 : 0;
      events += result.events;
      meetings += result.meetings;
      hangs += static_cast<uint64_t>(result.hangs);
    }
  };
  {
    std::jthread other(work);
    work();
  }
  std::signal(SIGABRT, before);
  std::sort(violations.begin(), violations.end());
  for (const auto& [seed, what] : violations) {
    FAIL_CHECK("seed " << seed << " " << what << "; replay with: scripts/sim.sh " << seed
                       << " --trace");
  }
  // The runs must have reached what they are meant to try.
  CHECK(totals.complete > kSeeds * 20);
  CHECK(totals.tokens > kSeeds * 400);
  CHECK(totals.retries > kSeeds / 2);
  CHECK(totals.lost > kSeeds / 20);
  CHECK(totals.cached > kSeeds / 10);
  CHECK(totals.coalesced > kSeeds / 10);
  CHECK(deaths > kSeeds);
  CHECK(drains > kSeeds / 10);
  CHECK(several >= kSeeds / 2);
  CHECK(node_deaths > kSeeds / 8);
  CHECK(meetings > kSeeds / 4);
  CHECK(hangs > kSeeds / 50);  // most are hidden by another fault
  MESSAGE(kSeeds << " seeds, " << several << " with several nodes, " << events << " events, "
                 << totals.complete << " answers, " << totals.tokens << " tokens, "
                 << totals.retries << " of them over a failure, " << deaths << " deaths, "
                 << node_deaths << " of whole nodes, " << meetings
                 << " meetings of ranks of several nodes, " << hangs
                 << " hung supervisors noticed, " << totals.failed << " failed, " << totals.lost
                 << " lost with their router");
}

TEST_CASE("sim: a supervisor that hangs takes its groups out of routing, and nothing else") {
  int tried = 0, hangs = 0;
  for (uint64_t seed = 1; tried < std::min<int>(kSeeds / 25, 200); ++seed) {
    if (!sim::several_nodes(seed)) continue;
    const sim::RunResult result = sim::run({.seed = seed, .only = sim::Only::hangs});
    ++tried;
    hangs += result.hangs;
    if (result.drains == 0) CHECK(result.deaths + result.node_deaths == 0);
    CHECK(result.totals.lost == 0);
    if (!result.violation.empty()) FAIL_CHECK("seed " << seed << " " << result.violation);
  }
  CHECK(hangs > tried);
  MESSAGE(tried << " seeds, " << hangs << " hung supervisors noticed");
}

TEST_CASE("sim: a link process that is killed ends no other process, no generation and no node") {
  int tried = 0, killed = 0;
  for (uint64_t seed = 1; tried < std::min<int>(kSeeds / 25, 200); ++seed) {
    if (!sim::several_nodes(seed)) continue;
    const sim::RunResult result = sim::run({.seed = seed, .only = sim::Only::links});
    ++tried;
    killed += result.link_deaths;
    if (result.drains == 0) CHECK(result.deaths == result.link_deaths);
    CHECK(result.node_deaths == 0);
    CHECK(result.totals.lost == 0);
    if (!result.violation.empty()) FAIL_CHECK("seed " << seed << " " << result.violation);
  }
  CHECK(killed > tried);
  MESSAGE(tried << " seeds, " << killed << " link processes killed");
}

TEST_CASE("sim: a seed replays the same run") {
  const auto first = sim::run({.seed = 7}), second = sim::run({.seed = 7});
  CHECK(first.events == second.events);
  CHECK(first.totals.tokens == second.totals.tokens);
}

}  // namespace sim_test
