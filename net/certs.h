// The cluster's private CA and the certificates of its nodes, as PEM files in one folder: ca.pem,
// ca.key, NODE.pem, NODE.key. P-256, SHA-256. What `troupe certs` makes and what the link demands.
// Beside them lies cluster.secret (net/certs_folder.h).
//
// A node certificate says who it is for in its SAN: one dNSName that is the node's name, exactly as
// in the config (DNS:n1). Further names (`hosts`) are for other programs that check host names; a
// certificate that names two nodes of the config is refused by the link. It serves both ends of a
// connection (serverAuth, clientAuth) and can sign nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/limits.h"
#include "config/result.h"
#include "net/whole_file.h"

namespace troupe {

/// Seconds of the wall clock, UTC: certificates know no other time.
using WallTime = std::chrono::sys_seconds;

/// Letters, digits, '-', '_' and '.', at most 64: what the config takes as a node's name. Not "ca",
/// whose files would be the CA's.
bool is_node_name(std::string_view name);

struct CertificateFiles {
  std::string certificate, key;
  bool operator==(const CertificateFiles&) const = default;
};
CertificateFiles ca_files(const std::string& folder);
CertificateFiles node_files(const std::string& folder, const std::string& node);

struct CaOrder {
  std::string folder;  ///< made with mode 0700 if it is not there
  std::string cluster = "troupe";
  WallTime now;
  int days = kCaDays;
};
/// conflict if the folder already has a CA: a new one would make every certificate worthless. Makes
/// cluster.secret too, unless it is there.
Result<CertificateFiles> make_ca(const CaOrder& order);

using IfIssued = IfThere;

struct NodeOrder {
  std::string folder, node;
  std::vector<std::string> hosts;  ///< further dNSNames and IP addresses
  WallTime now;
  int days = kNodeCertificateDays;  ///< 0: expires at once (to see what an expired one does)
  IfIssued if_issued = IfIssued::refuse;
};
/// A fresh key and its certificate, signed by the folder's CA. Keys have mode 0600; each file
/// appears whole or not at all. conflict if the node has one and `if_issued` is refuse. Makes
/// cluster.secret where a CA has none yet.
Result<CertificateFiles> issue_certificate(const NodeOrder& order);

}  // namespace troupe
