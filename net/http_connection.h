// One client connection of HttpServer: bytes in, requests to the handler, answers out. Io thread
// only. Internal to the server; Asio is visible here.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "net/clock.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/tls_filter.h"

namespace troupe {

class HttpConnection;

/// What connections share. Lives until the last reply is gone, so that a late reply finds its
/// connection closed rather than nothing.
struct HttpHub {
  HttpHub(HttpServerConfig c, HttpHandler& h) : config(std::move(c)), handler(h) {}

  std::string_view date();
  void flush_dirty();
  /// The io thread: returns when nothing is left to wait for. Before it sleeps it looks for
  /// kHttpSpin whether a client that has just been answered asks again, because waking a sleeping
  /// thread takes longer than an answer from the cache; never while an answer is being computed,
  /// whose threads need the core.
  void run();

  boost::asio::io_context io{1};
  HttpServerConfig config;
  HttpHandler& handler;
  std::shared_ptr<const TlsContext> tls;
  HttpServerStats stats;
  size_t refusals = 0;  ///< refused connections still lingering
  bool draining = false;
  size_t unfinished = 0;  ///< requests being answered
  Time answered_at{};     ///< when the last answer was complete
  std::unordered_set<std::shared_ptr<HttpConnection>> connections;
  std::unordered_map<std::string, size_t> per_address;
  std::vector<std::shared_ptr<HttpConnection>> dirty;
  std::array<char, 64 * kKiB> read_buffer;  ///< one thread: one buffer serves every read
  std::time_t date_second = 0;
  std::string date_text;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(std::shared_ptr<HttpHub> hub, boost::asio::ip::tcp::socket socket,
                 std::string peer, std::string local)
      : hub_(std::move(hub)),
        socket_(std::move(socket)),
        peer_(std::move(peer)),
        local_(std::move(local)),
        since_(steady_now()),
        progress_(since_) {
    if (hub_->tls) tls_ = std::make_unique<TlsFilter>(hub_->tls);
  }

  void start(std::string counted_as) {
    counted_as_ = std::move(counted_as);
    read();
  }
  void refuse(std::string_view why) {
    refused_ = true;
    ++hub_->refusals;
    answer_and_close(error_response(503, std::string(why), "too_many_connections"));
    read();
  }
  void tick(Time now);
  void flush();
  void close();
  /// Between two requests; a connection that has yet to send its first one stays.
  void close_if_idle() {
    if (phase_ == Phase::reading && exchange_ > 0 && !parser_.started() && in_.empty()) close();
  }
  /// For the end of the server: nobody is told.
  void abandon() {
    on_gone_ = nullptr;
    close();
  }

  // Calls of a reply; `exchange` is the number of the request it belongs to.
  bool current(uint64_t exchange) const {
    return exchange == exchange_ && (phase_ == Phase::answering || phase_ == Phase::streaming);
  }
  void respond(HttpResponse response);
  void start_stream(HttpResponse head, std::string idle_bytes, Duration idle_after);
  void write(std::string_view bytes);
  void finish();
  void dropped(uint64_t exchange);
  void set_on_gone(std::function<void()> callback) { on_gone_ = std::move(callback); }

 private:
  enum class Phase { reading, answering, streaming, lingering, closed };

  void enter(Phase next);
  void read();
  void on_readable(boost::system::error_code ec);
  void on_end_of_input();
  void process();
  bool parse_some();
  void dispatch();
  void append_head(const HttpResponse& response, std::optional<size_t> length);
  void answer_and_close(HttpResponse response);
  void exchange_done();
  void mark_dirty();
  void lost();
  void linger();
  size_t unsent() const { return out_.size() + wire_.size() - sent_; }

  std::shared_ptr<HttpHub> hub_;
  boost::asio::ip::tcp::socket socket_;
  std::string peer_, local_, counted_as_;
  std::unique_ptr<TlsFilter> tls_;
  Phase phase_ = Phase::reading;
  std::string in_;    ///< plain bytes not parsed yet
  std::string out_;   ///< plain bytes not handed to TLS or the socket yet
  std::string wire_;  ///< bytes being sent, from sent_ on
  size_t sent_ = 0;
  HttpParser parser_;
  bool keep_alive_ = true, head_only_ = false, chunked_ = false, close_after_flush_ = false;
  bool read_pending_ = false, write_pending_ = false, dirty_ = false, processing_ = false,
       refused_ = false;
  uint64_t exchange_ = 0;
  Time since_;     ///< start of what is timed: header, body, idling or lingering
  Time progress_;  ///< last byte taken by the client, or last write of a stream
  std::string idle_bytes_;
  Duration idle_after_{};
  std::function<void()> on_gone_;
};

}  // namespace troupe
