// The tables that vector_kernels_for() chooses from, one a file.
#pragma once

#include "model/native/vector_kernels.h"

namespace troupe::native {

extern const VectorKernels kVectorScalar;
extern const VectorKernels kVectorAvx2;
extern const VectorKernels kVectorAvx512;

}  // namespace troupe::native
