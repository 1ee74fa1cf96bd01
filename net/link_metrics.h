// The link between hosts in Prometheus text form: what its process counted, the beats between
// nodes and their model files. Pure.
#pragma once

#include <string>

#include "cluster/messages.h"
#include "net/file_store.h"
#include "net/node_beats.h"

namespace troupe {

std::string link_metrics_text(const LinkFigures& figures);
std::string beat_metrics_text(const NodeBeatsStats& stats);
std::string file_metrics_text(const FileStoreStats& stats);

}  // namespace troupe
