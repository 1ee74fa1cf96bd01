#pragma once
#include <memory>
#include <vector>
#include <cstdint>
#include "config/result.h"
#include "model/model_spec.h"
namespace troupe::native {
class RopeTable {
 public:
  static Result<std::unique_ptr<RopeTable>> make(const RopeSpec&, int32_t head_dim, int32_t context, const std::vector<float>& divisors);
  void ensure(int32_t position);
  const float* cos(int32_t) const; const float* sin(int32_t) const; uint64_t checksum() const;
};
}
