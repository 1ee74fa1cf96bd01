// An HTTP/1.1 server on one listening socket: parsing, keep-alive, pipelining, chunked bodies,
// Expect, HEAD, TLS, limits and timeouts. It knows no path; a handler answers. One io thread runs
// all connections, the handler and everything given to post(). Bytes of one connection that are
// read ahead, and unsent bytes of a stream, are bounded.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/limits.h"
#include "config/result.h"
#include "config/time.h"
#include "net/http_message.h"

namespace troupe {

/// The way back to one client. Io thread only. Dropped unanswered it answers 500. Once the client
/// is gone every call does nothing.
class HttpReply {
 public:
  virtual ~HttpReply() = default;

  virtual void respond(HttpResponse response) = 0;
  /// Sends the head now; a body of unknown length follows by write(). While nothing is written for
  /// `idle_after`, `idle_bytes` are sent.
  virtual void start_stream(HttpResponse head, std::string idle_bytes, Duration idle_after) = 0;
  /// Bytes written in one turn of the io thread leave in one write. A client that lets more than
  /// kStreamBufferBytesMax pile up counts as gone.
  virtual void write(std::string_view bytes) = 0;
  virtual void finish() = 0;
  /// Called once if the client goes away before respond() or finish().
  virtual void on_gone(std::function<void()> callback) = 0;
  virtual bool gone() const = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  virtual void handle(HttpRequest request, std::shared_ptr<HttpReply> reply) = 0;
  /// Each kHttpTick while there is a connection.
  virtual void tick() {}
};

struct HttpServerConfig {
  int listener = -1;                          ///< bound and listening; the server takes a duplicate
  std::string tls_certificate, tls_key;       ///< PEM files; empty: plain HTTP
  std::vector<std::string> exempt_addresses;  ///< from the per-address limit
  size_t connections_max = kHttpConnectionsMax;
  size_t connections_per_address = kHttpConnectionsPerAddressMax;
  Duration header_timeout = kHttpHeaderTimeout;
  Duration body_timeout = kHttpBodyTimeout;
  Duration idle_timeout = kHttpIdleTimeout;
  Duration write_timeout = kHttpWriteTimeout;
};

/// Counters since start; read on the io thread.
struct HttpServerStats {
  size_t connections = 0;
  uint64_t accepted = 0, refused = 0;  ///< refused: over a connection limit
  uint64_t bad_requests = 0;  ///< answered by the server itself: unparsable, too large, too slow
};

class HttpServer {
 public:
  /// Checks listener and certificate. `handler` must outlive the server.
  static Result<std::unique_ptr<HttpServer>> make(HttpServerConfig config, HttpHandler& handler);
  virtual ~HttpServer() = default;  ///< after end()

  /// Closes all connections without telling on_gone and joins the io thread. Handler and replies
  /// may call until then; afterwards calls do nothing. Any number of times, not on the io thread.
  virtual void end() = 0;

  /// Accepts from now on. Once.
  virtual void run() = 0;

  /// Runs `work` on the io thread, then flushes what it wrote. Any thread.
  virtual void post(std::move_only_function<void()> work) = 0;
  /// Re-reads certificate and key for new connections; on error the old ones stay. Any thread.
  virtual Result<void> reload_tls() = 0;
  /// From now on answers say `Connection: close` and idle connections are closed. Any thread.
  virtual void drain() = 0;
  virtual HttpServerStats stats() const = 0;  ///< io thread
};

}  // namespace troupe
