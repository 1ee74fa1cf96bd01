// Bits nobody can guess: ids, seeds and tokens. OpenSSL; any thread.
#pragma once

#include <cstdint>

#include "config/ids.h"

namespace troupe {

uint64_t random_bits();
Digest random_secret();
RequestId random_request_id();

}  // namespace troupe
