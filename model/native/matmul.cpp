#include "model/native/matmul.h"

#include "model/native/matmul_isa.h"

namespace troupe::native {

MatmulFn matmul_for(Isa isa) {
  switch (isa) {
    case Isa::amx:
      return matmul_amx;
    case Isa::avx512:
      return matmul_avx512;
    case Isa::avx2:
      return matmul_avx2;
    case Isa::scalar:
      break;
  }
  return matmul_scalar;
}

}  // namespace troupe::native
