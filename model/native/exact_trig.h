// cos, sin and power in double from + - * / and fma only, within 1 ulp: the same bits with every C
// library. Pure, any thread.
#pragma once

#include <cstdint>
#include <span>

namespace troupe::native {

/// cosine[i], sine[i] = float32 of cos, sin of position * frequencies[i], for 0 <= that product
/// < 2^22.
void exact_rotation(int32_t position, std::span<const double> frequencies, float* cosine,
                    float* sine);

/// base^(-numerator/denominator) for a finite base > 0 and numerator >= 0, denominator > 0 where
/// the result is a normal number.
double exact_inverse_power(double base, int32_t numerator, int32_t denominator);

}  // namespace troupe::native
