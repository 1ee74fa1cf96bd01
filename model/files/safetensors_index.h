// model.safetensors.index.json: which files a checkpoint is cut into.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "config/result.h"

namespace troupe {

/// The names of the files, sorted: at most kShardFilesMax, each of them a .safetensors file inside
/// the index's directory. `path` appears in messages.
Result<std::set<std::string>> parse_safetensors_index(std::string_view json,
                                                      const std::string& path);

}  // namespace troupe
