// tile_matmul.h over an emulation of AMX, from the operation sections of Intel's manual (LDTILECFG,
// TILELOADD, TILESTORED, TILEZERO, TDPBSSD, TDPBSUD). Compiled with AVX-512 like the kernel, hence
// apart from the test that calls it.
#include <cstdlib>

#include "model/native/tile_matmul.h"

namespace troupe::test {

namespace {

/// What the processor answers with #UD or #GP.
void require(bool good) {
  if (!good) std::abort();
}

struct Tile {
  int rows = 0, row_bytes = 0;
  unsigned char bytes[16][64] = {};

  void configure(int r, int b) {
    require(r >= 1 && r <= 16 && b >= 4 && b <= 64 && b % 4 == 0);
    rows = r, row_bytes = b;
  }
  void zero() {
    for (auto& row : bytes)
      for (auto& byte : row) byte = 0;
  }
  void load(const unsigned char* at, int64_t stride) {
    zero();  // also what lies beyond the configured rows and bytes
    for (int r = 0; r < rows; ++r)
      for (int b = 0; b < row_bytes; ++b) bytes[r][b] = at[stride * r + b];
  }
  void store(unsigned char* at, int64_t stride) const {
    for (int r = 0; r < rows; ++r)
      for (int b = 0; b < row_bytes; ++b) at[stride * r + b] = bytes[r][b];
  }
};

class EmulatedTiles {
 public:
  explicit EmulatedTiles(int32_t rows) {
    c_.configure(rows, 64);
    a_.configure(rows, native::kGroup);
    b_.configure(native::kGroup / 4, 64);
  }
  void release() {}
  void zero_c() { c_.zero(); }
  void load_a(const int8_t* at, int64_t stride) {
    a_.load(reinterpret_cast<const unsigned char*>(at), stride);
  }
  void load_b(const unsigned char* at, int64_t stride) { b_.load(at, stride); }
  void dot_signed() {
    dot([](unsigned char byte) { return static_cast<int32_t>(static_cast<int8_t>(byte)); });
  }
  void dot_unsigned() {
    dot([](unsigned char byte) { return static_cast<int32_t>(byte); });
  }
  void store_c(int32_t* at, int64_t stride) {
    c_.store(reinterpret_cast<unsigned char*>(at), stride);
  }

 private:
  template <class Number>
  void dot(Number number_of_b) {
    require(c_.rows == a_.rows && c_.row_bytes == b_.row_bytes && a_.row_bytes == 4 * b_.rows);
    for (int m = 0; m < c_.rows; ++m) {
      for (int k = 0; k < a_.row_bytes / 4; ++k) {
        for (int n = 0; n < c_.row_bytes / 4; ++n) {
          int32_t sum;
          __builtin_memcpy(&sum, &c_.bytes[m][4 * n], sizeof sum);
          for (int i = 0; i < 4; ++i)
            sum +=
                static_cast<int8_t>(a_.bytes[m][4 * k + i]) * number_of_b(b_.bytes[k][4 * n + i]);
          __builtin_memcpy(&c_.bytes[m][4 * n], &sum, sizeof sum);
        }
      }
    }
  }

  Tile c_, a_, b_;
};

}  // namespace

void matmul_emulated_tiles(const native::PackedMatrix& w, int32_t first, int32_t count,
                           const native::ActivationTile& x, float* out, int64_t out_stride) {
  native::tile_matmul<EmulatedTiles>(w, first, count, x, out, out_stride);
}

}  // namespace troupe::test
