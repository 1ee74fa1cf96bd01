// Compiled with AVX-512 F, BW, DQ and VL.
#if defined(__x86_64__)
#include "model/native/f32x16_avx512.h"
#include "model/native/vector_bodies.h"
#include "model/native/vector_tables.h"

namespace troupe::native {

constinit const VectorKernels kVectorAvx512 = kBodies;

}  // namespace troupe::native
#endif
