// What a thread that does numeric work asks of its processor. Any thread; never fails.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace troupe::native {

/// In the body of a spin loop: lets the core's other thread run and saves power.
inline void spin_pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// The numeric contract (N1): round to nearest, denormals kept, exceptions masked. Other processors
/// start threads that way.
inline void set_float_mode() {
#if defined(__x86_64__)
  constexpr unsigned kContract = 0x1F80, kStickyFlags = 0x3F;
  // Reading is cheaper than writing, and the flags of past exceptions change no result.
  if ((_mm_getcsr() & ~kStickyFlags) != kContract) _mm_setcsr(kContract);
#endif
}

}  // namespace troupe::native
