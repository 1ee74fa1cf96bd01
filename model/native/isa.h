// Instruction sets the native backend has kernels for. All of them give the same bits
// (docs/performance.md); they differ only in speed. Pure, except that best_isa() asks the processor
// and the kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace troupe::native {

/// Ascending: each includes those before it.
enum class Isa : uint8_t {
  scalar,  ///< plain C++: the oracle of the others, and what any other processor runs
  avx2,    ///< AVX2, FMA, F16C
  avx512,  ///< AVX-512 F, BW, DQ, VL, VNNI
  amx,     ///< AMX tile, int8, beside AVX-512
};
inline constexpr int kIsaCount = 4;

std::string_view name_of(Isa isa);
std::optional<Isa> isa_named(std::string_view name);

/// The best this processor and kernel can run. Asks the kernel for the use of AMX tiles once.
Isa best_isa();
inline bool can_run(Isa isa) { return isa <= best_isa(); }

}  // namespace troupe::native
