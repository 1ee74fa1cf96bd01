// The link between hosts in Prometheus text form: what its process counted, and the beats between
// nodes. Pure.
#pragma once

#include <string>

#include "cluster/messages.h"
#include "net/node_beats.h"

namespace troupe {

std::string link_metrics_text(const LinkFigures& figures);
std::string beat_metrics_text(const NodeBeatsStats& stats);

}  // namespace troupe
