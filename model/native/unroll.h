// Loops written out at compile time, for the per-ISA files: what such a loop indexes can stay in
// registers, with g++ as with clang. Always inlined, so that no copy is shared between files.
#pragma once

#include <utility>

namespace troupe::native {

template <int I>
struct Index {
  static constexpr int value = I;
};

/// f(Index<0>), ..., f(Index<N - 1>). The caller's f should be always_inline too.
template <int N, class F>
[[gnu::always_inline]] inline void each(F f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(Index<I>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

}  // namespace troupe::native
