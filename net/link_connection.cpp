#include "net/link_connection.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "config/check.h"
#include "config/digest.h"
#include "net/unix_socket.h"

namespace troupe {

namespace {

void tune(int socket) {
  const int on = 1, idle = 5, interval = 3, probes = 3;
  const auto silence = static_cast<unsigned>(to_ms(kLinkSilenceMax));
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
}

}  // namespace

std::unique_ptr<LinkConnection> LinkConnection::accept(std::shared_ptr<const LinkTls> tls,
                                                       int remote, std::string from) {
  std::unique_ptr<LinkConnection> made(new LinkConnection(std::move(tls), std::move(from)));
  made->remote_ = remote;
  made->remotes_ = 1;
  tune(remote);
  made->session_ = LinkSession::accept(made->tls_, remote);
  return made;
}

std::unique_ptr<LinkConnection> LinkConnection::leave(std::shared_ptr<const LinkTls> tls,
                                                      const LinkDoor& door, int local) {
  std::unique_ptr<LinkConnection> made(
      new LinkConnection(std::move(tls), door.target_process + ":"));
  made->door_ = &door;
  made->local_ = local;
  made->node_ = door.node;
  made->stage_ = Stage::resolving;
  return made;
}

LinkConnection::~LinkConnection() {
  splice_.reset();
  session_.reset();
  if (remote_ >= 0) ::close(remote_);
  if (local_ >= 0) ::close(local_);
}

void LinkConnection::dial(std::vector<LinkAddress> addresses) {
  TROUPE_CHECK(stage_ == Stage::resolving);
  addresses_ = std::move(addresses);
  stage_ = Stage::connecting;
}

void LinkConnection::remote_event(uint32_t events) {
  remote_writable_ = true;
  if (splice_) splice_->remote_event(events);
}

void LinkConnection::local_event(uint32_t events) {
  if (splice_) splice_->local_event(events);
}

std::string LinkConnection::describe(LinkRefusal why) const {
  return fmt::format("{} {}{}", name_, name_of(why), why_.empty() ? "" : " (" + why_ + ")");
}

LinkConnection::Next LinkConnection::refuse(LinkRefusal why, std::string detail) {
  refusal_ = why;
  why_ = std::move(detail);
  return Next::refused;
}

LinkConnection::Next LinkConnection::turn(const LinkConfig& config, LinkStats& stats) {
  if (splice_) {
    switch (splice_->turn(stats)) {
      case LinkSplice::Next::wait:
        return Next::wait;
      case LinkSplice::Next::more:
        return Next::more;
      case LinkSplice::Next::over:
        return Next::over;
    }
  }
  switch (stage_) {
    case Stage::resolving:
      return Next::wait;
    case Stage::connecting:
      return on_connecting();
    case Stage::handshake:
      return on_handshake(config);
    case Stage::greeting:
      return on_greeting();
    case Stage::answer:
      return on_answer(stats);
    case Stage::preamble:
      return on_preamble(config, stats);
  }
  return Next::wait;
}

LinkConnection::Next LinkConnection::connect_next() {
  std::string why = "no address";
  if (remote_ >= 0) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(remote_, SOL_SOCKET, SO_ERROR, &error, &size);
    why = std::strerror(error);
    ::close(std::exchange(remote_, -1));
  }
  while (next_address_ < addresses_.size()) {
    const LinkAddress& address = addresses_[next_address_++];
    remote_ = ::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (remote_ < 0) {
      why = std::strerror(errno);
      continue;
    }
    ++remotes_;
    tune(remote_);
    if (::connect(remote_, reinterpret_cast<const sockaddr*>(&address.bytes), address.size) == 0 ||
        errno == EINPROGRESS) {
      remote_writable_ = false;
      return Next::wait;
    }
    why = std::strerror(errno);
    ::close(std::exchange(remote_, -1));
  }
  return refuse(LinkRefusal::unreachable, why);
}

LinkConnection::Next LinkConnection::on_connecting() {
  if (remote_ < 0) return connect_next();
  if (!remote_writable_) return Next::wait;
  // Connected if it has a peer; else its SO_ERROR says why, and the next address is tried.
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(remote_, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return connect_next();
  session_ = LinkSession::dial(tls_, remote_, door_->service);
  stage_ = Stage::handshake;
  return Next::more;
}

LinkConnection::Next LinkConnection::on_handshake(const LinkConfig& config) {
  const auto status = session_->handshake();
  if (status == LinkSession::Status::closed) return refuse(LinkRefusal::hung_up);
  if (status == LinkSession::Status::failed) return refuse(session_->why(), session_->detail());
  if (status != LinkSession::Status::ok) return Next::wait;
  if (inbound()) {
    node_ = session_->node();
    stage_ = Stage::preamble;
    return Next::more;
  }
  if (session_->node() != door_->node)
    return refuse(LinkRefusal::wrong_node,
                  fmt::format("{} answered at the address of {}", session_->node(), door_->node));
  head_ = encode_preamble({config.incarnation, session_->binding(), config.node,
                           door_->source_process, door_->target_process});
  stage_ = Stage::greeting;
  return Next::more;
}

LinkConnection::Next LinkConnection::on_greeting() {
  while (head_sent_ < head_.size()) {
    const auto io = session_->write(std::span(head_).subspan(head_sent_));
    if (io.status == LinkSession::Status::failed || io.status == LinkSession::Status::closed)
      return refuse(session_->why(), session_->detail());
    if (io.status != LinkSession::Status::ok) return Next::wait;
    head_sent_ += io.bytes;
  }
  head_.clear();
  stage_ = Stage::answer;
  return Next::more;
}

LinkConnection::Next LinkConnection::on_answer(LinkStats& stats) {
  if (auto early = fill(kLinkAnswerBytes)) return *early;
  auto refusal = decode_answer(std::span(head_).first<kLinkAnswerBytes>());
  if (!refusal) return refuse(LinkRefusal::refused_there, refusal.error().message);
  if (*refusal) return refuse(LinkRefusal::refused_there, std::string(name_of(**refusal)));
  ++stats.dialled;
  splice({});
  return Next::more;
}

/// Reads until `wanted` bytes of the head are there; nullopt: they are.
std::optional<LinkConnection::Next> LinkConnection::fill(size_t wanted) {
  while (head_.size() < wanted) {
    const size_t before = head_.size();
    head_.resize(wanted);
    const auto io = session_->read(std::span(head_).subspan(before));
    head_.resize(before + io.bytes);
    if (io.status == LinkSession::Status::ok) continue;
    if (io.status == LinkSession::Status::failed)
      return refuse(session_->why(), session_->detail());
    if (io.status == LinkSession::Status::closed) return refuse(LinkRefusal::hung_up);
    return Next::wait;
  }
  return std::nullopt;
}

LinkConnection::Next LinkConnection::on_preamble(const LinkConfig& config, LinkStats& stats) {
  if (auto early = fill(kLinkHeadBytes)) return *early;
  auto size = preamble_size(std::span(head_).first<kLinkHeadBytes>());
  if (!size) return answer_no(LinkRefusal::bad_preamble);
  if (auto early = fill(*size)) return *early;
  return check_preamble(config, stats);
}

LinkConnection::Next LinkConnection::check_preamble(const LinkConfig& config, LinkStats& stats) {
  auto preamble = decode_preamble(head_);
  if (!preamble) return answer_no(LinkRefusal::bad_preamble);
  if (preamble->source_node != node_) return answer_no(LinkRefusal::wrong_source);
  const auto binding = session_->binding();
  if (!equal_constant_time(std::as_bytes(std::span(preamble->binding)),
                           std::as_bytes(std::span(binding))))
    return answer_no(LinkRefusal::replayed);
  const auto target = std::ranges::find_if(config.ways.targets, [&](const LinkTarget& t) {
    return t.service == session_->service() && t.process == preamble->target_process;
  });
  if (target == config.ways.targets.end()) return answer_no(LinkRefusal::unknown_target);
  auto local = dial_unix(target->path, node_);
  if (!local) return answer_no(LinkRefusal::target_down);
  local_ = *local;
  ++stats.accepted;
  splice(encode_answer(std::nullopt));
  return Next::more;
}

/// The dialer is told as well as the socket allows; it fits an empty socket buffer.
LinkConnection::Next LinkConnection::answer_no(LinkRefusal why) {
  const auto answer = encode_answer(why);
  (void)session_->write(answer);
  (void)session_->close_sending();
  return refuse(why);
}

void LinkConnection::splice(std::span<const uint8_t> first) {
  splice_.emplace(std::move(session_), remote_, local_, first);
  head_ = {};
}

}  // namespace troupe
