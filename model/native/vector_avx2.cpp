// Compiled with AVX2, FMA and F16C.
#if defined(__x86_64__)
#include "model/native/f32x16_avx2.h"
#include "model/native/vector_bodies.h"
#include "model/native/vector_tables.h"

namespace troupe::native {

constinit const VectorKernels kVectorAvx2 = kBodies;

}  // namespace troupe::native
#endif
