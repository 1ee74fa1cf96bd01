// Which build this is: processes of a node must be of one build.
#pragma once

#include <string>

namespace troupe {

/// Version and the linker's build id of the running image, as "0.1.0-3f9c0a…".
std::string build_id();

}  // namespace troupe
