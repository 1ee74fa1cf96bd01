// TLS 1.3 among the ranks of one generation: an external PSK, no certificates, forward secrecy.
// Who has another key, another generation or another group's name does not get through the
// handshake. One context for both roles; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/group_key.h"

struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;

namespace troupe {

struct SslFree {
  void operator()(ssl_st* ssl) const;
};
using SslPointer = std::unique_ptr<ssl_st, SslFree>;

enum class TlsRole : uint8_t { dialler, listener };

class GroupTls {
 public:
  GroupTls(const std::string& group, uint32_t generation, const GroupKey& key);
  ~GroupTls();
  GroupTls(const GroupTls&) = delete;
  GroupTls& operator=(const GroupTls&) = delete;

  /// A connection over a non-blocking socket, which the caller owns and keeps open as long.
  SslPointer connection(int socket, TlsRole role) const;

 private:
  struct Callbacks;

  std::string identity_;
  ssl_ctx_st* context_;
  ssl_session_st* session_;  ///< holds the key
};

}  // namespace troupe
