// The Collective's calls as rounds of a RankExchange. Small gathers go directly from each rank to
// each other one; large ones in a ring where cables are shared. Sums: the ranks' values of one
// place are always added in rank order by whoever adds them, so all get the same bits.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "model/collective.h"
#include "net/rank_exchange.h"

namespace troupe {

class MeshCollective final : public Collective {
 public:
  /// `members` are ranks of the exchange, ascending, its own one among them.
  MeshCollective(std::shared_ptr<RankExchange> exchange, std::vector<int> members);
  /// All ranks.
  explicit MeshCollective(std::shared_ptr<RankExchange> exchange);

  int rank() const override { return own_; }
  int size() const override { return static_cast<int>(members_.size()); }
  Result<void> all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                            std::span<const size_t> counts, CallTag tag) override;
  /// all_gather_v as part of a call of another kind, which must be the same on all ranks.
  Result<void> gather(CallKind kind, std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const size_t> counts, CallTag tag);
  Result<void> all_reduce(Buffer data, CallTag tag) override;
  Result<void> broadcast(Buffer data, int root, CallTag tag) override;
  Result<void> send(Buffer data, int peer, CallTag tag) override;
  Result<void> recv(Buffer data, int peer, CallTag tag) override;
  void abort(uint32_t generation) noexcept override { exchange_->abort(generation); }
  std::unique_ptr<Collective> among(std::span<const int> ranks) override;

 private:
  int member(int rank) const { return members_[static_cast<size_t>(rank)]; }
  Result<void> gather_directly(std::span<const std::byte> mine);
  Result<void> gather_in_ring();
  Result<void> reduce_directly(std::span<std::byte> block);
  Result<void> reduce_in_parts(std::span<std::byte> block);
  Result<void> refuse(std::string message);

  std::shared_ptr<RankExchange> exchange_;
  std::vector<int> members_;
  int own_ = -1;
  std::vector<std::span<std::byte>> parts_;  ///< of the call in progress, by rank
  std::vector<std::byte> scratch_;           ///< what other ranks add to a block of a sum
  std::vector<RankExchange::Out> outs_;
  std::vector<RankExchange::In> ins_;
};

}  // namespace troupe
