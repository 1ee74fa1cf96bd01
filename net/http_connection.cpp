#include "net/http_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <iterator>
#include <utility>

namespace troupe {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

std::string_view HttpHub::date() {
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

void HttpHub::flush_dirty() {
  while (!dirty.empty()) {
    std::vector<std::shared_ptr<HttpConnection>> batch;
    batch.swap(dirty);
    for (const auto& connection : batch) connection->flush();
  }
}

void HttpHub::run() {
  while (!io.stopped()) {
    if (io.poll() > 0 || io.stopped()) continue;
    const bool may_ask_again = unfinished == 0 && steady_now() - answered_at < kHttpSpin;
    if (!may_ask_again) io.run_one();
  }
}

namespace {

class Reply final : public HttpReply {
 public:
  Reply(std::shared_ptr<HttpConnection> connection, uint64_t exchange)
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
  std::shared_ptr<HttpConnection> connection_;
  uint64_t exchange_;
};

}  // namespace

// -- reading
// ------------------------------------------------------------------------------------------------------

void HttpConnection::read() {
  if (read_pending_ || phase_ == Phase::closed) return;
  // A read stays open while an answer is under way: its end is how we learn that the client left.
  if (in_.size() >= kHttpReadAheadBytesMax) return;
  read_pending_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code ec) {
    self->on_readable(ec);
    self->hub_->flush_dirty();
  });
}

void HttpConnection::on_readable(error_code ec) {
  read_pending_ = false;
  if (phase_ == Phase::closed) return;
  size_t got = 0;
  if (!ec) got = socket_.read_some(asio::buffer(hub_->read_buffer), ec);
  if (ec == asio::error::would_block) return read();
  if (ec) return on_end_of_input();
  const std::string_view bytes(hub_->read_buffer.data(), got);
  if (phase_ == Phase::lingering || close_after_flush_)
    return read();  // what follows a last answer is dropped
  if (phase_ == Phase::reading && !parser_.started() && in_.empty() && exchange_ > 0)
    since_ = steady_now();
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

void HttpConnection::on_end_of_input() {
  if (phase_ == Phase::reading && (parser_.started() || !in_.empty()) && !close_after_flush_) {
    ++hub_->stats.bad_requests;
    return answer_and_close(error_response(400,
                                           "The connection ended before the request was complete: "
                                           "send the whole body that Content-Length or the "
                                           "chunks announce.",
                                           "incomplete_request"));
  }
  if (phase_ == Phase::reading && close_after_flush_) return;  // the answer is still on its way out
  lost();
}

void HttpConnection::process() {
  if (processing_) return;
  processing_ = true;
  while (phase_ == Phase::reading && !close_after_flush_ && !in_.empty() &&
         unsent() < kHttpReadAheadBytesMax)
    if (!parse_some()) break;
  processing_ = false;
}

/// Returns whether there may be more to do with the bytes at hand.
bool HttpConnection::parse_some() {
  const bool was_in_body = parser_.in_body();
  const auto progress = parser_.parse(in_);
  keep_alive_ = parser_.keep_alive();
  head_only_ = parser_.is_head();
  chunked_ = parser_.is_http_1_1();
  if (parser_.in_body() && !was_in_body) since_ = steady_now();
  if (parser_.wants_continue()) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    mark_dirty();
  }
  switch (progress) {
    case HttpParser::Progress::more:
      return false;
    case HttpParser::Progress::done:
      dispatch();
      return true;
    case HttpParser::Progress::refused:
      ++hub_->stats.bad_requests;
      answer_and_close(parser_.refusal());
      return false;
  }
  return false;
}

void HttpConnection::dispatch() {
  HttpRequest request = parser_.take();
  request.peer = peer_;
  request.local = local_;
  enter(Phase::answering);
  ++exchange_;
  hub_->handler.handle(std::move(request), std::make_shared<Reply>(shared_from_this(), exchange_));
}

// -- answering
// ----------------------------------------------------------------------------------------------------

void HttpConnection::append_head(const HttpResponse& response, std::optional<size_t> length) {
  if (hub_->draining) keep_alive_ = false;
  auto out = std::back_inserter(out_);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\n", response.status,
                 reason_phrase(response.status), hub_->date(), response.content_type);
  for (const HttpHeader& header : response.headers)
    fmt::format_to(out, "{}: {}\r\n", header.name, header.value);
  if (length)
    fmt::format_to(out, "Content-Length: {}\r\n", *length);
  else if (chunked_)
    out_ += "Transfer-Encoding: chunked\r\n";
  else
    keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the body
  out_ += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
}

void HttpConnection::respond(HttpResponse response) {
  append_head(response, response.body.size());
  if (!head_only_) out_ += response.body;
  exchange_done();
}

void HttpConnection::start_stream(HttpResponse head, std::string idle_bytes, Duration idle_after) {
  append_head(head, std::nullopt);
  if (head_only_) return exchange_done();
  enter(Phase::streaming);
  idle_bytes_ = std::move(idle_bytes);
  idle_after_ = idle_after;
  progress_ = steady_now();
  mark_dirty();
}

void HttpConnection::write(std::string_view bytes) {
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

void HttpConnection::finish() {
  if (phase_ != Phase::streaming) return;
  if (chunked_) out_ += "0\r\n\r\n";
  exchange_done();
}

void HttpConnection::dropped(uint64_t exchange) {
  if (!current(exchange)) return;
  if (phase_ == Phase::streaming) return lost();
  respond(error_response(
      500, "The request was given up without an answer: retry, and report it if it happens again.",
      "internal_error"));
  asio::post(hub_->io, [hub = hub_] { hub->flush_dirty(); });
}

void HttpConnection::answer_and_close(HttpResponse response) {
  if (phase_ == Phase::closed || close_after_flush_) return;
  keep_alive_ = false;
  append_head(response, response.body.size());
  if (!head_only_) out_ += response.body;
  parser_.reset();
  in_.clear();
  close_after_flush_ = true;
  mark_dirty();
}

void HttpConnection::enter(Phase next) {
  const auto unfinished = [](Phase p) { return p == Phase::answering || p == Phase::streaming; };
  if (unfinished(phase_)) --hub_->unfinished;
  if (unfinished(next)) ++hub_->unfinished;
  phase_ = next;
}

void HttpConnection::exchange_done() {
  on_gone_ = nullptr;
  enter(Phase::reading);
  since_ = hub_->answered_at = steady_now();
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

// -- writing
// ------------------------------------------------------------------------------------------------------

void HttpConnection::mark_dirty() {
  if (dirty_) return;
  dirty_ = true;
  hub_->dirty.push_back(shared_from_this());
}

void HttpConnection::flush() {
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
    const size_t took =
        socket_.write_some(asio::buffer(wire_.data() + sent_, wire_.size() - sent_), ec);
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
    progress_ = steady_now();
  }
  if (close_after_flush_) return linger();
  if (phase_ == Phase::reading && !in_.empty() && !processing_) {
    process();  // pipelined requests that waited for the client to read
    read();
  }
}

void HttpConnection::linger() {
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
  enter(Phase::lingering);
  since_ = steady_now();
  in_.clear();
  read();
}

// -- ends
// ---------------------------------------------------------------------------------------------------------

void HttpConnection::tick(Time now) {
  const HttpServerConfig& config = hub_->config;
  if (unsent() > 0 && now - progress_ > config.write_timeout && write_pending_) return lost();
  switch (phase_) {
    case Phase::reading: {
      const Duration age = now - since_;
      if (close_after_flush_) return;
      if (parser_.in_body()) {
        const auto needed =
            static_cast<size_t>(to_seconds(age) * static_cast<double>(kHttpBodyBytesPerSecondMin));
        const bool slow = age > config.header_timeout && parser_.body_bytes() < needed;
        if (age <= config.body_timeout && !slow) return;
        ++hub_->stats.bad_requests;
        answer_and_close(
            error_response(408, "The request body came too slowly: send it faster.", "slow_body"));
      } else if (parser_.started() || !in_.empty()) {
        if (age <= config.header_timeout) return;
        ++hub_->stats.bad_requests;
        answer_and_close(error_response(408, "The request header came too slowly: send it faster.",
                                        "slow_header"));
      } else {
        // Also in a drain a new connection may send its first request: it is told that we drain.
        const bool greeting = exchange_ == 0 && (hub_->draining || (tls_ && !tls_->established()));
        if ((hub_->draining && exchange_ > 0) ||
            age > (greeting ? config.header_timeout : config.idle_timeout))
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
    case Phase::closed:
      return;
  }
}

void HttpConnection::lost() {
  auto tell = std::exchange(on_gone_, nullptr);
  close();
  if (tell) tell();
}

void HttpConnection::close() {
  if (phase_ == Phase::closed) return;
  enter(Phase::closed);
  on_gone_ = nullptr;
  error_code ignored;
  socket_.close(ignored);
  parser_.reset();
  in_ = out_ = wire_ = {};
  sent_ = 0;
  if (refused_) --hub_->refusals;
  if (auto found = hub_->per_address.find(counted_as_);
      found != hub_->per_address.end() && --found->second == 0)
    hub_->per_address.erase(found);
  hub_->connections.erase(shared_from_this());
  hub_->stats.connections = hub_->connections.size();
}

}  // namespace troupe
