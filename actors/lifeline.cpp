#include "actors/lifeline.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "actors/clock.h"
#include "config/limits.h"

namespace troupe {

namespace {
constexpr size_t kPacketMax = 64 * 1024;
constexpr size_t kDescriptorsMax = 8;
constexpr char kEndPacket[] = "end";
constexpr char kReloadPacket[] = "reload";
}  // namespace

Result<LifelinePair> make_lifeline() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
    return fail(ErrorCode::internal,
                fmt::format("no socket pair for a child process: {}", std::strerror(errno)));
  return LifelinePair{fds[0], fds[1]};
}

bool send_start(int fd, std::span<const uint8_t> packet, std::span<const int> descriptors) {
  iovec part{const_cast<uint8_t*>(packet.data()), packet.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(packet.size());
}

void send_end(int fd) {
  (void)::send(fd, kEndPacket, sizeof kEndPacket, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void send_reload(int fd) {
  (void)::send(fd, kReloadPacket, sizeof kReloadPacket, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Result<StartPacket> receive_start(int fd) {
  pollfd wait{fd, POLLIN, 0};
  if (::poll(&wait, 1, 10'000) != 1)
    return fail(ErrorCode::deadline_exceeded,
                "the node sent no start packet; start nodes with troupe node");
  StartPacket out;
  out.bytes.resize(kPacketMax);
  iovec part{out.bytes.data(), out.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (got <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
    return fail(ErrorCode::unavailable, "the node went away before it sent a start packet");
  out.bytes.resize(static_cast<size_t>(got));
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    out.descriptors.resize(count);
    std::memcpy(out.descriptors.data(), CMSG_DATA(header), count * sizeof(int));
  }
  return out;
}

ChildLifeline::ChildLifeline(int fd, Incarnation incarnation, std::function<void()> on_end,
                             std::function<void()> on_reload)
    : fd_(fd),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      incarnation_(incarnation),
      on_end_(std::move(on_end)),
      on_reload_(std::move(on_reload)) {
  thread_ = std::thread([this] { run(); });
}

ChildLifeline::~ChildLifeline() {
  const uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
  thread_.join();
  ::close(wake_);
  ::close(fd_);
}

void ChildLifeline::run() {
  Time next = steady_now();
  for (;;) {
    const Time now = steady_now();
    if (now >= next) {
      Beat beat;
      beat.incarnation = incarnation_.value;
      beat.loop_lag_ns = (now - next).count();
      (void)::send(fd_, &beat, sizeof beat,
                   MSG_NOSIGNAL | MSG_DONTWAIT);  // a full buffer: the node is stopped
      next = now + kBeatInterval;
    }
    pollfd waits[2] = {{fd_, POLLIN, 0}, {wake_, POLLIN, 0}};
    const auto timeout = std::max<int64_t>(1, (next - now + 999'999ns).count() / 1'000'000);
    if (::poll(waits, 2, static_cast<int>(timeout)) < 0 && errno != EINTR) ::_exit(70);
    if (waits[1].revents) return;
    if (!waits[0].revents) continue;
    char packet[64];
    const ssize_t got = ::recv(fd_, packet, sizeof packet, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) ::_exit(0);  // the node is gone
    if (got == sizeof kEndPacket && std::memcmp(packet, kEndPacket, sizeof kEndPacket) == 0 &&
        on_end_) {
      on_end_();
      on_end_ = nullptr;
    } else if (got == sizeof kReloadPacket &&
               std::memcmp(packet, kReloadPacket, sizeof kReloadPacket) == 0 && on_reload_) {
      on_reload_();
    }
  }
}

}  // namespace troupe
