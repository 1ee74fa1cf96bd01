// A short computation through every kind of kernel, whose bits name how this build and instruction
// set compute: two processes with different digests must not continue each other's answers (N0).
#pragma once

#include <cstdint>

#include "model/native/isa.h"

namespace troupe::native {

/// Takes well under a millisecond. Equal for all instruction sets and compilers, or there is a bug.
uint64_t self_test_digest(Isa isa);

}  // namespace troupe::native
