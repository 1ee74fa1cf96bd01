// One socket on its way to be a rank's pipe: connect (when dialled), TLS, introduction both ways.
// Owner: connect_ranks; one thread, never blocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "net/group_tls.h"
#include "net/tls_pipe.h"

namespace troupe {

/// What both sides say once the handshake proved the key.
struct Introduction {
  uint32_t magic = 0x49524354;  // "TCRI"
  uint32_t generation = 0;
  uint16_t version = 1;  ///< of the data plane: frames and algorithms
  uint16_t ranks = 0, from = 0, to = 0;
  bool operator==(const Introduction&) const = default;
};
static_assert(sizeof(Introduction) == 16);

class RankHandshake {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  enum class State : uint8_t { connecting, handshake, introduction, done, failed };

  /// A dialled socket whose connect() is under way to rank `own.to`.
  static RankHandshake dialled(const GroupTls& tls, FileDescriptor socket, Introduction own,
                               Instant until);
  /// An accepted socket; `own.to` is unknown yet.
  static RankHandshake accepted(const GroupTls& tls, FileDescriptor socket, Introduction own,
                                Instant until);

  /// Goes as far as it can without waiting.
  State advance();
  int descriptor() const { return socket_.get(); }
  short events() const { return events_; }  ///< to poll for
  Instant until() const { return until_; }
  TlsRole role() const { return role_; }
  int peer() const { return own_.to; }  ///< of a dialled or done one
  /// Once failed: for a person.
  const std::string& why() const { return why_; }
  /// Once done.
  TlsPipe take();

 private:
  RankHandshake(const GroupTls& tls, FileDescriptor socket, Introduction own, Instant until,
                TlsRole role);
  State fail(std::string why);
  State connect();
  State shake_hands();
  State introduce();
  bool say();

  FileDescriptor socket_;
  SslPointer ssl_;
  Introduction own_, theirs_;
  size_t heard_ = 0;  ///< bytes of theirs_
  Instant until_;
  TlsRole role_;
  State state_;
  short events_;
  std::string why_;
};

}  // namespace troupe
