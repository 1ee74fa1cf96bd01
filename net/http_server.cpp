#include "net/http_server.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>
#include <utility>

#include "net/http_connection.h"

namespace troupe {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// -------------------------------------------------------------------------------------------------------

std::string plain_address(const tcp::endpoint& endpoint) {
  const auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  return address.to_string();
}

class Server final : public HttpServer {
 public:
  explicit Server(std::shared_ptr<HttpHub> hub)
      : hub_(std::move(hub)), acceptor_(hub_->io), timer_(hub_->io) {}
  ~Server() override { end(); }

  void end() override {
    if (!thread_.joinable()) return;
    asio::post(hub_->io, [this] { stop(); });
    thread_.join();
  }

  Result<void> listen() {
    const int listener = ::fcntl(hub_->config.listener, F_DUPFD_CLOEXEC, 0);
    if (listener < 0)
      return fail(ErrorCode::invalid_argument, "The HTTP server was given no listening socket.");
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    error_code ec;
    if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0)
      acceptor_.assign(address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), listener, ec);
    if (ec || !acceptor_.is_open()) {
      ::close(listener);
      return fail(ErrorCode::invalid_argument,
                  "The HTTP server was given a descriptor that is no TCP listener.");
    }
    acceptor_.non_blocking(true, ec);
    return {};
  }

  void run() override {
    accept();
    thread_ = std::thread([hub = hub_] { hub->run(); });
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
      if (ec)
        return arm(
            AcceptAgain::yes);  // out of descriptors or memory: waiting clients stay in the backlog
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
    const bool greedy = counted && open != hub_->per_address.end() &&
                        open->second >= hub_->config.connections_per_address;
    const bool refused = full || greedy;
    if (refused) ++hub_->stats.refused;
    if (refused && (hub_->tls || hub_->refusals >= kHttpRefusalsMax)) return;
    auto connection =
        std::make_shared<HttpConnection>(hub_, std::move(socket), peer, plain_address(local));
    hub_->connections.insert(connection);
    hub_->stats.connections = hub_->connections.size();
    if (refused) {
      connection->refuse(
          full ? "The server has no connection left: retry later."
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
    const Time now = steady_now();
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

  std::shared_ptr<HttpHub> hub_;
  tcp::acceptor acceptor_;
  asio::steady_timer timer_;
  std::vector<std::shared_ptr<HttpConnection>> scratch_;
  bool ticking_ = false, accept_again_ = false;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::make(HttpServerConfig config,
                                                     HttpHandler& handler) {
  std::shared_ptr<const TlsContext> tls;
  if (!config.tls_certificate.empty()) {
    auto loaded = TlsContext::load(config.tls_certificate, config.tls_key);
    if (!loaded) return std::unexpected(loaded.error());
    tls = std::move(*loaded);
  }
  auto hub = std::make_shared<HttpHub>(std::move(config), handler);
  hub->tls = std::move(tls);
  auto server = std::make_unique<Server>(std::move(hub));
  if (auto listening = server->listen(); !listening) return std::unexpected(listening.error());
  return server;
}

}  // namespace troupe
