#include "net/shm_collective.h"

#include <fmt/format.h>

#include "net/mesh_collective.h"
#include "net/shm_mesh.h"

namespace troupe {

Result<std::unique_ptr<Collective>> make_shm_collective(std::shared_ptr<ShmMap> map, int rank) {
  if (rank < 0 || rank >= map->ranks())
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the shared memory is for ranks 0 to {}, not for rank {}; pass each rank "
                    "the memory of its own group",
                    map->ranks() - 1, rank));
  const uint32_t generation = map->generation();
  auto mesh = std::make_unique<ShmMesh>(std::move(map), rank);
  return std::make_unique<MeshCollective>(
      std::make_shared<RankExchange>(std::move(mesh), generation));
}

void set_abort(const ShmMap& map, uint32_t generation) noexcept {
  if (generation >= map.generation()) map.abort();
}

}  // namespace troupe
