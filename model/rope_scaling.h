// How a model stretches its rotary frequencies for longer contexts. Pure; fixed bits (compiled
// without contraction), because the native backend's table depends on them.
#pragma once

#include "model/model_spec.h"

namespace troupe {

/// `frequency` (radians a position) under rope.scaling: linear divides by the factor; llama3 is
/// Meta's Llama 3.1 rule. Not for files with divisors of their own.
double scaled_frequency(double frequency, const RopeSpec& rope);

}  // namespace troupe
