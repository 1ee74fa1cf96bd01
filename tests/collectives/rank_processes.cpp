#include "tests/collectives/rank_processes.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "config/check.h"
#include "net/group_collective.h"
#include "net/shm_collective.h"
#include "net/tcp_collective.h"

namespace troupe::testing {

namespace {

constexpr unsigned kRankSecondsMax = 100;  // a rank that hangs ends itself, and the test says so

using Listeners = std::vector<FileDescriptor>;

/// Which host a rank is on: two, with as equal shares as can be.
int host_of(Plane plane, int rank, int ranks) {
  return plane == Plane::mixed ? rank * 2 / ranks : 0;
}

std::vector<int> hosts_of(Plane plane, int ranks) {
  std::vector<int> hosts;
  for (int r = 0; r < ranks; ++r) hosts.push_back(host_of(plane, r, ranks));
  return hosts;
}

Result<std::unique_ptr<Collective>> join(Plane plane, int rank, const std::shared_ptr<ShmMap>& map,
                                         TcpGroup group, Listeners listeners) {
  std::shared_ptr<ShmMap> own;
  if (map != nullptr) {
    auto opened = ShmMap::open(map->descriptor());
    if (!opened) return std::unexpected(opened.error());
    own = *opened;
  }
  if (plane == Plane::shm) return make_shm_collective(own, rank);
  group.rank = rank;
  FileDescriptor listener = std::move(listeners[static_cast<size_t>(rank)]);
  listeners.clear();
  const auto stop = std::make_shared<StopSignal>();
  if (plane == Plane::tcp) return form_tcp_collective(group, std::move(listener), stop, 20s);
  return form_group_collective(hosts_of(plane, static_cast<int>(group.addresses.size())), own,
                               group, std::move(listener), stop, 20s);
}

}  // namespace

std::string to_string(Plane plane) {
  return plane == Plane::shm ? "shm" : plane == Plane::tcp ? "tcp" : "mixed";
}

void Parent::tell(const std::string& line) const {
  const std::string whole = line + "\n";
  TROUPE_CHECK(::write(pipe_, whole.data(), whole.size()) == static_cast<ssize_t>(whole.size()));
}

RankProcesses::RankProcesses(Plane plane, int ranks, const Body& body)
    : children_(static_cast<size_t>(ranks)) {
  Listeners listeners;
  TcpGroup group{.name = "test",
                 .generation = kTestGeneration,
                 .rank = 0,
                 .addresses = std::vector<HostPort>(static_cast<size_t>(ranks)),
                 .key = GroupKey::random()};
  const std::vector<int> hosts = hosts_of(plane, ranks);
  for (int host = 0; host <= hosts.back(); ++host) {
    const auto near = static_cast<int>(std::ranges::count(hosts, host));
    maps_.push_back(
        plane == Plane::tcp || near < 2 ? nullptr : ShmMap::create(near, kTestGeneration).value());
  }
  if (plane != Plane::shm)
    for (HostPort& address : group.addresses)
      listeners.push_back(listen_for_ranks("127.0.0.1", {}, address).value());
  for (int r = 0; r < ranks; ++r) {
    std::fflush(nullptr);  // or the child would print it again
    int ends[2];
    TROUPE_CHECK(::pipe(ends) == 0);
    const pid_t pid = ::fork();
    TROUPE_CHECK(pid >= 0);
    if (pid == 0) {
      ::close(ends[0]);
      for (const Child& sibling : children_)
        if (sibling.pipe >= 0) ::close(sibling.pipe);
      ::alarm(kRankSecondsMax);
      const Parent parent(ends[1]);
      auto collective = join(plane, r, maps_[static_cast<size_t>(hosts[static_cast<size_t>(r)])],
                             group, std::move(listeners));
      parent.tell(collective ? body(**collective, parent)
                             : "not formed: " + collective.error().message);
      collective = fail(ErrorCode::cancelled, "");
      ::_exit(0);
    }
    ::close(ends[1]);
    children_[static_cast<size_t>(r)] = {pid, ends[0], {}};
  }
}

RankProcesses::~RankProcesses() {
  for (const Child& child : children_) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    ::close(child.pipe);
  }
}

std::string RankProcesses::hear(int rank) {
  Child& child = children_[static_cast<size_t>(rank)];
  for (;;) {
    if (const size_t end = child.heard.find('\n'); end != std::string::npos) {
      std::string line = child.heard.substr(0, end);
      child.heard.erase(0, end + 1);
      return line;
    }
    char buffer[1024];
    const ssize_t got = ::read(child.pipe, buffer, sizeof buffer);
    if (got <= 0) return "ended";
    child.heard.append(buffer, static_cast<size_t>(got));
  }
}

void RankProcesses::signal(int rank, int signal) {
  ::kill(children_[static_cast<size_t>(rank)].pid, signal);
}

void RankProcesses::abort_generation(int host) const {
  set_abort(*maps_[static_cast<size_t>(host)], kTestGeneration);
}

std::string first_complaint(Plane plane, int ranks, const RankProcesses::Body& body) {
  RankProcesses processes(plane, ranks, body);
  std::string complaint;
  for (int r = 0; r < ranks; ++r)
    if (const std::string outcome = processes.hear(r); outcome != "fine" && complaint.empty())
      complaint = "rank " + std::to_string(r) + ": " + outcome;
  return complaint;
}

CallTag tag(uint32_t seq, Duration deadline) {
  return {.generation = kTestGeneration, .step = 40, .seq = seq, .deadline = deadline};
}

std::string told(const Result<void>& result) {
  if (result) return "fine";
  return std::string(name_of(result.error().code)) + ": " + result.error().message;
}

}  // namespace troupe::testing
