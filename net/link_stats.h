// What a link counts: values that a shell logs and exports. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// Why a connection came to nothing. The order is on the wire (net/link_preamble.h): only append.
enum class LinkRefusal : uint8_t {
  crowded,         ///< pushed out by newer sockets before it had proven who it is
  too_slow,        ///< no accepted preamble, or no answer, within its deadline
  hung_up,         ///< closed before the handshake was over
  not_tls,         ///< bytes that are no TLS handshake
  old_tls,         ///< TLS 1.2 or older
  no_certificate,  ///< the peer showed none
  untrusted,       ///< not from our CA
  expired,         ///< from our CA, past its end
  foreign_node,    ///< names no node of the config, several of them, or this node itself
  no_service,      ///< no ALPN name that is served
  bad_preamble,
  wrong_source,      ///< the preamble names another node than the certificate
  replayed,          ///< the preamble was made for another connection
  unknown_target,    ///< no such process here for that service
  target_down,       ///< its socket does not answer
  too_many_streams,  ///< kLinkStreamsMax
  unreachable,       ///< dialing: no TCP connection
  wrong_node,        ///< dialing: another node answered
  refused_there,     ///< dialing: the other side said no
};
inline constexpr size_t kLinkRefusals = 19;
std::string_view name_of(LinkRefusal refusal);

struct LinkStats {
  uint64_t accepted = 0;  ///< streams from other nodes whose preamble was accepted
  uint64_t dialled = 0;   ///< streams to other nodes that were accepted there
  uint64_t ended = 0;     ///< of both, since
  std::array<uint64_t, kLinkRefusals> refused{};  ///< connections from outside, by reason
  std::array<uint64_t, kLinkRefusals> failed{};   ///< dials, by reason
  uint64_t bytes_in = 0, bytes_out = 0;           ///< plain bytes from and to other nodes
  size_t open = 0;                                ///< streams now
  size_t unauthenticated = 0;                     ///< now; at most kLinkUnauthenticatedMax
  size_t buffered_max = 0;                        ///< most plain bytes one stream has ever held
  std::string last_refused,
      last_failed;  ///< "10.0.0.7:4711 not_tls"; "n2/router: unreachable (...)"

  uint64_t refusals(LinkRefusal why) const { return refused[static_cast<size_t>(why)]; }
  uint64_t failures(LinkRefusal why) const { return failed[static_cast<size_t>(why)]; }
};

/// One line for the log about what was refused and failed between two looks, empty if nothing:
/// "refused 14 connections (10 too_slow, 4 not_tls; last 10.0.0.7:4711 not_tls)".
std::string refusals_between(const LinkStats& before, const LinkStats& now);

}  // namespace troupe
