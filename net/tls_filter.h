// TLS of one HTTP connection as a filter between bytes on the wire and plain bytes: no sockets
// inside, so the server has one kind of connection. OpenSSL, TLS 1.2 and later. A context is shared
// by connections and threads; a filter belongs to one connection.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "config/result.h"

struct ssl_ctx_st;
struct ssl_st;

namespace troupe {

class TlsContext {
 public:
  /// Server side, from PEM files. One sentence when a file is missing, unreadable or the key does
  /// not fit.
  static Result<std::shared_ptr<const TlsContext>> load(const std::string& certificate,
                                                        const std::string& key);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  ssl_ctx_st* native() const { return context_; }

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

class TlsFilter {
 public:
  explicit TlsFilter(std::shared_ptr<const TlsContext> context);
  ~TlsFilter();
  TlsFilter(const TlsFilter&) = delete;
  TlsFilter& operator=(const TlsFilter&) = delete;

  enum class Status { open, closed, failed };
  /// Bytes that came from the wire: appends what they mean to `plain` and what must go out to
  /// `wire`.
  Status receive(std::string_view bytes, std::string& plain, std::string& wire);
  /// Appends `plain` encrypted to `wire`. Before the handshake is over nothing may be sent: then
  /// false.
  bool send(std::string_view plain, std::string& wire);
  /// Appends close_notify.
  void close(std::string& wire);
  bool established() const { return established_; }

 private:
  void drain(std::string& wire);

  std::shared_ptr<const TlsContext> context_;
  ssl_st* ssl_;
  bool established_ = false;
};

}  // namespace troupe
