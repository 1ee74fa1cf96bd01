// An open stream of a link: bytes from a local AF_UNIX socket into TLS, and back. Edge-triggered:
// it remembers which side was ready last and works until both would block. Holds at most
// kLinkBufferBytes a direction; beyond, it stops reading, and the kernel pushes back.
//
// How a stream ends: a local process that shuts down its sending side becomes close_notify, and
// close_notify becomes shutdown(SHUT_WR) towards the local process; the other direction goes on.
// A local process that closes altogether becomes close_notify and a TCP FIN, which the other link
// turns into a close. When the connection breaks, what had come is handed over, then both close.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "config/time.h"
#include "net/link_buffer.h"
#include "net/link_stats.h"
#include "net/link_tls.h"

namespace troupe {

class LinkSplice {
 public:
  /// Uses both sockets, which stay the caller's. `first` is sent to the peer before anything else.
  LinkSplice(std::unique_ptr<LinkSession> session, int remote, int local,
             std::span<const uint8_t> first);

  /// What epoll reported, before turn().
  void remote_event(uint32_t events);
  void local_event(uint32_t events);

  /// more: there was work left after kLinkTurnBytes. over: close both sockets.
  enum class Next : uint8_t { wait, more, over };
  Next turn(LinkStats& stats);

  /// The local process has gone and the peer was told: over after kLinkLinger, whatever comes.
  bool lingers() const { return fin_sent_; }

 private:
  // Each goes on until it would block or has nothing left; true if anything came of it.
  bool read_local();
  bool write_remote(LinkStats& stats);
  bool end_sending();
  bool read_remote(LinkStats& stats);
  bool write_local();
  bool over() const;

  std::unique_ptr<LinkSession> session_;
  int remote_, local_;
  LinkBuffer out_, in_;  ///< to the peer, to the local process
  // What would not block, as far as we know.
  bool remote_readable_ = true, remote_writable_ = true;
  bool local_readable_ = true, local_writable_ = true;
  bool write_waits_for_read_ = false;
  // How far each direction is over.
  bool local_ended_ = false;    ///< nothing more comes from the local process
  bool local_hung_up_ = false;  ///< and it takes nothing more
  bool notice_sent_ = false, fin_sent_ = false;
  bool remote_ended_ = false;    ///< close_notify came
  bool remote_hung_up_ = false;  ///< the peer's FIN came
  bool local_shut_ = false;
  size_t moved_ = 0;  ///< in this turn
};

}  // namespace troupe
