#include "tests/bench/scaling/hardware.h"

namespace troupe::scaling {

namespace {
constexpr double kKiB = 1024, us = 1e-6;
}

ModelShape llama_70b(double weight_bytes) {
  return {.name = weight_bytes == 1 ? "70B fp8" : "70B bf16",
          .layers = 80,
          .hidden = 8192,
          .ffn = 28672,
          .heads = 64,
          .kv_heads = 8,
          .head_dim = 128,
          .vocab = 128256,
          .weight_bytes = weight_bytes};
}

ModelShape llama_405b(double weight_bytes) {
  return {.name = weight_bytes == 1 ? "405B fp8" : "405B bf16",
          .layers = 126,
          .hidden = 16384,
          .ffn = 53248,
          .heads = 128,
          .kv_heads = 8,
          .head_dim = 128,
          .vocab = 128256,
          .weight_bytes = weight_bytes};
}

Device h100(double weight_bytes, double read_share) {
  return {.name = "H100 SXM",
          .bandwidth = 3.35e12,
          .operations = weight_bytes == 1 ? 1979e12 : 989e12,
          .memory = 80e9,
          .read_share = read_share};
}

Fabric nvlink() {
  return {.rows = {{2,
                    {{4 * kKiB, 3.9 * us},
                     {32 * kKiB, 4.5 * us},
                     {256 * kKiB, 7.9 * us},
                     {1024 * kKiB, 20 * us}}},
                   {4,
                    {{4 * kKiB, 3.7 * us},
                     {32 * kKiB, 4.8 * us},
                     {256 * kKiB, 13.9 * us},
                     {1024 * kKiB, 31 * us}}},
                   {8,
                    {{4 * kKiB, 5.7 * us},
                     {32 * kKiB, 7.8 * us},
                     {256 * kKiB, 16.7 * us},
                     {1024 * kKiB, 34 * us}}},
                   {16, {{64 * kKiB, 45 * us}, {1024 * kKiB, 120 * us}}}},
          .bus_bandwidth = 400e9,
          .hop_seconds = 10 * us,
          .hop_bandwidth = 50e9};
}

}  // namespace troupe::scaling
