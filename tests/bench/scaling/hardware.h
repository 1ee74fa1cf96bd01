// The figures that the modelled hardware is made of, each with its source. [S]: read in the source
// named; [E]: an estimate by engineers, not measured.
#pragma once

#include "tests/bench/scaling/step_time.h"

namespace troupe::scaling {

/// Llama 3 70B and 3.1 405B [S: config.json of the published models], in bf16 or fp8.
ModelShape llama_70b(double weight_bytes);
ModelShape llama_405b(double weight_bytes);

/// H100 SXM, 80 GB: 3.35 TB/s, 989 TFLOP/s in bf16 and 1,979 in fp8, dense [S: NVIDIA data sheet].
/// `read_share` of the bandwidth, half of the arithmetic, 8 kernels a layer of 1.3 us in a graph
/// [E; 1.3 us S: Hazy Research 2025].
Device h100(double weight_bytes, double read_share);

/// Sums among 2, 4 and 8 GPUs of one host over NVLink, 4 KB to 1 MB [S: SGLang PR 2904, its own
/// kernels], above that 400 GB/s [E]; among 16 in two hosts 45 us up to 64 KB [E]. A hop between
/// stages: 10 us and 50 GB/s, one 400 Gbit/s port [E].
Fabric nvlink();

}  // namespace troupe::scaling
