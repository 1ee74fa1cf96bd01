// Makes a Partition by the name of its backend.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "config/result.h"
#include "config/time.h"
#include "model/partition.h"

namespace troupe {

struct BackendOptions {
  std::string plugin_folder;  ///< where libtroupe_<backend>.so lies; empty: beside the executable
  uint64_t oracle_seed = 1;
  Duration oracle_step{};  ///< how long a step of the oracle pretends to take
};

/// "native", "torch" or "oracle". invalid_argument for other names, else as load_backend_plugin.
Result<std::unique_ptr<Partition>> make_partition(std::string_view backend,
                                                  const BackendOptions& options = {});

}  // namespace troupe
