// One authenticated TLS connection to another rank, non-blocking. Small writes are gathered into
// one record until flush(). Owner: TcpMesh, one thread. Holds at most one record of unsent bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/file_descriptor.h"
#include "net/group_tls.h"

namespace troupe {

class TlsPipe {
 public:
  TlsPipe(FileDescriptor socket, SslPointer ssl);
  ~TlsPipe();
  TlsPipe(TlsPipe&&) = default;
  TlsPipe& operator=(TlsPipe&&) = default;

  /// How many bytes were taken or have come; nullopt when the connection is over, see ending().
  std::optional<size_t> write(std::span<const std::byte> bytes);
  std::optional<size_t> read(std::span<std::byte> into);
  /// True once the socket took all; nullopt as above.
  std::optional<bool> flush();

  int descriptor() const { return socket_.get(); }
  /// Why the connection is over: "closed", "Connection reset by peer".
  const std::string& ending() const { return ending_; }
  /// Nothing more will be written; the peer sees the end after what was flushed.
  void finish() noexcept;

 private:
  /// After a failed call: true when it only has to wait.
  bool only_waits(int error);

  FileDescriptor socket_;
  SslPointer ssl_;
  std::vector<std::byte> record_;
  size_t filled_ = 0;
  bool sealed_ = false;  ///< OpenSSL has it in part: not to be changed
  std::string ending_;
};

}  // namespace troupe
