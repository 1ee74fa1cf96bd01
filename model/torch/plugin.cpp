// What libtroupe_torch.so shows to the world.
#include <new>

#include "model/torch/torch_partition.h"

extern "C" __attribute__((visibility("default"))) const troupe::BackendPlugin troupe_backend;
extern "C" const troupe::BackendPlugin troupe_backend = {
    troupe::kBackendAbi, "torch", []() -> troupe::Partition* {
      return new (std::nothrow) troupe::torch_backend::TorchPartition();
    }};
