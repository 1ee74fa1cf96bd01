#include "net/random.h"

#include <openssl/rand.h>

#include "config/check.h"

namespace troupe {

uint64_t random_bits() {
  uint64_t bits = 0;
  TROUPE_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&bits), sizeof bits) == 1);
  return bits;
}

Digest random_secret() {
  Digest secret{};
  TROUPE_CHECK(RAND_bytes(secret.data(), static_cast<int>(secret.size())) == 1);
  return secret;
}

RequestId random_request_id() { return {random_bits(), random_bits()}; }

}  // namespace troupe
