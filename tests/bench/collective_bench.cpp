// How long calls among two ranks take: shared memory quiet and with a busy neighbour on each core,
// TLS over loopback, or over two network namespaces. One table, with the goals.
//   collective_bench [calls]
//   collective_bench [calls] netns NAME ADDRESS NAME ADDRESS     (tests/bench/collective_netns.sh)
// Ranks are processes, one pinned to each of the first two cores. The time of a gather is the
// call's on rank 0; of a broadcast half of one there and one back. The mean shows what the others
// of a core cost.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "net/shm_collective.h"
#include "net/tcp_collective.h"

namespace {

using namespace troupe;
using Clock = std::chrono::steady_clock;

constexpr size_t kGatherBytes[] = {1'280, 1'024};  // SmolLM2: 5 and 4 heads of 64 floats
constexpr size_t kPlanBytes = 1'024;
constexpr size_t kLargeBytes[] = {512 * 1'024, 512 * 1'024};
constexpr int kDataPort = 7'791;
constexpr Duration kAllowed = 20s;

int calls = 20'000;

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(core) % std::thread::hardware_concurrency(), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

volatile uint32_t sink;

/// A process on each core that computes whenever it is let.
class Neighbours {
 public:
  explicit Neighbours(unsigned count) {
    for (unsigned core = 0; core < count; ++core) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(600);
        pin(static_cast<int>(core));
        for (uint32_t x = 1;; x = x * 1'664'525 + 1) sink = x;
      }
      children_.push_back(child);
    }
  }
  ~Neighbours() {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

 private:
  std::vector<pid_t> children_;
};

struct Figures {
  double p50 = 0, p99 = 0, mean = 0;  ///< us; 0: it failed, and the reason was printed
};

using Make = std::function<Result<std::unique_ptr<Collective>>(int rank)>;
using Call = std::function<Result<void>(Collective&, CallTag)>;

Result<Figures> measure(Collective& collective, const Call& call, int count) {
  std::vector<double> took;
  took.reserve(static_cast<size_t>(count));
  for (int i = -count / 10; i < count; ++i) {
    const auto begin = Clock::now();
    const CallTag tag{1, static_cast<uint64_t>(i + count), 0, kAllowed};
    if (auto done = call(collective, tag); !done) return std::unexpected(done.error());
    const std::chrono::duration<double, std::micro> spent = Clock::now() - begin;
    if (i >= 0) took.push_back(spent.count());
  }
  std::ranges::sort(took);
  const double all = std::accumulate(took.begin(), took.end(), 0.0);
  return Figures{took[took.size() / 2], took[took.size() * 99 / 100],
                 all / static_cast<double>(took.size())};
}

/// Two ranks as processes; what rank 0 saw.
Figures run(const Make& make, const Call& call, int count) {
  auto* const seen = static_cast<Figures*>(
      ::mmap(nullptr, sizeof(Figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  *seen = {};
  std::vector<pid_t> ranks;
  for (int r = 0; r < 2; ++r) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(120);
      pin(r);
      auto collective = make(r);
      auto figures = collective ? measure(**collective, call, count)
                                : Result<Figures>(std::unexpected(collective.error()));
      if (!figures) fmt::print(stderr, "rank {}: {}\n", r, figures.error().message);
      if (figures && r == 0) *seen = *figures;
      ::_exit(0);
    }
    ranks.push_back(child);
  }
  for (const pid_t rank : ranks) ::waitpid(rank, nullptr, 0);
  const Figures figures = *seen;
  ::munmap(seen, sizeof(Figures));
  return figures;
}

Call gather(std::span<const size_t, 2> counts) {
  return [counts, all = std::vector<std::byte>(counts[0] + counts[1])](Collective& collective,
                                                                       CallTag tag) mutable {
    const size_t own = collective.rank() == 0 ? 0 : counts[0];
    const auto mine = std::span(all).subspan(own, counts[static_cast<size_t>(collective.rank())]);
    return collective.all_gather_v(mine, all, counts, tag);
  };
}

Call there_and_back() {
  return [plan = std::vector<std::byte>(kPlanBytes)](Collective& collective,
                                                     CallTag tag) mutable -> Result<void> {
    if (auto there = collective.broadcast({plan}, 0, tag); !there) return there;
    tag.seq = 1;
    return collective.broadcast({plan}, 1, tag);
  };
}

void print_row(const std::string& what, size_t bytes, Figures figures, const std::string& goal) {
  fmt::print("{:<58} {:>9} {:>9.1f} {:>9.1f} {:>9.1f}   {}\n", what, bytes, figures.p50,
             figures.p99, figures.mean, goal);
  std::fflush(stdout);
}

Make shm_ranks() {
  return [map = ShmMap::create(2, 1).value()](int rank) -> Result<std::unique_ptr<Collective>> {
    auto own = ShmMap::open(map->descriptor());
    if (!own) return std::unexpected(own.error());
    return make_shm_collective(*own, rank);
  };
}

/// `names`: of network namespaces, or empty.
Make tcp_ranks(const std::vector<std::string>& names, const std::vector<std::string>& hosts) {
  TcpGroup group{.name = "bench",
                 .generation = 1,
                 .rank = 0,
                 .addresses = {{hosts[0], kDataPort}, {hosts[1], kDataPort + 1}},
                 .key = GroupKey::random()};
  return [group, names](int rank) mutable -> Result<std::unique_ptr<Collective>> {
    const auto own = static_cast<size_t>(rank);
    if (!names.empty()) {
      const FileDescriptor space(::open(("/run/netns/" + names[own]).c_str(), O_RDONLY));
      if (!space || ::setns(space.get(), CLONE_NEWNET) != 0)
        return fail(ErrorCode::not_found, "no network namespace " + names[own] +
                                              "; run tests/bench/collective_netns.sh as root");
    }
    group.rank = rank;
    const HostPort& at = group.addresses[own];
    HostPort bound;
    auto listener = listen_for_ranks(at.host, {at.port, at.port}, bound);
    if (!listener) return std::unexpected(listener.error());
    return form_tcp_collective(group, std::move(*listener), std::make_shared<StopSignal>(),
                               kAllowed);
  };
}

Figures half(Figures both) { return {both.p50 / 2, both.p99 / 2, both.mean / 2}; }

void shm_rows() {
  const size_t bytes = kGatherBytes[0] + kGatherBytes[1];
  print_row("shm all_gather_v, quiet", bytes, run(shm_ranks(), gather(kGatherBytes), calls),
            "p50 <= 3");
  print_row("shm broadcast of a plan, quiet", kPlanBytes,
            half(run(shm_ranks(), there_and_back(), calls)), "p50 <= 4");
  print_row("shm all_gather_v of 1 MiB, quiet", kLargeBytes[0] + kLargeBytes[1],
            run(shm_ranks(), gather(kLargeBytes), calls / 20), "");
  const Neighbours neighbours(std::thread::hardware_concurrency());
  print_row("shm all_gather_v, a busy neighbour on each core", bytes,
            run(shm_ranks(), gather(kGatherBytes), calls), "p50 <= 10");
  print_row("shm broadcast of a plan, a busy neighbour on each core", kPlanBytes,
            half(run(shm_ranks(), there_and_back(), calls)), "");
}

void tcp_rows(const std::string& where, const std::vector<std::string>& names,
              const std::vector<std::string>& hosts) {
  print_row("tcp + TLS all_gather_v, " + where, kGatherBytes[0] + kGatherBytes[1],
            run(tcp_ranks(names, hosts), gather(kGatherBytes), calls), "p50 <= 60");
  print_row("tcp + TLS broadcast of a plan, " + where, kPlanBytes,
            half(run(tcp_ranks(names, hosts), there_and_back(), calls)), "");
  print_row("tcp + TLS all_gather_v of 1 MiB, " + where, kLargeBytes[0] + kLargeBytes[1],
            run(tcp_ranks(names, hosts), gather(kLargeBytes), calls / 20), "");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty()) calls = std::max(100, std::atoi(arguments[0].c_str()));
  const bool spaces = arguments.size() == 6 && arguments[1] == "netns";
  if (arguments.size() > 1 && !spaces) {
    fmt::print(stderr, "usage: collective_bench [calls [netns NAME ADDRESS NAME ADDRESS]]\n");
    return 2;
  }
  fmt::print("{:<58} {:>9} {:>9} {:>9} {:>9}   {}\n", "two ranks", "bytes", "p50 us", "p99 us",
             "mean us", "goal");
  if (spaces) {
    tcp_rows("two namespaces", {arguments[2], arguments[4]}, {arguments[3], arguments[5]});
  } else {
    shm_rows();
    tcp_rows("loopback", {}, {"127.0.0.1", "127.0.0.1"});
  }
  return 0;
}
