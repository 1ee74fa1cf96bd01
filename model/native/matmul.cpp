#include "model/native/matmul.h"

#include "model/native/matmul_isa.h"

namespace troupe::native {

MatmulFn matmul_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::amx) return matmul_amx;
  if (isa == Isa::avx512) return matmul_avx512;
  if (isa == Isa::avx2) return matmul_avx2;
#endif
  return matmul_scalar;
}

}  // namespace troupe::native
