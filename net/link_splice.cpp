#include "net/link_splice.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "config/limits.h"

namespace troupe {

LinkSplice::LinkSplice(std::unique_ptr<LinkSession> session, int remote, int local,
                       std::span<const uint8_t> first)
    : session_(std::move(session)), remote_(remote), local_(local) {
  std::ranges::copy(first, out_.room().begin());
  out_.filled(first.size());
}

void LinkSplice::remote_event(uint32_t events) {
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)) remote_readable_ = true;
  if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) remote_writable_ = true;
  if (remote_readable_ && write_waits_for_read_) remote_writable_ = true;
  if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) remote_hung_up_ = true;
}

void LinkSplice::local_event(uint32_t events) {
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)) local_readable_ = true;
  if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) local_writable_ = true;
  if (events & (EPOLLERR | EPOLLHUP)) local_hung_up_ = true;
}

bool LinkSplice::over() const {
  const bool delivered = remote_ended_ && (in_.empty() || local_hung_up_);
  // A peer that sent its FIN reads nothing more either.
  return delivered && (notice_sent_ || remote_hung_up_);
}

LinkSplice::Next LinkSplice::turn(LinkStats& stats) {
  moved_ = 0;
  for (;;) {
    bool progress = read_local();
    progress |= write_remote(stats);
    progress |= end_sending();
    stats.buffered_max = std::max(stats.buffered_max, out_.size() + in_.size());
    progress |= read_remote(stats);
    stats.buffered_max = std::max(stats.buffered_max, out_.size() + in_.size());
    progress |= write_local();
    if (over()) return Next::over;
    if (!progress) return Next::wait;
    if (moved_ >= kLinkTurnBytes) return Next::more;
  }
}

bool LinkSplice::read_local() {
  bool progress = false;
  while (local_readable_ && !local_ended_) {
    const auto room = out_.room();
    if (room.empty()) break;
    const ssize_t got = ::recv(local_, room.data(), room.size(), MSG_DONTWAIT);
    if (got > 0) {
      out_.filled(static_cast<size_t>(got));
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      local_readable_ = errno == EINTR;
      continue;
    } else {
      local_ended_ = true;
      if (got < 0) local_hung_up_ = true;  // it closed with our bytes unread
    }
    progress = true;
  }
  return progress;
}

bool LinkSplice::write_remote(LinkStats& stats) {
  bool progress = false;
  while (remote_writable_ && !out_.empty()) {
    const auto io = session_->write(out_.bytes());
    switch (io.status) {
      case LinkSession::Status::ok:
        out_.taken(io.bytes);
        stats.bytes_out += io.bytes;
        moved_ += io.bytes;
        write_waits_for_read_ = false;
        progress = true;
        break;
      case LinkSession::Status::want_read:
      case LinkSession::Status::want_write:
        write_waits_for_read_ = io.status == LinkSession::Status::want_read;
        remote_writable_ = false;
        break;
      case LinkSession::Status::closed:
      case LinkSession::Status::failed:
        // Nothing can be sent any more. What the peer had sent before is still read.
        out_.clear();
        notice_sent_ = local_ended_ = remote_hung_up_ = remote_readable_ = true;
        return true;
    }
  }
  return progress;
}

bool LinkSplice::end_sending() {
  bool progress = false;
  if (local_ended_ && out_.empty() && !notice_sent_ && remote_writable_) {
    notice_sent_ = progress = session_->close_sending();
    remote_writable_ = notice_sent_;
  }
  if (notice_sent_ && local_hung_up_ && !fin_sent_) {
    // FIN behind the notice: nobody here reads any more. What still comes is read and dropped, so
    // that the close that follows does not reset what the peer has yet to read.
    ::shutdown(remote_, SHUT_WR);
    fin_sent_ = progress = true;
  }
  return progress;
}

bool LinkSplice::read_remote(LinkStats& stats) {
  bool progress = false;
  while (remote_readable_ && !remote_ended_) {
    if (local_hung_up_ && local_ended_) in_.clear();  // nobody is left to read it
    const auto room = in_.room();
    if (room.empty()) break;
    const auto io = session_->read(room);
    switch (io.status) {
      case LinkSession::Status::ok:
        in_.filled(io.bytes);
        stats.bytes_in += io.bytes;
        moved_ += io.bytes;
        progress = true;
        break;
      case LinkSession::Status::want_write:
      case LinkSession::Status::want_read:
        remote_readable_ = false;
        break;
      case LinkSession::Status::failed:  // a FIN or reset without notice: cut off
        remote_hung_up_ = true;
        [[fallthrough]];
      case LinkSession::Status::closed:
        remote_ended_ = true;
        progress = true;
        break;
    }
    if (moved_ >= kLinkTurnBytes) break;
  }
  return progress;
}

bool LinkSplice::write_local() {
  bool progress = false;
  while (local_writable_ && !in_.empty()) {
    const auto bytes = in_.bytes();
    const ssize_t put = ::send(local_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) {
      in_.taken(static_cast<size_t>(put));
      progress = true;
    } else if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
      local_writable_ = errno == EINTR;
    } else {
      // It takes nothing more. What it said before it went is still read and sent.
      local_hung_up_ = local_readable_ = progress = true;
      in_.clear();
    }
  }
  if (remote_ended_ && in_.empty() && !local_shut_) {
    ::shutdown(local_, SHUT_WR);
    local_shut_ = progress = true;
  }
  return progress;
}

}  // namespace troupe
