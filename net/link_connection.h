// One connection of a link, from accept or dial to its end: TCP, TLS, preamble, then a splice. Owns
// both sockets. Driven by the loop of net/link.cpp, its only caller: events in, then turn().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/link.h"
#include "net/link_address.h"
#include "net/link_preamble.h"
#include "net/link_splice.h"

namespace troupe {

class LinkConnection {
 public:
  enum class Next : uint8_t {
    wait,
    more,     ///< call turn() again, after the others
    refused,  ///< it came to nothing: `refusal()` says why
    over,
  };

  /// From another host. `from` is its address, for the log.
  static std::unique_ptr<LinkConnection> accept(std::shared_ptr<const LinkTls> tls, int remote,
                                                std::string from);
  /// A local process stands in `door`, which must outlive the connection. dial() follows.
  static std::unique_ptr<LinkConnection> leave(std::shared_ptr<const LinkTls> tls,
                                               const LinkDoor& door, int local);
  ~LinkConnection();
  LinkConnection(const LinkConnection&) = delete;
  LinkConnection& operator=(const LinkConnection&) = delete;

  /// Once, for leave(): tries these in turn.
  void dial(std::vector<LinkAddress> addresses);

  void remote_event(uint32_t events);
  void local_event(uint32_t events);
  Next turn(const LinkConfig& config, LinkStats& stats);

  bool inbound() const { return door_ == nullptr; }
  bool spliced() const { return splice_.has_value(); }
  bool lingers() const { return splice_ && splice_->lingers(); }
  int remote() const { return remote_; }  ///< -1: none yet
  /// Grows whenever remote() is another socket, because another address is tried.
  size_t remotes() const { return remotes_; }
  /// To be watched by epoll; -1 until it is spliced.
  int local() const { return spliced() ? local_ : -1; }
  /// The other node; of an inbound one after the handshake.
  const std::string& node() const { return node_; }
  LinkRefusal refusal() const { return refusal_; }
  /// "10.0.0.7:4711 not_tls", "n2/router: unreachable (Connection refused)"
  std::string describe(LinkRefusal why) const;

 private:
  enum class Stage : uint8_t { resolving, connecting, handshake, greeting, answer, preamble };

  LinkConnection(std::shared_ptr<const LinkTls> tls, std::string name)
      : tls_(std::move(tls)), name_(std::move(name)) {}
  Next refuse(LinkRefusal why, std::string detail = {});
  Next connect_next();
  Next on_connecting();
  Next on_handshake(const LinkConfig& config);
  Next on_greeting();                                            // outbound: the preamble leaves
  Next on_answer(LinkStats& stats);                              // outbound: the verdict comes
  Next on_preamble(const LinkConfig& config, LinkStats& stats);  // inbound
  Next check_preamble(const LinkConfig& config, LinkStats& stats);
  Next answer_no(LinkRefusal why);
  std::optional<Next> fill(size_t wanted);
  void splice(std::span<const uint8_t> first);

  std::shared_ptr<const LinkTls> tls_;
  std::string name_;                ///< for the log
  const LinkDoor* door_ = nullptr;  ///< null: inbound
  int remote_ = -1, local_ = -1;
  size_t remotes_ = 0;
  Stage stage_ = Stage::handshake;
  bool remote_writable_ = false;  ///< of a socket that connects
  std::vector<LinkAddress> addresses_;
  size_t next_address_ = 0;
  std::unique_ptr<LinkSession> session_;  ///< until it is spliced
  std::vector<uint8_t> head_;             ///< preamble or answer, as far as it came or is unsent
  size_t head_sent_ = 0;
  std::optional<LinkSplice> splice_;
  std::string node_;
  LinkRefusal refusal_ = LinkRefusal::hung_up;
  std::string why_;
};

}  // namespace troupe
