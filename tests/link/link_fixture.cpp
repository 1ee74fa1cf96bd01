#include "tests/link/link_fixture.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "net/unix_socket.h"

namespace troupe::testing {

TempDir::TempDir() {
  char path[] = "/tmp/troupe-link-XXXXXX";
  REQUIRE(::mkdtemp(path) != nullptr);
  path_ = path;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

WallTime wall_now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

void make_certificates(const std::string& folder, const std::vector<std::string>& nodes) {
  CaOrder ca;
  ca.folder = folder;
  ca.cluster = "test";
  ca.now = wall_now();
  REQUIRE(make_ca(ca).has_value());
  for (const std::string& node : nodes) {
    NodeOrder order;
    order.folder = folder;
    order.node = node;
    order.now = wall_now();
    REQUIRE(issue_certificate(order).has_value());
  }
}

size_t open_descriptors() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    (void)entry;
    ++count;
  }
  return count;
}

bool wait_until(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

Socket::Socket(int fd) : fd_(fd) {
  if (fd_ < 0) return;
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
  const timeval patience{20, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Socket::~Socket() { close(); }

Socket Socket::to_unix(const std::string& path) {
  auto fd = dial_unix(path);
  return Socket(fd ? *fd : -1);
}

Socket Socket::to_tcp(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Socket made(fd);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    made.close();
  return made;
}

bool Socket::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t put = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return true;
}

std::string Socket::read(size_t count) const {
  std::string out(count, '\0');
  size_t at = 0;
  while (at < count) {
    const ssize_t got = ::recv(fd_, out.data() + at, count - at, 0);
    if (got <= 0) break;
    at += static_cast<size_t>(got);
  }
  out.resize(at);
  return out;
}

bool Socket::at_end() const {
  char byte = 0;
  const ssize_t got = ::recv(fd_, &byte, 1, 0);
  return got == 0 || (got < 0 && errno == ECONNRESET);
}

void Socket::end_sending() const { ::shutdown(fd_, SHUT_WR); }

void Socket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void Socket::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

Target::Target(std::string path) : path_(std::move(path)) {
  auto fd = listen_unix(path_);
  REQUIRE(fd.has_value());
  fd_ = *fd;
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
  const timeval patience{20, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

Target::~Target() { ::close(fd_); }

Socket Target::accept() const {
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  REQUIRE(fd >= 0);
  return Socket(fd);
}

namespace {
Listener free_port() {
  auto listener = listen_tcp({"127.0.0.1", 0});
  REQUIRE(listener.has_value());
  return *listener;
}
}  // namespace

TwoLinks::TwoLinks(Options given)
    : options(given),
      port1(free_port()),
      port2(free_port()),
      node(dir / "t-n2"),
      router(dir / "t-router"),
      files(dir / "t-files") {
  make_certificates(dir / "certs", {"n1", "n2", "n3"});
  start_n1();
  start_n2();
}

LinkConfig TwoLinks::config_of(const std::string& name) const {
  LinkConfig config;
  config.node = name;
  config.incarnation = Incarnation(name == "n1" ? 11 : 22);
  config.ways.files = link_files(dir / "certs", name);
  config.listener = name == "n1" ? port1.fd : port2.fd;
  config.handshake_timeout = options.handshake_timeout;
  config.dial_timeout = options.dial_timeout;
  HostPort nobody{"127.0.0.1", 1};
  for (const auto& [peer, address] :
       {std::pair{"n1", port1.address}, {"n2", port2.address}, {"n3", nobody}})
    if (peer != name) config.ways.peers.push_back({peer, address});
  if (name == "n1")
    config.ways.doors = {{door("n2"), LinkService::basp, "n1", "n2", "n2"},
                         {door("router"), LinkService::basp, "n1/router", "n2", "n2/router"},
                         {door("files"), LinkService::file, "n1", "n2", "n2/files"},
                         {door("nobody"), LinkService::basp, "n1", "n2", "n2/nobody"},
                         {door("wrong-service"), LinkService::beat, "n1", "n2", "n2/router"},
                         {door("beats"), LinkService::beat, "n1", "n2", "n2"},
                         {door("n3"), LinkService::basp, "n1", "n3", "n3"}};
  else
    config.ways.targets = {{LinkService::basp, "n2", node.path()},
                           {LinkService::basp, "n2/router", router.path()},
                           {LinkService::file, "n2/files", files.path()},
                           {LinkService::beat, "n2", beats_path()}};
  return config;
}

void TwoLinks::start_n1() {
  auto link = Link::start(config_of("n1"));
  REQUIRE_MESSAGE(link.has_value(), (link ? std::string() : link.error().message));
  n1 = std::move(*link);
}

void TwoLinks::start_n2() {
  auto link = Link::start(config_of("n2"));
  REQUIRE_MESSAGE(link.has_value(), (link ? std::string() : link.error().message));
  n2 = std::move(*link);
}

RawPeer::RawPeer(uint16_t port, const Options& options)
    : socket_(Socket::to_tcp(port)), context_(SSL_CTX_new(TLS_client_method())) {
  ::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets that links have closed
  REQUIRE(socket_.connected());
  SSL_CTX_set_min_proto_version(context_, options.version);
  SSL_CTX_set_max_proto_version(context_, options.version);
  if (!options.files.certificate.empty()) {
    REQUIRE(SSL_CTX_use_certificate_file(context_, options.files.certificate.c_str(),
                                         SSL_FILETYPE_PEM) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey_file(context_, options.files.key.c_str(), SSL_FILETYPE_PEM) ==
            1);
  }
  ssl_ = SSL_new(context_);
  if (!options.alpn.empty()) {
    const std::string list = std::string(1, static_cast<char>(options.alpn.size())) + options.alpn;
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(list.data()),
                        static_cast<unsigned>(list.size()));
  }
  SSL_set_fd(ssl_, socket_.fd());
  connected_ = SSL_connect(ssl_) == 1;
}

RawPeer::~RawPeer() {
  SSL_free(ssl_);
  SSL_CTX_free(context_);
}

std::array<uint8_t, 32> RawPeer::binding() const {
  std::array<uint8_t, 32> out{};
  REQUIRE(SSL_export_keying_material(ssl_, out.data(), out.size(), kLinkBindingLabel,
                                     sizeof kLinkBindingLabel - 1, nullptr, 0, 0) == 1);
  return out;
}

bool RawPeer::send(std::string_view bytes) const {
  return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) ==
         static_cast<int>(bytes.size());
}

std::string RawPeer::read(size_t count) const {
  std::string out(count, '\0');
  size_t at = 0;
  while (at < count) {
    const int got = SSL_read(ssl_, out.data() + at, static_cast<int>(count - at));
    if (got <= 0) break;
    at += static_cast<size_t>(got);
  }
  out.resize(at);
  return out;
}

std::string random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string out;
  out.reserve(count + 8);
  while (out.size() < count) {
    const uint64_t bits = random();
    out.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  out.resize(count);
  return out;
}

std::string_view text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace troupe::testing
