// TLS 1.3 between links: mutual certificates under the cluster's private CA, no tickets, no 0-RTT,
// no renegotiation, ALPN names the service. OpenSSL on a non-blocking socket. A context is shared
// by connections and threads; a session belongs to one connection.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "config/result.h"
#include "net/link_stats.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

namespace troupe {

/// What a connection carries; the ALPN name is the same word.
enum class LinkService : uint8_t { basp, beat, file };
inline constexpr size_t kLinkServices = 3;
std::string_view name_of(LinkService service);

/// PEM files.
struct LinkFiles {
  std::string ca, certificate, key;
  bool operator==(const LinkFiles&) const = default;
};
/// In a folder that `troupe certs` filled: ca.pem, NODE.pem, NODE.key.
LinkFiles link_files(const std::string& folder, const std::string& node);

class LinkTls {
 public:
  /// `own` is this node, `peers` the other ones of the config: a peer's certificate must name
  /// exactly one of them. One sentence when a file is missing, the key does not fit, or the
  /// certificate is not this node's, not from the CA, or expired.
  static Result<std::shared_ptr<const LinkTls>> load(const LinkFiles& files, const std::string& own,
                                                     const std::set<std::string>& peers);
  ~LinkTls();
  LinkTls(const LinkTls&) = delete;
  LinkTls& operator=(const LinkTls&) = delete;

  /// The node that a certificate names, by the rules above; empty if none or several.
  std::string node_of(const x509_st* certificate) const;
  /// End of this node's own certificate.
  std::chrono::sys_seconds expires() const { return expires_; }
  ssl_ctx_st* native() const { return context_; }

 private:
  LinkTls() = default;
  ssl_ctx_st* context_ = nullptr;
  std::string own_;
  std::set<std::string> peers_;
  std::chrono::sys_seconds expires_{};
};

class LinkSession {
 public:
  /// closed: the peer said close_notify. failed: the session is useless, `why()` says the reason.
  enum class Status : uint8_t { ok, want_read, want_write, closed, failed };
  struct Io {
    Status status = Status::ok;
    size_t bytes = 0;
  };

  /// Uses `socket`, which stays the caller's and must outlive the session.
  static std::unique_ptr<LinkSession> accept(std::shared_ptr<const LinkTls> tls, int socket);
  static std::unique_ptr<LinkSession> dial(std::shared_ptr<const LinkTls> tls, int socket,
                                           LinkService service);
  ~LinkSession();
  LinkSession(const LinkSession&) = delete;
  LinkSession& operator=(const LinkSession&) = delete;

  /// Call again after each readiness of the socket until it is ok or failed.
  Status handshake();
  /// ok with bytes > 0, or why not. TLS may hold bytes after the socket was read dry: read until
  /// want_read.
  Io read(std::span<uint8_t> room);
  /// May take less than all of it. After want_write the same bytes must be offered again, more may
  /// follow them.
  Io write(std::span<const uint8_t> bytes);
  /// Sends close_notify: nothing more comes from here; reading goes on. False: the socket is full,
  /// call again when it can be written; once true, not again.
  bool close_sending();

  // After the handshake:
  const std::string& node() const { return node_; }  ///< whom the peer's certificate names
  LinkService service() const { return service_; }
  /// Equal on both ends of this connection and on no other.
  std::array<uint8_t, 32> binding() const;
  LinkRefusal why() const { return why_; }               ///< after failed
  const std::string& detail() const { return detail_; }  ///< OpenSSL's words for it, may be empty

 private:
  LinkSession(std::shared_ptr<const LinkTls> tls, int socket);
  Status status_of(int result);
  Status established();

  std::shared_ptr<const LinkTls> tls_;
  ssl_st* ssl_;
  std::string node_;
  LinkService service_ = LinkService::basp;
  LinkRefusal why_ = LinkRefusal::hung_up;
  std::string detail_;
};

}  // namespace troupe
