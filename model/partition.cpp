#include "model/partition.h"

namespace troupe {

Result<void> Partition::follow(Duration) {
  return fail(ErrorCode::unsupported,
              "This backend runs a model on one rank a group: set tensor_parallel and "
              "pipeline_parallel to 1.");
}

}  // namespace troupe
