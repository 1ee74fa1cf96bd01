// A stable merge sort that stays in bounds whatever the comparison answers: template values such as
// NaN have no consistent order, which std::sort does not allow for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace troupe::jinja {

/// The order in which to take items 0 .. count-1. `before(a, b)` compares two indices; it may
/// throw.
template <class Before>
std::vector<size_t> stable_order(size_t count, Before before) {
  std::vector<size_t> order(count), merged(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t begin = 0; begin < count; begin += 2 * width) {
      const size_t middle = std::min(begin + width, count), end = std::min(middle + width, count);
      size_t left = begin, right = middle;
      for (size_t out = begin; out < end; ++out) {
        const bool from_right =
            right < end && (left >= middle || before(order[right], order[left]));
        merged[out] = from_right ? order[right++] : order[left++];
      }
    }
    std::swap(order, merged);
  }
  return order;
}

}  // namespace troupe::jinja
