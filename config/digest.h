// SHA-256, HMAC-SHA-256 and constant-time comparison, by OpenSSL. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/ids.h"

namespace troupe {

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);
Digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> bytes);

/// Takes the same time whatever the contents; for keys and tokens.
bool equal_constant_time(std::span<const std::byte> a, std::span<const std::byte> b);

/// 64 hex digits of either case, else nullopt.
std::optional<Digest> digest_from_hex(std::string_view hex);

/// SHA-256 over parts, each preceded by its length so that ("ab","c") differs from ("a","bc").
class DigestBuilder {
 public:
  DigestBuilder& add(std::string_view part);
  DigestBuilder& add(std::span<const std::byte> part);
  DigestBuilder& add(uint64_t number);
  Digest finish() const;

 private:
  std::string bytes_;
};

}  // namespace troupe
