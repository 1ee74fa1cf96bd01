// Replaces the program's operator new; new[] comes here too. The nothrow form is written out
// because a sanitizer has one of its own, whose memory must not be given to free(). The thread
// sanitizer lets nobody replace it, and calls a hook instead.
#include "tests/unit/allocations.h"

#include <cstdlib>
#include <new>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sanitizer/allocator_interface.h>
#define TROUPE_ALLOCATION_HOOK
#endif
#endif

namespace {
thread_local uint64_t allocations = 0;
}

uint64_t troupe::test::allocations_of_this_thread() { return allocations; }

#ifdef TROUPE_ALLOCATION_HOOK
namespace {
[[maybe_unused]] const int hooked = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, size_t) { ++allocations; }, [](const volatile void*) {});
}
#else
void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size > 0 ? size : 1);
}
void* operator new(size_t size, std::align_val_t align) {
  ++allocations;
  const auto unit = static_cast<size_t>(align);
  if (void* memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
#endif
