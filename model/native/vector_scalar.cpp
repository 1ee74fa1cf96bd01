// The oracle of the others, and what any processor runs.
#include "model/native/f32x16_scalar.h"
#include "model/native/vector_bodies.h"
#include "model/native/vector_tables.h"

namespace troupe::native {

constinit const VectorKernels kVectorScalar = kBodies;

}  // namespace troupe::native
