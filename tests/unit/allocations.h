// How often this thread has asked operator new for memory, for tests of code that must not.
#pragma once

#include <cstdint>

namespace troupe::test {

uint64_t allocations_of_this_thread();

}  // namespace troupe::test
