#include "app/node_children.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
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

NodeChildren::NodeChildren(std::vector<std::string> flags) : flags_(std::move(flags)) {
  image_ = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  sigset_t set;
  ::sigemptyset(&set);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, s);
  signals_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  TROUPE_CHECK(image_ >= 0 && signals_ >= 0, image_, signals_);
}

NodeChildren::~NodeChildren() {
  for (auto& [node, child] : children_) ::kill(child.pid, SIGKILL);
  std::vector<NodeEvent> no_news;
  while (!children_.empty()) reap(children_.begin(), no_news);
  ::close(image_);
  ::close(signals_);
}

Result<int64_t> NodeChildren::start(const std::string& node, Incarnation incarnation) {
  TROUPE_CHECK(!children_.contains(node), node);
  int output[2];
  if (::pipe2(output, O_CLOEXEC) != 0)
    return fail(ErrorCode::internal, fmt::format("no pipe: {}", std::strerror(errno)));
  // Everything is allocated before the fork.
  std::vector<std::string> words = {"troupe", "node", "--name", node};
  words.insert(words.end(), flags_.begin(), flags_.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become_image({.image = image_,
                  .parent = parent,
                  .argv = argv.data(),
                  .descriptor = output[1],
                  .number = STDOUT_FILENO});
  }
  const int error = errno;
  ::close(output[1]);
  if (pid < 0) {
    ::close(output[0]);
    return fail(ErrorCode::internal, fmt::format("fork failed: {}", std::strerror(error)));
  }
  ::fcntl(output[0], F_SETFL, O_NONBLOCK);
  const int pidfd = open_pidfd(pid);
  TROUPE_CHECK(pidfd >= 0, errno);
  children_.emplace(node, Child{incarnation, pid, pidfd, output[0], {}});
  return pid;
}

void NodeChildren::signal(const std::string& node, int number) {
  if (auto at = children_.find(node); at != children_.end()) ::kill(at->second.pid, number);
}

void NodeChildren::signal_all(int number) {
  for (const auto& [node, child] : children_) ::kill(child.pid, number);
}

std::vector<NodeEvent> NodeChildren::wait(std::optional<Time> at) {
  std::vector<pollfd> waits = {{signals_, POLLIN, 0}};
  std::vector<std::string> nodes;
  for (const auto& [node, child] : children_) {
    waits.push_back({child.pidfd, POLLIN, 0});
    waits.push_back({child.output, POLLIN, 0});  // ignored when it is -1
    nodes.push_back(node);
  }
  int timeout = -1;
  if (at) timeout = static_cast<int>(std::clamp<int64_t>(to_ms(*at - steady_now()) + 1, 0, 60'000));
  TROUPE_CHECK(::poll(waits.data(), waits.size(), timeout) >= 0 || errno == EINTR, errno);
  std::vector<NodeEvent> out;
  if (waits[0].revents) {
    signalfd_siginfo info;
    while (::read(signals_, &info, sizeof info) == sizeof info)
      out.push_back(SignalCame{static_cast<int>(info.ssi_signo)});
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto child = children_.find(nodes[i]);
    if (waits[2 * i + 2].revents) read_output(nodes[i], child->second, out);
    if (waits[2 * i + 1].revents) reap(child, out);
  }
  return out;
}

void NodeChildren::read_output(const std::string& node, Child& child, std::vector<NodeEvent>& out) {
  char bytes[4096];
  for (;;) {
    const ssize_t got = ::read(child.output, bytes, sizeof bytes);
    if (got < 0) return;  // EAGAIN: poll tells when there is more
    if (got == 0) {
      ::close(child.output);
      child.output = -1;
      return;
    }
    for (const char byte : std::string_view(bytes, static_cast<size_t>(got))) {
      if (byte == '\n')
        out.push_back(NodeLine{node, std::exchange(child.line, {})});
      else if (child.line.size() < kNodeLineBytesMax)
        child.line += byte;
    }
  }
}

void NodeChildren::reap(std::map<std::string, Child>::iterator at, std::vector<NodeEvent>& out) {
  int status = 0;
  while (::waitpid(at->second.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (at->second.output >= 0) read_output(at->first, at->second, out);  // its last words
  out.push_back(NodeEnded{at->first, at->second.incarnation, how_it_ended(status)});
  ::close(at->second.pidfd);
  if (at->second.output >= 0) ::close(at->second.output);
  children_.erase(at);
}

}  // namespace troupe
