// Backends that live in shared objects (libtroupe_torch.so), so that only processes that need one
// load it.
#pragma once

#include <memory>
#include <string>

#include "config/result.h"
#include "model/partition.h"

namespace troupe {

/// Loads the plugin (never unloaded: libtorch does not survive that) and makes one Partition. Any
/// thread. not_found or unsupported with one sentence that names the file.
Result<std::unique_ptr<Partition>> load_backend_plugin(const std::string& path);

}  // namespace troupe
