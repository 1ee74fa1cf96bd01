// What the nodes of one config read from their certs folder beside certificates (net/certs.h): the
// secret that all of them share, cluster.secret, and whether everything is there. Any thread.
#pragma once

#include <string>
#include <vector>

#include "config/ids.h"
#include "config/result.h"

namespace troupe {

/// 32 random bytes as 64 hex digits, mode 0600. Keys of tenant salts and of cached values are
/// derived from it, so that all routers of a cluster derive the same ones.
std::string cluster_secret_file(const std::string& folder);
/// not_found or data_loss with a sentence.
Result<Digest> read_cluster_secret(const std::string& folder);
/// For who holds the CA. What is there is left alone: keys derived from it are in use.
Result<void> ensure_cluster_secret(const std::string& folder);

/// Whether `folder` has what the links of these nodes read, and the secret; else one sentence that
/// names the first file missing and the command that makes it. An empty folder's name: none is
/// configured.
Result<void> check_node_files(const std::string& folder, const std::vector<std::string>& nodes);

}  // namespace troupe
