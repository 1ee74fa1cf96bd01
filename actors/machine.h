// What the machine, or the container that the process is in, has for a model. Reads the kernel's
// files; what they say is judged in cluster/memory_room.
#pragma once

#include <string>

#include "cluster/load_plan.h"

namespace troupe {

/// `root` goes before the paths of the files; tests have files of their own there.
MachineFacts machine_facts(const std::string& root = "");

}  // namespace troupe
