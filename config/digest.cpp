#include "config/digest.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "config/check.h"

namespace troupe {

Digest sha256(std::span<const std::byte> bytes) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

Digest sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

Digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> bytes) {
  Digest digest;
  unsigned int size = digest.size();
  const auto* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                          reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                          digest.data(), &size);
  TROUPE_CHECK(made != nullptr && size == digest.size(), size);
  return digest;
}

bool equal_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::optional<Digest> digest_from_hex(std::string_view hex) {
  Digest digest;
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  auto nibble = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  for (size_t i = 0; i < digest.size(); ++i) {
    int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return digest;
}

DigestBuilder& DigestBuilder::add(std::string_view part) {
  add(part.size());
  bytes_ += part;
  return *this;
}

DigestBuilder& DigestBuilder::add(std::span<const std::byte> part) {
  return add(std::string_view(reinterpret_cast<const char*>(part.data()), part.size()));
}

DigestBuilder& DigestBuilder::add(uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8) bytes_.push_back(static_cast<char>(number >> shift));
  return *this;
}

Digest DigestBuilder::finish() const { return sha256(std::string_view(bytes_)); }

}  // namespace troupe
