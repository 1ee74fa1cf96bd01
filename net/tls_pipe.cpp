#include "net/tls_pipe.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "config/limits.h"

namespace troupe {

TlsPipe::TlsPipe(FileDescriptor socket, SslPointer ssl)
    : socket_(std::move(socket)), ssl_(std::move(ssl)), record_(kTcpRecordBytes) {}

TlsPipe::~TlsPipe() {
  // A clean end, so that a peer that still reads can tell it from a death.
  if (ssl_ != nullptr && ending_.empty() && !sealed_) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
}

std::optional<size_t> TlsPipe::write(std::span<const std::byte> bytes) {
  size_t taken = 0;
  while (taken < bytes.size()) {
    if (sealed_ || filled_ == record_.size()) {
      const auto flushed = flush();
      if (!flushed) return std::nullopt;
      if (!*flushed) break;
    }
    const size_t piece = std::min(bytes.size() - taken, record_.size() - filled_);
    std::memcpy(record_.data() + filled_, bytes.data() + taken, piece);
    filled_ += piece;
    taken += piece;
  }
  return taken;
}

std::optional<bool> TlsPipe::flush() {
  if (filled_ == 0) return true;
  ERR_clear_error();
  errno = 0;
  size_t written = 0;
  const int done = SSL_write_ex(ssl_.get(), record_.data(), filled_, &written);
  if (done == 1) {
    filled_ = 0;
    sealed_ = false;
    return true;
  }
  sealed_ = true;
  if (!only_waits(SSL_get_error(ssl_.get(), done))) return std::nullopt;
  return false;
}

std::optional<size_t> TlsPipe::read(std::span<std::byte> into) {
  size_t got = 0;
  while (got < into.size()) {
    ERR_clear_error();
    errno = 0;
    size_t piece = 0;
    const int done = SSL_read_ex(ssl_.get(), into.data() + got, into.size() - got, &piece);
    if (done == 1) {
      got += piece;
      continue;
    }
    if (only_waits(SSL_get_error(ssl_.get(), done)) || got > 0) break;
    return std::nullopt;
  }
  return got;
}

bool TlsPipe::only_waits(int error) {
  const int system = errno;
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
  if (error == SSL_ERROR_SYSCALL && system != 0)
    ending_ = std::strerror(system);
  else if (error == SSL_ERROR_SSL &&
           ERR_GET_REASON(ERR_peek_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
    ending_ = "not the bytes of this connection";
  else
    ending_ = "closed";
  ERR_clear_error();
  return false;
}

void TlsPipe::finish() noexcept { ::shutdown(socket_.get(), SHUT_WR); }

}  // namespace troupe
