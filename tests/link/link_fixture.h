// Links, certificates and sockets that tests of the link share. Everything is real: files, TLS,
// ports chosen by the kernel.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/certs.h"
#include "net/link.h"
#include "net/link_preamble.h"
#include "net/listener.h"

struct ssl_st;
struct ssl_ctx_st;

namespace troupe::testing {

/// A folder under /tmp (socket paths must be short), removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

WallTime wall_now();

/// A CA in `folder` and a certificate for each node.
void make_certificates(const std::string& folder, const std::vector<std::string>& nodes);

/// Descriptors this process has open.
size_t open_descriptors();

/// Spins until `done`, at most 20 s; false if it never was.
bool wait_until(const std::function<bool()>& done);

/// A blocking socket whose calls give up after 20 s.
class Socket {
 public:
  explicit Socket(int fd = -1);
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();
  static Socket to_unix(const std::string& path);
  static Socket to_tcp(uint16_t port);

  int fd() const { return fd_; }
  bool connected() const { return fd_ >= 0; }
  bool send(std::string_view bytes) const;
  /// Exactly so many bytes; fewer at the end of the stream.
  std::string read(size_t count) const;
  /// The other side closed, or shut down its sending side: nothing but end-of-file is left.
  bool at_end() const;
  void end_sending() const;
  void close();
  void reset();  ///< closes with RST

 private:
  int fd_ = -1;
};

/// What a process behind a link does: listens, and is connected to.
class Target {
 public:
  explicit Target(std::string path);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  Socket accept() const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
};

/// Two hosts: n1 has doors, n2 has targets "n2" and "n2/router" (basp), "n2/files" (file), and "n2"
/// (beat), where only the tests of beats listen.
/// More nodes ("n3", nobody listens there) are in the config of both.
struct TwoLinks {
  struct Options {
    Duration handshake_timeout = kLinkHandshakeTimeout;
    Duration dial_timeout = kLinkDialTimeout;
  };
  explicit TwoLinks(Options options);
  TwoLinks() : TwoLinks(Options()) {}
  LinkConfig config_of(const std::string& node) const;
  void start_n1();
  void start_n2();
  std::string door(std::string_view target) const { return dir / ("d-" + std::string(target)); }

  std::string beats_path() const { return dir / "t-beats"; }

  TempDir dir;
  Options options;
  Listener port1, port2;
  Target node, router, files;
  std::unique_ptr<Link> n1, n2;
};

/// A TLS client made of plain OpenSSL, for what a link would never do.
class RawPeer {
 public:
  struct Options {
    LinkFiles files;  ///< empty certificate: none is shown
    std::string alpn = "basp";
    int version = 0x0304;  ///< the only one offered
  };
  RawPeer(uint16_t port, const Options& options);
  ~RawPeer();
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  /// From the client's side; the acceptor may refuse afterwards.
  bool connected() const { return connected_; }
  std::array<uint8_t, 32> binding() const;
  bool send(std::string_view bytes) const;
  /// As Socket::read, decrypted.
  std::string read(size_t count) const;

 private:
  Socket socket_;
  ssl_ctx_st* context_ = nullptr;
  ssl_st* ssl_ = nullptr;
  bool connected_ = false;
};

/// `count` bytes that differ by seed.
std::string random_bytes(size_t count, uint64_t seed);

std::string_view text(std::span<const uint8_t> bytes);

}  // namespace troupe::testing
