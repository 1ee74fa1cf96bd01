// AMX int8 for tiles of eight rows and more; everything else is the AVX-512 kernel's. NOT RUN ON
// HARDWARE so far: the machine it was written on has no AMX. What is checked is this kernel
// (tile_matmul.h) over an emulation of the tile instructions.
//
// The tile registers are used in inline assembly, because g++ 12's intrinsics do not tell the
// compiler that they touch memory; the compiler itself never uses the registers.
#include "model/native/matmul_isa.h"
#include "model/native/tile_matmul.h"

namespace troupe::native {

namespace {

/// With fewer rows a product of tiles leaves most of its time unused.
constexpr int32_t kFewestRows = 8;

/// tmm0 = tmm1 x tmm2. Setting up costs some hundred cycles: once a call, which is a chunk of
/// several microseconds, and so no thread keeps tile state between calls.
class Tiles {
 public:
  explicit Tiles(int32_t rows) {
    struct alignas(64) Config {  // the memory operand of LDTILECFG
      uint8_t palette = 1, start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    static_assert(sizeof(Config) == 64);
    const auto few = static_cast<uint8_t>(rows);
    config.rows[0] = few, config.row_bytes[0] = 64;
    config.rows[1] = few, config.row_bytes[1] = kGroup;
    config.rows[2] = kGroup / 4, config.row_bytes[2] = 64;
    asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
  }
  [[gnu::always_inline]] void release() { asm volatile("tilerelease" ::: "memory"); }
  [[gnu::always_inline]] void zero_c() { asm volatile("tilezero %%tmm0" ::: "memory"); }
  [[gnu::always_inline]] void load_a(const int8_t* at, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm1" ::"r"(at), "r"(stride) : "memory");
  }
  [[gnu::always_inline]] void load_b(const unsigned char* at, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm2" ::"r"(at), "r"(stride) : "memory");
  }
  [[gnu::always_inline]] void dot_signed() {
    asm volatile("tdpbssd %%tmm2, %%tmm1, %%tmm0" ::: "memory");
  }
  [[gnu::always_inline]] void dot_unsigned() {
    asm volatile("tdpbsud %%tmm2, %%tmm1, %%tmm0" ::: "memory");
  }
  [[gnu::always_inline]] void store_c(int32_t* at, int64_t stride) {
    asm volatile("tilestored %%tmm0, (%0,%1,1)" ::"r"(at), "r"(stride) : "memory");
  }
};

}  // namespace

void matmul_amx(const PackedMatrix& w, int32_t first, int32_t count, const ActivationTile& x,
                float* out, int64_t out_stride) {
  if (tiles_serve(w.kind) && x.rows >= kFewestRows)
    tile_matmul<Tiles>(w, first, count, x, out, out_stride);
  else
    matmul_avx512(w, first, count, x, out, out_stride);
}

}  // namespace troupe::native
