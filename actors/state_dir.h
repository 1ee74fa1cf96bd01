// A node's state directory: 0700, locked while the node runs, with what is secret made at first
// use.
#pragma once

#include <string>

#include "config/ids.h"
#include "config/result.h"

namespace troupe {

class StateDir {
 public:
  /// Creates what is missing. conflict if another process holds it, permission_denied if it can't
  /// be written; one sentence each.
  static Result<StateDir> open(const std::string& path);
  StateDir(StateDir&& other) noexcept;
  StateDir& operator=(StateDir&&) = delete;
  ~StateDir();

  const std::string& path() const { return path_; }
  std::string node_socket() const { return path_ + "/n.sock"; }
  std::string group_socket(GroupId group) const {
    return path_ + "/g" + std::to_string(group.value) + ".sock";
  }
  /// Where the link of this node lets local processes out to a group, or to the config's nth node,
  /// of another host.
  std::string door_to_group(GroupId group) const {
    return path_ + "/dg" + std::to_string(group.value) + ".sock";
  }
  std::string door_to_node(size_t index) const {
    return path_ + "/dn" + std::to_string(index) + ".sock";
  }
  /// Where the link brings nodes that send their beats, and lets this one's out to the config's nth
  /// node.
  std::string beat_socket() const { return path_ + "/b.sock"; }
  std::string beat_door(size_t index) const {
    return path_ + "/db" + std::to_string(index) + ".sock";
  }
  /// Where the link brings nodes that ask for model files, and lets this one's out to the config's
  /// nth node; and the folder of those that were fetched.
  std::string file_socket() const { return path_ + "/f.sock"; }
  std::string file_door(size_t index) const {
    return path_ + "/df" + std::to_string(index) + ".sock";
  }
  std::string models_folder() const { return path_ + "/models"; }
  std::string token_path() const { return path_ + "/admin.token"; }
  /// 64 hex digits; clients of the admin port send it as a bearer token.
  const std::string& admin_token() const { return admin_token_; }
  /// The secret of a cluster of one node, made at its first start. Several nodes share the one in
  /// their certs folder (net/certs_folder.h).
  Result<Digest> own_secret() const;

  /// Written atomically; what `troupe status` reads to find a node.
  Result<void> write_endpoint(const std::string& json) const;

 private:
  StateDir() = default;
  std::string path_, admin_token_;
  int lock_ = -1;
};

/// $XDG_STATE_HOME/troupe/<instance>, or ~/.local/state/troupe/<instance>.
std::string default_state_dir(const std::string& instance);

/// Where this user's weights ids are remembered: under $XDG_CACHE_HOME/troupe or ~/.cache/troupe;
/// empty if there is neither.
std::string weights_id_memory_path();

}  // namespace troupe
