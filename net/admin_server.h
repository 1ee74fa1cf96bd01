// The admin port of a node: the actor tree and metrics for operators and a small page that shows
// them. Loopback by default; everything but the page and /livez needs the bearer token, every
// request must name this host.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace troupe {

/// Asked on the admin port's thread; gives the latest snapshot at once.
class AdminSource {
 public:
  virtual ~AdminSource() = default;
  virtual std::string tree_json() = 0;
  /// nullopt: no such actor.
  virtual std::optional<std::string> actor_json(std::string_view id) = 0;
  /// Prometheus text.
  virtual std::string metrics_text() = 0;
};

struct AdminConfig {
  int listener = -1;                       ///< bound and listening
  std::string token;                       ///< 64 hex digits, from admin.token
  std::vector<std::string> allowed_hosts;  ///< names beside loopback and the listener's address
};

class AdminServer {
 public:
  /// `source` must outlive the server.
  static Result<std::unique_ptr<AdminServer>> start(AdminConfig config, AdminSource& source);
  virtual ~AdminServer() = default;
};

/// 32 random bytes in hex.
std::string new_admin_token();

}  // namespace troupe
