#include "net/rank_handshake.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <utility>

namespace troupe {

RankHandshake::RankHandshake(const GroupTls& tls, FileDescriptor socket, Introduction own,
                             Instant until, TlsRole role)
    : socket_(std::move(socket)),
      ssl_(tls.connection(socket_.get(), role)),
      own_(own),
      until_(until),
      role_(role),
      state_(role == TlsRole::dialler ? State::connecting : State::handshake),
      events_(role == TlsRole::dialler ? POLLOUT : POLLIN) {
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

RankHandshake RankHandshake::dialled(const GroupTls& tls, FileDescriptor socket, Introduction own,
                                     Instant until) {
  return {tls, std::move(socket), own, until, TlsRole::dialler};
}

RankHandshake RankHandshake::accepted(const GroupTls& tls, FileDescriptor socket, Introduction own,
                                      Instant until) {
  return {tls, std::move(socket), own, until, TlsRole::listener};
}

RankHandshake::State RankHandshake::advance() {
  State before;
  do {
    before = state_;
    if (state_ == State::connecting) state_ = connect();
    if (state_ == State::handshake) state_ = shake_hands();
    if (state_ == State::introduction) state_ = introduce();
  } while (state_ != before && state_ != State::done && state_ != State::failed);
  return state_;
}

RankHandshake::State RankHandshake::fail(std::string why) {
  why_ = std::move(why);
  ERR_clear_error();
  return State::failed;
}

RankHandshake::State RankHandshake::connect() {
  pollfd polled{socket_.get(), POLLOUT, 0};
  if (::poll(&polled, 1, 0) == 0) return State::connecting;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fail(std::strerror(error));
  return State::handshake;
}

RankHandshake::State RankHandshake::shake_hands() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_.get());
  if (done != 1) {
    const int error = SSL_get_error(ssl_.get(), done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
      events_ = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
      return State::handshake;
    }
    return fail("it does not have the key of this generation");
  }
  // Nothing but the key proves a rank.
  if (SSL_session_reused(ssl_.get()) != 1) return fail("it did not use the key");
  if (role_ == TlsRole::dialler && !say()) return fail("it went away");
  return State::introduction;
}

/// Some 40 bytes into an empty socket buffer: all or nothing.
bool RankHandshake::say() {
  ERR_clear_error();
  size_t written = 0;
  return SSL_write_ex(ssl_.get(), &own_, sizeof own_, &written) == 1;
}

RankHandshake::State RankHandshake::introduce() {
  while (heard_ < sizeof theirs_) {
    ERR_clear_error();
    size_t got = 0;
    auto* into = reinterpret_cast<std::byte*>(&theirs_) + heard_;
    const int done = SSL_read_ex(ssl_.get(), into, sizeof theirs_ - heard_, &got);
    if (done != 1) {
      const int error = SSL_get_error(ssl_.get(), done);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return fail("it closed the connection: another generation or another group's key");
      events_ = POLLIN;
      return State::introduction;
    }
    heard_ += got;
  }
  Introduction expected = own_;
  expected.from = role_ == TlsRole::dialler ? own_.to : theirs_.from;
  expected.to = own_.from;
  if (theirs_ != expected)
    return fail(fmt::format("it is rank {} of {} in generation {} with data plane {}", theirs_.from,
                            theirs_.ranks, theirs_.generation, theirs_.version));
  if (role_ == TlsRole::dialler) return State::done;
  // Higher ranks dial lower ones.
  if (theirs_.from <= own_.from || theirs_.from >= own_.ranks)
    return fail(fmt::format("rank {} has no reason to dial rank {}", theirs_.from, own_.from));
  own_.to = theirs_.from;
  return say() ? State::done : fail("it went away");
}

TlsPipe RankHandshake::take() { return {std::move(socket_), std::move(ssl_)}; }

}  // namespace troupe
