// PipeMesh over the shared memory of ranks under one supervisor. Waits by looking, for
// kShmSpinMin to kShmSpinMax, then asleep on the rank's bell. Owner: one RankExchange; one thread, except abort().
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "config/limits.h"
#include "model/native/spin_budget.h"
#include "net/pipe_mesh.h"
#include "net/shm_map.h"

namespace troupe {

class ShmMesh final : public PipeMesh {
 public:
  ShmMesh(std::shared_ptr<ShmMap> map, int rank);

  int rank() const override { return rank_; }
  int size() const override { return map_->ranks(); }
  size_t direct_bytes_max() const override { return SIZE_MAX; }  // no cable is shared
  Result<size_t> write(int peer, std::span<const std::byte> bytes) override;
  Result<bool> flush(int peer) override;
  Result<size_t> read(int peer, std::span<std::byte> into) override;
  Result<bool> wait(const Interest& interest, Instant until) override;
  Result<void> check() override;
  void end(const Error& reason, std::span<const char> between) noexcept override;
  void abort() noexcept override { map_->abort(); }

 private:
  /// One ring to and one from a peer, with this side's counters: the shared ones are only told.
  struct Peer {
    ShmRing* out = nullptr;
    ShmRing* in = nullptr;
    FutexBell* bell = nullptr;
    uint64_t staged = 0, published = 0, taken = 0;
  };

  Peer& peer(int rank) { return peers_[static_cast<size_t>(rank)]; }
  void publish(Peer& to);
  bool over() const;
  bool may_go_on(const Interest& interest) const;

  std::shared_ptr<ShmMap> map_;
  ShmControl& control_;
  const int rank_;
  std::vector<Peer> peers_;  ///< by rank
  native::SpinBudget spin_{kShmSpinMin.count(), kShmSpinMax.count()};
};

}  // namespace troupe
