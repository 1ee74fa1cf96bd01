#include "model/native/arena.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace troupe::native {
namespace arena_test {
namespace {

constexpr size_t kHuge = size_t{2} << 20;

size_t misalignment(const HugeBuffer& buffer, size_t unit) {
  return reinterpret_cast<uintptr_t>(buffer.data()) % unit;
}

TEST_CASE("arena: a buffer has its size, is zero, writable to its end and aligned") {
  std::vector<HugeBuffer> live;  // side by side, so that one that reaches too far is seen
  for (size_t size :
       {size_t{1}, size_t{63}, size_t{4'097}, kHuge - 1, kHuge, kHuge + 1, 3 * kHuge}) {
    CAPTURE(size);
    auto made = HugeBuffer::make(size);
    REQUIRE(made);
    REQUIRE(made->size() == size);
    CHECK(misalignment(*made, size >= kHuge ? kHuge : 64) == 0);
    CHECK(std::ranges::all_of(made->bytes(), [](std::byte b) { return b == std::byte{0}; }));
    std::ranges::fill(made->bytes(), static_cast<std::byte>(live.size() + 1));
    live.push_back(std::move(*made));
  }
  for (size_t i = 0; i < live.size(); ++i)
    CHECK(std::ranges::all_of(live[i].bytes(),
                              [&](std::byte b) { return b == static_cast<std::byte>(i + 1); }));
}

TEST_CASE("arena: an empty buffer is fine, and moving leaves one behind") {
  auto empty = HugeBuffer::make(0);
  REQUIRE(empty);
  CHECK(empty->size() == 0);
  auto made = HugeBuffer::make(100);
  REQUIRE(made);
  const std::byte* at = made->data();
  HugeBuffer moved = std::move(*made);
  CHECK(moved.data() == at);
  CHECK(moved.size() == 100);
  CHECK(made->size() == 0);
  *empty = std::move(moved);
  CHECK(empty->data() == at);
  CHECK(moved.size() == 0);
}

TEST_CASE("arena: more memory than there is gets a sentence") {
  for (size_t size : {SIZE_MAX, SIZE_MAX / 4}) {
    auto made = HugeBuffer::make(size);
    REQUIRE(!made);
    CHECK(made.error().code == ErrorCode::unavailable);
    CHECK(made.error().message.contains("end other programs or give less KV memory"));
    CHECK(made.error().message.contains(std::to_string(size)));
  }
}

}  // namespace
}  // namespace arena_test
}  // namespace troupe::native
