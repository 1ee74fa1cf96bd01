#include "actors/spawner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "actors/become_image.h"
#include "actors/exit_status.h"
#include "config/check.h"
#include "config/limits.h"
#include "net/clock.h"

namespace troupe {

namespace {

constexpr int kLifelineFd = 3;  ///< where the child finds its end

}  // namespace

void block_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (int s : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::sigaddset(&set, s);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Spawner::Spawner(SpawnerEvents events) : events_(std::move(events)) {
  image_ = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  sigset_t set;
  ::sigemptyset(&set);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, s);
  signals_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  TROUPE_CHECK(image_ >= 0 && wake_ >= 0 && signals_ >= 0, image_, wake_, signals_);
}

Spawner::~Spawner() {
  events_.exited = nullptr;  // these ends are no news to anybody
  for (auto& [name, child] : children_) ::kill(child.pid, SIGKILL);
  while (!children_.empty()) reap(children_.begin());
  ::close(image_);
  ::close(wake_);
  ::close(signals_);
}

void Spawner::spawn(SpawnCommand command) { post(std::move(command)); }
void Spawner::end(EndCommand command) { post(std::move(command)); }
void Spawner::share(ShareCommand command) { post(std::move(command)); }

void Spawner::post(Command command) {
  std::lock_guard lock(mutex_);
  TROUPE_CHECK(commands_.size() < kPeersMax, commands_.size());
  commands_.emplace_back(std::move(command));
  const uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
}

void Spawner::reload_all() {
  std::lock_guard lock(mutex_);
  reload_ = true;
  const uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
}

void Spawner::stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  const uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
}

void Spawner::run() {
  for (;;) {
    std::vector<Command> commands;
    bool reload = false;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      commands.swap(commands_);
      reload = std::exchange(reload_, false);
    }
    if (reload)
      for (auto& [name, child] : children_) send_reload(child.lifeline);
    for (const Command& command : commands) {
      if (auto* spawn = std::get_if<SpawnCommand>(&command))
        start(*spawn);
      else if (auto* shared = std::get_if<ShareCommand>(&command))
        handle_share(*shared);
      else
        handle_end(std::get<EndCommand>(command));
    }
    std::vector<pollfd> waits = {{wake_, POLLIN, 0}, {signals_, POLLIN, 0}};
    std::vector<std::string> names;
    std::optional<Time> kill_at;
    for (auto& [name, child] : children_) {
      waits.push_back({child.pidfd, POLLIN, 0});
      waits.push_back({child.lifeline, static_cast<short>(child.lifeline >= 0 ? POLLIN : 0), 0});
      names.push_back(name);
      if (child.kill_at && (!kill_at || *child.kill_at < *kill_at)) kill_at = child.kill_at;
    }
    int timeout = -1;
    if (kill_at)
      timeout =
          static_cast<int>(std::clamp<int64_t>(to_ms(*kill_at - steady_now()) + 1, 0, 60'000));
    if (::poll(waits.data(), waits.size(), timeout) < 0 && errno != EINTR)
      TROUPE_CHECK(false, errno);
    if (waits[0].revents) {
      uint64_t count;
      (void)!::read(wake_, &count, sizeof count);
    }
    if (waits[1].revents) {
      signalfd_siginfo info;
      while (::read(signals_, &info, sizeof info) == sizeof info)
        events_.signal(static_cast<int>(info.ssi_signo));
    }
    for (size_t i = 0; i < names.size(); ++i) {
      auto at = children_.find(names[i]);
      if (waits[2 * i + 3].revents) read_lifeline(names[i], at->second);
      if (waits[2 * i + 2].revents)
        reap(at);
      else if (at->second.kill_at && steady_now() >= *at->second.kill_at) {
        ::kill(at->second.pid, SIGKILL);
        at->second.kill_at.reset();
      }
    }
  }
}

void Spawner::start(const SpawnCommand& command) {
  auto lifeline = make_lifeline();
  if (!lifeline) {
    events_.spawn_failed(command.child, lifeline.error().message);
    return;
  }
  // argv names the process for ps; nothing secret is in it.
  std::string program = "troupe", verb = "child", name = command.child;
  char* argv[] = {program.data(), verb.data(), name.data(), nullptr};
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    // It ends when its node says so: a SIGTERM to all processes drains the node first.
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGTERM, SIG_IGN);
    become_image({.image = image_,
                  .parent = parent,
                  .argv = argv,
                  .descriptor = lifeline->child_end,
                  .number = kLifelineFd});
  }
  ::close(lifeline->child_end);
  if (pid < 0) {
    ::close(lifeline->node_end);
    events_.spawn_failed(command.child, fmt::format("fork failed: {}", std::strerror(errno)));
    return;
  }
  Child child{command.incarnation, pid, open_pidfd(pid), lifeline->node_end, std::nullopt};
  TROUPE_CHECK(child.pidfd >= 0, errno);
  TROUPE_CHECK(children_.emplace(command.child, child).second, command.child);
  send_start(child.lifeline, command.start_packet, command.descriptors);
  events_.spawned(command.child, command.incarnation, pid);
}

void Spawner::handle_share(const ShareCommand& command) {
  auto at = children_.find(command.child);
  if (at == children_.end() || at->second.incarnation != command.incarnation) return;
  // A rank that can't be told waits for it in vain, and says so.
  send_memory(at->second.lifeline, command.group, command.generation, command.memory.get());
}

void Spawner::handle_end(const EndCommand& command) {
  auto at = children_.find(command.child);
  if (at == children_.end() || at->second.incarnation != command.incarnation) return;
  if (command.force) {
    ::kill(at->second.pid, SIGKILL);
  } else {
    send_end(at->second.lifeline);
    if (!at->second.kill_at) at->second.kill_at = steady_now() + command.grace;
  }
}

void Spawner::read_lifeline(const std::string& name, Child& child) {
  if (child.lifeline < 0) return;
  for (;;) {
    Beat beat;
    const ssize_t got = ::recv(child.lifeline, &beat, sizeof beat, MSG_DONTWAIT | MSG_TRUNC);
    if (got == 0) {  // the child closed it; its exit follows
      ::close(child.lifeline);
      child.lifeline = -1;
      return;
    }
    if (got < 0) return;
    if (got == sizeof beat && beat.magic == Beat::kMagic &&
        beat.incarnation == child.incarnation.value)
      events_.beat(name, beat);
  }
}

void Spawner::reap(std::map<std::string, Child>::iterator at) {
  int status = 0;
  while (::waitpid(at->second.pid, &status, 0) < 0 && errno == EINTR) {
  }
  std::string how = how_it_ended(status);
  const std::string name = at->first;
  const Incarnation incarnation = at->second.incarnation;
  ::close(at->second.pidfd);
  if (at->second.lifeline >= 0) ::close(at->second.lifeline);
  children_.erase(at);
  if (events_.exited) events_.exited(name, incarnation, std::move(how));
}

}  // namespace troupe
