// The link of a node: the one port that other hosts reach. It carries the byte streams of AF_UNIX
// sockets (CAF's BASP, beats, files) over TLS 1.3 between processes of different hosts, and knows
// nothing of what they say.
//
//   process on n1 --AF_UNIX--> door of n1's link ==TLS, preamble==> n2's link --AF_UNIX--> target
//
// A door is a socket file that stands for one process of another node: whoever connects to it is
// spliced to that process, or sees its connection closed if that fails. Nothing is retried here;
// the process that dialed does that. One thread (and one that resolves host names) runs all of it,
// edge-triggered. Bounds: kLinkStreamsMax connections, kLinkUnauthenticatedMax strangers,
// kLinkBufferBytes a direction.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/host_port.h"
#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"
#include "net/link_stats.h"
#include "net/link_tls.h"

namespace troupe {

struct LinkPeer {
  std::string node;
  HostPort address;  ///< of its link
  bool operator==(const LinkPeer&) const = default;
};

/// A local way out.
struct LinkDoor {
  std::string path;  ///< AF_UNIX socket, made here with mode 0600
  LinkService service = LinkService::basp;
  std::string source_process;        ///< who dials it; the other link is told
  std::string node, target_process;  ///< where it leads
  bool operator==(const LinkDoor&) const = default;
};

/// A process here that other nodes may reach.
struct LinkTarget {
  LinkService service = LinkService::basp;
  std::string process;
  std::string path;  ///< AF_UNIX socket where it listens
  bool operator==(const LinkTarget&) const = default;
};

/// Whom a link knows, and what it opens.
struct LinkWays {
  LinkFiles files;
  std::vector<LinkPeer> peers;  ///< the other nodes of the config
  std::vector<LinkDoor> doors;
  std::vector<LinkTarget> targets;
  bool operator==(const LinkWays&) const = default;
};

struct LinkConfig {
  std::string node;
  Incarnation incarnation;  ///< of this link process
  int listener = -1;        ///< bound and listening, non-blocking; the link takes a duplicate
  LinkWays ways;
  Duration handshake_timeout = kLinkHandshakeTimeout;
  Duration dial_timeout = kLinkDialTimeout;
};

class Link {
 public:
  /// Reads the certificates, opens the doors and serves. One sentence if it can't; names that do
  /// not fit the preamble, and a door to a node that is no peer, are refused too.
  static Result<std::unique_ptr<Link>> start(LinkConfig config);
  virtual ~Link() = default;  ///< closes every stream, joins the threads

  // Any thread:
  virtual LinkStats stats() const = 0;
  /// Reads the certificate files again, for new connections; on error the old ones stay.
  virtual Result<void> reload() = 0;
  /// reload(), if one of the files is another than at the last look. True: it was, and is in use.
  virtual Result<bool> reload_if_replaced() = 0;
  /// When this node's certificate ends.
  virtual std::chrono::sys_seconds certificate_expires() const = 0;
  /// Closes every stream from and to this node: it was found dead.
  virtual void cut(std::string node) = 0;
};

}  // namespace troupe
