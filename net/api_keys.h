// Who may ask. Keys are random 256-bit values; the file holds lines `name:role:sha256hex`, '#'
// starts a comment. Immutable after load; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/ids.h"
#include "config/result.h"

namespace troupe {

enum class ApiRole : uint8_t { user, admin };

struct Tenant {
  std::string name;
  ApiRole role = ApiRole::user;
};

class ApiKeys {
 public:
  /// Errors name the line, never its digest.
  static Result<ApiKeys> load(const std::string& path);
  static Result<ApiKeys> parse(std::string_view text, std::string_view path);

  /// Takes the same time whether and where a key is found.
  std::optional<Tenant> find(std::string_view key) const;
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Tenant tenant;
    Digest digest{};
  };
  std::vector<Entry> entries_;
};

/// The token of an `Authorization: Bearer <token>` header; empty if there is none.
std::string_view bearer_token(std::string_view authorization);

/// Keys the caches of one tenant: first 16 bytes of HMAC-SHA-256(root, name).
Salt tenant_salt(const Salt& root, std::string_view tenant);

}  // namespace troupe
