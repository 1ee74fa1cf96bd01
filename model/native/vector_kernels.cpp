#include "model/native/vector_kernels.h"

#include "model/native/vector_tables.h"

namespace troupe::native {

const VectorKernels& vector_kernels_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  // AMX adds nothing to float code.
  if (isa >= Isa::avx512) return kVectorAvx512;
  if (isa == Isa::avx2) return kVectorAvx2;
#endif
  return kVectorScalar;
}

}  // namespace troupe::native
