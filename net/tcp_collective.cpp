#include "net/tcp_collective.h"

#include "net/mesh_collective.h"
#include "net/tcp_mesh.h"

namespace troupe {

Result<std::unique_ptr<Collective>> form_tcp_collective(const TcpGroup& group,
                                                        FileDescriptor listener,
                                                        std::shared_ptr<StopSignal> stop,
                                                        Duration allowed) {
  auto pipes = connect_ranks(group, std::move(listener), *stop, allowed);
  if (!pipes) return std::unexpected(std::move(pipes.error()));
  auto mesh =
      std::make_unique<TcpMesh>(group.rank, group.generation, std::move(*pipes), std::move(stop));
  return std::make_unique<MeshCollective>(
      std::make_shared<RankExchange>(std::move(mesh), group.generation));
}

}  // namespace troupe
