#include "model/native/matmul.h"

#include "model/native/matmul_isa.h"

namespace troupe::native {

MatmulFn matmul_for(Isa) { return matmul_scalar; }

}  // namespace troupe::native
