#include "actors/lifeline.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "config/limits.h"
#include "net/clock.h"

namespace troupe {

namespace {
constexpr size_t kPacketMax = 64 * 1024;
constexpr size_t kDescriptorsMax = 8;
constexpr char kEndPacket[] = "end";
constexpr char kReloadPacket[] = "reload";

bool send_packet(int fd, std::span<const uint8_t> packet, std::span<const int> descriptors) {
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

struct Packet {
  ssize_t size = 0;  ///< as of recvmsg
  bool whole = false;
  std::vector<int> descriptors;  ///< the receiver's to close
};

Packet receive_packet(int fd, std::span<uint8_t> into, int flags) {
  Packet out;
  iovec part{into.data(), into.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  out.size = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | flags);
  if (out.size <= 0) return out;
  out.whole = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    out.descriptors.resize(count);
    std::memcpy(out.descriptors.data(), CMSG_DATA(header), count * sizeof(int));
  }
  return out;
}

bool is_text(std::span<const uint8_t> packet, std::span<const char> text) {
  return packet.size() == text.size() && std::memcmp(packet.data(), text.data(), text.size()) == 0;
}
}  // namespace

Result<LifelinePair> make_lifeline() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
    return fail(ErrorCode::internal,
                fmt::format("no socket pair for a child process: {}", std::strerror(errno)));
  return LifelinePair{fds[0], fds[1]};
}

bool send_start(int fd, std::span<const uint8_t> packet, std::span<const int> descriptors) {
  return send_packet(fd, packet, descriptors);
}

bool send_memory(int fd, GroupId group, Generation generation, int descriptor) {
  MemoryNote note;
  note.group = group.value;
  note.generation = generation.value;
  return send_packet(fd, {reinterpret_cast<const uint8_t*>(&note), sizeof note}, {&descriptor, 1});
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
  Packet packet = receive_packet(fd, out.bytes, 0);
  if (packet.size <= 0 || !packet.whole)
    return fail(ErrorCode::unavailable, "the node went away before it sent a start packet");
  out.bytes.resize(static_cast<size_t>(packet.size));
  out.descriptors = std::move(packet.descriptors);
  return out;
}

ChildLifeline::ChildLifeline(int fd, Incarnation incarnation, LifelineEvents events)
    : fd_(fd),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      incarnation_(incarnation),
      events_(std::move(events)) {
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
    if (waits[0].revents) read();
  }
}

void ChildLifeline::read() {
  uint8_t buffer[64];
  const Packet packet = receive_packet(fd_, buffer, MSG_DONTWAIT);
  std::vector<FileDescriptor> descriptors;
  for (int descriptor : packet.descriptors) descriptors.emplace_back(descriptor);
  if (packet.size == 0 || (packet.size < 0 && errno != EAGAIN && errno != EINTR))
    ::_exit(0);  // the node is gone
  if (packet.size < 0 || !packet.whole) return;
  const std::span<const uint8_t> bytes(buffer, static_cast<size_t>(packet.size));
  if (is_text(bytes, kEndPacket)) {
    if (auto end = std::exchange(events_.end, nullptr)) end();
  } else if (is_text(bytes, kReloadPacket)) {
    if (events_.reload) events_.reload();
  } else if (MemoryNote note; bytes.size() == sizeof note && descriptors.size() == 1) {
    std::memcpy(&note, bytes.data(), sizeof note);
    if (note.magic == MemoryNote::kMagic && events_.memory)
      events_.memory(GroupId(note.group), Generation(note.generation),
                     std::move(descriptors.front()));
  }
}

}  // namespace troupe
