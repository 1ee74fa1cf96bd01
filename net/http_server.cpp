#include "net/http_server.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <ctime>
#include <optional>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "net/tls_filter.h"

namespace troupe {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using asio::ip::tcp;
using Parser = http::request_parser<http::string_body>;

class Connection;

/// What connections share. Lives until the last reply is gone, so that a late reply finds its connection closed
/// rather than nothing.
struct Hub {
  Hub(HttpServerConfig c, HttpHandler& h) : config(std::move(c)), handler(h) {}

  Time now() const { return Time(std::chrono::steady_clock::now().time_since_epoch()); }
  std::string_view date();
  void flush_dirty();

  asio::io_context io{1};
  HttpServerConfig config;
  HttpHandler& handler;
  std::shared_ptr<const TlsContext> tls;
  HttpServerStats stats;
  size_t refusals = 0;  ///< refused connections still lingering
  bool draining = false;
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::unordered_map<std::string, size_t> per_address;
  std::vector<std::shared_ptr<Connection>> dirty;
  std::array<char, 64 * kKiB> read_buffer;  ///< one thread: one buffer serves every read
  std::time_t date_second = 0;
  std::string date_text;
};

std::string_view Hub::date() {
  const std::time_t second = std::time(nullptr);
  if (second != date_second) {
    std::tm utc{};
    gmtime_r(&second, &utc);
    char text[32];
    date_text.assign(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc));
    date_second = second;
  }
  return date_text;
}

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Hub> hub, tcp::socket socket, std::string peer, std::string local)
      : hub_(std::move(hub)), socket_(std::move(socket)), peer_(std::move(peer)), local_(std::move(local)),
        since_(hub_->now()), progress_(since_) {
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
  void close_if_idle() {
    if (phase_ == Phase::reading && !parser_ && in_.empty()) close();
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

  void read();
  void on_readable(error_code ec);
  void on_end_of_input();
  void process();
  bool parse_some();
  bool head_is_acceptable();
  void dispatch();
  void append_head(const HttpResponse& response, std::optional<size_t> length);
  void answer_and_close(HttpResponse response);
  void exchange_done();
  void mark_dirty();
  void lost();
  void linger();
  size_t unsent() const { return out_.size() + wire_.size() - sent_; }

  std::shared_ptr<Hub> hub_;
  tcp::socket socket_;
  std::string peer_, local_, counted_as_;
  std::unique_ptr<TlsFilter> tls_;
  Phase phase_ = Phase::reading;
  std::string in_;         ///< plain bytes not parsed yet
  std::string out_;        ///< plain bytes not handed to TLS or the socket yet
  std::string wire_;       ///< bytes being sent, from sent_ on
  size_t sent_ = 0;
  std::optional<Parser> parser_;
  bool header_seen_ = false, keep_alive_ = true, head_only_ = false, chunked_ = false, close_after_flush_ = false;
  bool read_pending_ = false, write_pending_ = false, dirty_ = false, processing_ = false, refused_ = false;
  uint64_t exchange_ = 0;
  size_t body_bytes_ = 0;
  Time since_;     ///< start of what is timed: header, body, idling or lingering
  Time progress_;  ///< last byte taken by the client, or last write of a stream
  std::string idle_bytes_;
  Duration idle_after_{};
  std::function<void()> on_gone_;
};

void Hub::flush_dirty() {
  while (!dirty.empty()) {
    std::vector<std::shared_ptr<Connection>> batch;
    batch.swap(dirty);
    for (const auto& connection : batch) connection->flush();
  }
}

class Reply final : public HttpReply {
 public:
  Reply(std::shared_ptr<Connection> connection, uint64_t exchange)
      : connection_(std::move(connection)), exchange_(exchange) {}
  ~Reply() override { connection_->dropped(exchange_); }
  void respond(HttpResponse response) override {
    if (!gone()) connection_->respond(std::move(response));
  }
  void start_stream(HttpResponse head, std::string idle_bytes, Duration idle_after) override {
    if (!gone()) connection_->start_stream(std::move(head), std::move(idle_bytes), idle_after);
  }
  void write(std::string_view bytes) override {
    if (!gone()) connection_->write(bytes);
  }
  void finish() override {
    if (!gone()) connection_->finish();
  }
  void on_gone(std::function<void()> callback) override {
    if (!gone()) connection_->set_on_gone(std::move(callback));
  }
  bool gone() const override { return !connection_->current(exchange_); }

 private:
  std::shared_ptr<Connection> connection_;
  uint64_t exchange_;
};

// -- reading ------------------------------------------------------------------------------------------------------

void Connection::read() {
  if (read_pending_ || phase_ == Phase::closed) return;
  // A read stays open while an answer is under way: its end is how we learn that the client left.
  if (in_.size() >= kHttpReadAheadBytesMax) return;
  read_pending_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code ec) {
    self->on_readable(ec);
    self->hub_->flush_dirty();
  });
}

void Connection::on_readable(error_code ec) {
  read_pending_ = false;
  if (phase_ == Phase::closed) return;
  size_t got = 0;
  if (!ec) got = socket_.read_some(asio::buffer(hub_->read_buffer), ec);
  if (ec == asio::error::would_block) return read();
  if (ec) return on_end_of_input();
  const std::string_view bytes(hub_->read_buffer.data(), got);
  if (phase_ == Phase::lingering || close_after_flush_) return read();  // what follows a last answer is dropped
  if (phase_ == Phase::reading && !parser_ && in_.empty() && exchange_ > 0) since_ = hub_->now();
  auto status = TlsFilter::Status::open;
  if (tls_) {
    status = tls_->receive(bytes, in_, wire_);
    if (!wire_.empty()) mark_dirty();
  } else {
    in_ += bytes;
  }
  process();
  if (status == TlsFilter::Status::failed) return lost();
  if (status == TlsFilter::Status::closed) return on_end_of_input();
  read();
}

void Connection::on_end_of_input() {
  if (phase_ == Phase::reading && (parser_ || !in_.empty()) && !close_after_flush_) {
    ++hub_->stats.bad_requests;
    return answer_and_close(error_response(
        400, "The connection ended before the request was complete: send the whole body that Content-Length or the "
             "chunks announce.", "incomplete_request"));
  }
  if (phase_ == Phase::reading && close_after_flush_) return;  // the answer is still on its way out
  lost();
}

void Connection::process() {
  if (processing_) return;
  processing_ = true;
  while (phase_ == Phase::reading && !close_after_flush_ && !in_.empty() && unsent() < kHttpReadAheadBytesMax)
    if (!parse_some()) break;
  processing_ = false;
}

/// Returns whether there may be more to do with the bytes at hand.
bool Connection::parse_some() {
  if (!parser_) {
    parser_.emplace();
    parser_->eager(true);
    parser_->header_limit(static_cast<uint32_t>(kHttpHeaderBytesMax));
    parser_->body_limit(kHttpBodyBytesMax);
    header_seen_ = false;
    body_bytes_ = 0;
  }
  error_code ec;
  const size_t used = parser_->put(asio::buffer(in_), ec);
  in_.erase(0, used);
  if (header_seen_) body_bytes_ += used;
  if (ec && ec != http::error::need_more) {
    ++hub_->stats.bad_requests;
    if (ec == http::error::header_limit)
      answer_and_close(error_response(
          431, fmt::format("The request header is larger than {} bytes: send fewer or shorter headers.",
                           kHttpHeaderBytesMax), "header_too_large"));
    else if (ec == http::error::body_limit)
      answer_and_close(error_response(
          413, fmt::format("The request body is larger than {} bytes: send a shorter request.", kHttpBodyBytesMax),
          "body_too_large"));
    else
      answer_and_close(error_response(
          400, fmt::format("The request is not valid HTTP/1.1 ({}): correct the client.", ec.message()), "bad_http"));
    return false;
  }
  if (!header_seen_ && parser_->is_header_done()) {
    header_seen_ = true;
    since_ = hub_->now();
    if (!head_is_acceptable()) return false;
  }
  if (parser_->is_done()) {
    dispatch();
    return true;
  }
  return ec != http::error::need_more;
}

bool Connection::head_is_acceptable() {
  const auto& message = parser_->get();
  const auto lines = static_cast<size_t>(std::distance(message.begin(), message.end()));
  std::optional<HttpResponse> refusal;
  if (lines > kHttpHeaderLinesMax)
    refusal = error_response(431, fmt::format("The request has {} header lines, {} are allowed: send fewer headers.",
                                              lines, kHttpHeaderLinesMax), "header_too_large");
  else if (message.count(http::field::transfer_encoding) != 0 && !parser_->chunked())
    refusal = error_response(501, "Only the transfer coding 'chunked' is understood: send the body plain or chunked.",
                             "unsupported_transfer_encoding");
  else if (const auto expect = message[http::field::expect]; !expect.empty() && !parser_->is_done()) {
    if (equal_ignoring_case({expect.data(), expect.size()}, "100-continue")) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      mark_dirty();
    } else {
      refusal = error_response(417, "Only 'Expect: 100-continue' is understood: leave the Expect header out.",
                               "unsupported_expectation");
    }
  }
  if (!refusal) return true;
  ++hub_->stats.bad_requests;
  answer_and_close(std::move(*refusal));
  return false;
}

void Connection::dispatch() {
  auto message = parser_->release();
  parser_.reset();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const auto target = message.target();
  const size_t question = target.find('?');
  request.path = std::string(target.substr(0, question));
  if (question != boost::beast::string_view::npos) request.query = std::string(target.substr(question + 1));
  for (const auto& field : message)
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  request.body = std::move(message.body());
  request.peer = peer_;
  request.local = local_;
  keep_alive_ = message.keep_alive();
  head_only_ = message.method() == http::verb::head;
  chunked_ = message.version() >= 11;
  phase_ = Phase::answering;
  ++exchange_;
  hub_->handler.handle(std::move(request), std::make_shared<Reply>(shared_from_this(), exchange_));
}

// -- answering ----------------------------------------------------------------------------------------------------

void Connection::append_head(const HttpResponse& response, std::optional<size_t> length) {
  if (hub_->draining) keep_alive_ = false;
  auto out = std::back_inserter(out_);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\n", response.status,
                 reason_phrase(response.status), hub_->date(), response.content_type);
  for (const HttpHeader& header : response.headers) fmt::format_to(out, "{}: {}\r\n", header.name, header.value);
  if (length)
    fmt::format_to(out, "Content-Length: {}\r\n", *length);
  else if (chunked_)
    out_ += "Transfer-Encoding: chunked\r\n";
  else
    keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the body
  out_ += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
}

void Connection::respond(HttpResponse response) {
  append_head(response, response.body.size());
  if (!head_only_) out_ += response.body;
  exchange_done();
}

void Connection::start_stream(HttpResponse head, std::string idle_bytes, Duration idle_after) {
  append_head(head, std::nullopt);
  if (head_only_) return exchange_done();
  phase_ = Phase::streaming;
  idle_bytes_ = std::move(idle_bytes);
  idle_after_ = idle_after;
  progress_ = hub_->now();
  mark_dirty();
}

void Connection::write(std::string_view bytes) {
  if (bytes.empty() || phase_ != Phase::streaming) return;
  if (unsent() + bytes.size() > kStreamBufferBytesMax) return lost();
  if (chunked_) {
    fmt::format_to(std::back_inserter(out_), "{:x}\r\n", bytes.size());
    out_ += bytes;
    out_ += "\r\n";
  } else {
    out_ += bytes;
  }
  mark_dirty();
}

void Connection::finish() {
  if (phase_ != Phase::streaming) return;
  if (chunked_) out_ += "0\r\n\r\n";
  exchange_done();
}

void Connection::dropped(uint64_t exchange) {
  if (!current(exchange)) return;
  if (phase_ == Phase::streaming) return lost();
  respond(error_response(500, "The request was given up without an answer: retry, and report it if it happens again.",
                         "internal_error"));
  asio::post(hub_->io, [hub = hub_] { hub->flush_dirty(); });
}

void Connection::answer_and_close(HttpResponse response) {
  if (phase_ == Phase::closed || close_after_flush_) return;
  keep_alive_ = false;
  append_head(response, response.body.size());
  if (!head_only_) out_ += response.body;
  parser_.reset();
  in_.clear();
  close_after_flush_ = true;
  mark_dirty();
}

void Connection::exchange_done() {
  on_gone_ = nullptr;
  phase_ = Phase::reading;
  since_ = hub_->now();
  mark_dirty();
  if (!keep_alive_) {
    close_after_flush_ = true;
    in_.clear();
    return;
  }
  if (processing_) return;  // the loop goes on with what was read ahead
  asio::post(hub_->io, [self = shared_from_this()] {
    self->process();
    self->read();
    self->hub_->flush_dirty();
  });
}

// -- writing ------------------------------------------------------------------------------------------------------

void Connection::mark_dirty() {
  if (dirty_) return;
  dirty_ = true;
  hub_->dirty.push_back(shared_from_this());
}

void Connection::flush() {
  dirty_ = false;
  if (phase_ == Phase::closed || write_pending_) return;
  while (true) {
    if (sent_ == wire_.size()) {
      wire_.clear();
      sent_ = 0;
      if (out_.empty()) break;
    }
    if (!out_.empty()) {
      if (!tls_) {
        if (wire_.empty())
          wire_.swap(out_);
        else
          wire_ += std::exchange(out_, {});
      } else if (tls_->send(out_, wire_)) {
        out_.clear();
      } else if (wire_.empty()) {
        break;  // the handshake is not over
      }
    }
    error_code ec;
    const size_t took = socket_.write_some(asio::buffer(wire_.data() + sent_, wire_.size() - sent_), ec);
    if (ec == asio::error::would_block) {
      write_pending_ = true;
      socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](error_code) {
        self->write_pending_ = false;
        self->flush();
        self->hub_->flush_dirty();
      });
      return;
    }
    if (ec) return lost();
    sent_ += took;
    progress_ = hub_->now();
  }
  if (close_after_flush_) return linger();
  if (phase_ == Phase::reading && !in_.empty() && !processing_) {
    process();  // pipelined requests that waited for the client to read
    read();
  }
}

void Connection::linger() {
  if (phase_ == Phase::lingering || phase_ == Phase::closed) return;
  if (tls_) {
    std::string last;
    tls_->close(last);
    error_code ignored;
    if (!last.empty()) socket_.write_some(asio::buffer(last), ignored);
  }
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  if (ec) return close();
  phase_ = Phase::lingering;
  since_ = hub_->now();
  in_.clear();
  read();
}

// -- ends ---------------------------------------------------------------------------------------------------------

void Connection::tick(Time now) {
  const HttpServerConfig& config = hub_->config;
  if (unsent() > 0 && now - progress_ > config.write_timeout && write_pending_) return lost();
  switch (phase_) {
    case Phase::reading: {
      const Duration age = now - since_;
      if (close_after_flush_) return;
      if (parser_ && header_seen_) {
        const auto needed = static_cast<size_t>(to_seconds(age) * static_cast<double>(kHttpBodyBytesPerSecondMin));
        const bool slow = age > config.header_timeout && body_bytes_ < needed;
        if (age <= config.body_timeout && !slow) return;
        ++hub_->stats.bad_requests;
        answer_and_close(error_response(408, "The request body came too slowly: send it faster.", "slow_body"));
      } else if (parser_ || !in_.empty()) {
        if (age <= config.header_timeout) return;
        ++hub_->stats.bad_requests;
        answer_and_close(error_response(408, "The request header came too slowly: send it faster.", "slow_header"));
      } else if (age > (tls_ && !tls_->established() ? config.header_timeout : config.idle_timeout) ||
                 hub_->draining) {
        close();
      }
      return;
    }
    case Phase::streaming:
      if (idle_bytes_.empty() || unsent() > 0 || now - progress_ < idle_after_) return;
      write(idle_bytes_);
      return;
    case Phase::lingering:
      if (now - since_ > kHttpLinger) close();
      return;
    case Phase::answering:
    case Phase::closed: return;
  }
}

void Connection::lost() {
  auto tell = std::exchange(on_gone_, nullptr);
  close();
  if (tell) tell();
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  on_gone_ = nullptr;
  error_code ignored;
  socket_.close(ignored);
  parser_.reset();
  in_ = out_ = wire_ = {};
  sent_ = 0;
  if (refused_) --hub_->refusals;
  if (auto found = hub_->per_address.find(counted_as_); found != hub_->per_address.end() && --found->second == 0)
    hub_->per_address.erase(found);
  hub_->connections.erase(shared_from_this());
  hub_->stats.connections = hub_->connections.size();
}

// -- server -------------------------------------------------------------------------------------------------------

std::string plain_address(const tcp::endpoint& endpoint) {
  const auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  return address.to_string();
}

class Server final : public HttpServer {
 public:
  explicit Server(std::shared_ptr<Hub> hub) : hub_(std::move(hub)), acceptor_(hub_->io), timer_(hub_->io) {}
  ~Server() override {
    if (!thread_.joinable()) return;
    asio::post(hub_->io, [this] { stop(); });
    thread_.join();
  }

  Result<void> listen() {
    const int listener = ::fcntl(hub_->config.listener, F_DUPFD_CLOEXEC, 0);
    if (listener < 0) return fail(ErrorCode::invalid_argument, "The HTTP server was given no listening socket.");
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    error_code ec;
    if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0)
      acceptor_.assign(address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), listener, ec);
    if (ec || !acceptor_.is_open()) {
      ::close(listener);
      return fail(ErrorCode::invalid_argument, "The HTTP server was given a descriptor that is no TCP listener.");
    }
    acceptor_.non_blocking(true, ec);
    return {};
  }

  void run() override {
    accept();
    thread_ = std::thread([hub = hub_] { hub->io.run(); });
  }

  void post(std::move_only_function<void()> work) override {
    asio::post(hub_->io, [hub = hub_, work = std::move(work)]() mutable {
      work();
      hub->flush_dirty();
    });
  }

  Result<void> reload_tls() override {
    if (hub_->config.tls_certificate.empty()) return {};
    auto fresh = TlsContext::load(hub_->config.tls_certificate, hub_->config.tls_key);
    if (!fresh) return std::unexpected(fresh.error());
    post([hub = hub_, fresh = std::move(*fresh)] { hub->tls = fresh; });
    return {};
  }

  void drain() override {
    post([hub = hub_] {
      hub->draining = true;
      const auto all = hub->connections;
      for (const auto& connection : all) connection->close_if_idle();
    });
  }

  HttpServerStats stats() const override { return hub_->stats; }

 private:
  void accept() {
    acceptor_.async_accept([this](error_code ec, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (ec == asio::error::operation_aborted) return;
      if (ec) return arm(AcceptAgain::yes);  // out of descriptors or memory: waiting clients stay in the backlog
      admit(std::move(socket));
      hub_->flush_dirty();
      accept();
    });
  }

  void admit(tcp::socket socket) {
    ++hub_->stats.accepted;
    error_code ec;
    socket.non_blocking(true, ec);
    socket.set_option(tcp::no_delay(true), ec);
    const auto remote = socket.remote_endpoint(ec);
    if (ec) return;  // gone already
    const auto local = socket.local_endpoint(ec);
    if (ec) return;
    std::string peer = plain_address(remote);
    const auto& exempt = hub_->config.exempt_addresses;
    const bool counted = std::find(exempt.begin(), exempt.end(), peer) == exempt.end();
    const bool full = hub_->connections.size() >= hub_->config.connections_max;
    const auto open = hub_->per_address.find(peer);
    const bool greedy =
        counted && open != hub_->per_address.end() && open->second >= hub_->config.connections_per_address;
    const bool refused = full || greedy;
    if (refused) ++hub_->stats.refused;
    if (refused && (hub_->tls || hub_->refusals >= kHttpRefusalsMax)) return;
    auto connection = std::make_shared<Connection>(hub_, std::move(socket), peer, plain_address(local));
    hub_->connections.insert(connection);
    hub_->stats.connections = hub_->connections.size();
    if (refused) {
      connection->refuse(full ? "The server has no connection left: retry later."
                              : "Your address has too many connections open: close some, or reuse them.");
    } else {
      if (counted) ++hub_->per_address[peer];
      connection->start(counted ? std::move(peer) : std::string());
    }
    if (!ticking_) arm(AcceptAgain::no);
  }

  enum class AcceptAgain { no, yes };
  void arm(AcceptAgain again) {
    if (again == AcceptAgain::yes) accept_again_ = true;
    if (ticking_) return;
    ticking_ = true;
    timer_.expires_after(kHttpTick);
    timer_.async_wait([this](error_code ec) {
      ticking_ = false;
      if (ec || !acceptor_.is_open()) return;
      tick();
    });
  }

  void tick() {
    const Time now = hub_->now();
    scratch_.assign(hub_->connections.begin(), hub_->connections.end());
    for (const auto& connection : scratch_) connection->tick(now);
    scratch_.clear();
    hub_->handler.tick();
    hub_->flush_dirty();
    if (std::exchange(accept_again_, false)) accept();
    if (!hub_->connections.empty()) arm(AcceptAgain::no);
  }

  void stop() {
    error_code ignored;
    acceptor_.close(ignored);
    timer_.cancel();
    const auto all = hub_->connections;
    for (const auto& connection : all) connection->abandon();
    hub_->dirty.clear();
  }

  std::shared_ptr<Hub> hub_;
  tcp::acceptor acceptor_;
  asio::steady_timer timer_;
  std::vector<std::shared_ptr<Connection>> scratch_;
  bool ticking_ = false, accept_again_ = false;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::make(HttpServerConfig config, HttpHandler& handler) {
  std::shared_ptr<const TlsContext> tls;
  if (!config.tls_certificate.empty()) {
    auto loaded = TlsContext::load(config.tls_certificate, config.tls_key);
    if (!loaded) return std::unexpected(loaded.error());
    tls = std::move(*loaded);
  }
  auto hub = std::make_shared<Hub>(std::move(config), handler);
  hub->tls = std::move(tls);
  auto server = std::make_unique<Server>(std::move(hub));
  if (auto listening = server->listen(); !listening) return std::unexpected(listening.error());
  return server;
}

}  // namespace troupe
