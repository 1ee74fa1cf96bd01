// Writes small files that others may read at any moment.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace troupe {

enum class IfThere : uint8_t { refuse, replace };

/// The file appears with these bytes and this mode, on disk, or not at all; never through a
/// symbolic link. 0, or errno: EEXIST when it is there and may not be replaced.
int write_whole_file(const std::string& path, const std::string& bytes, mode_t mode,
                     IfThere if_there);

}  // namespace troupe
