#include "net/mesh_collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "config/check.h"
#include "config/limits.h"
#include "net/rank_sum.h"

namespace troupe {

namespace {

std::vector<int> all_ranks(int size) {
  std::vector<int> ranks(static_cast<size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace

MeshCollective::MeshCollective(std::shared_ptr<RankExchange> exchange, std::vector<int> members)
    : exchange_(std::move(exchange)), members_(std::move(members)), parts_(members_.size()) {
  const auto own = std::ranges::find(members_, exchange_->rank());
  TROUPE_CHECK(own != members_.end(), exchange_->rank());
  own_ = static_cast<int>(own - members_.begin());
  outs_.reserve(members_.size());
  ins_.reserve(members_.size());
}

MeshCollective::MeshCollective(std::shared_ptr<RankExchange> exchange)
    : MeshCollective(exchange, all_ranks(exchange->size())) {}

std::unique_ptr<Collective> MeshCollective::among(std::span<const int> ranks) {
  std::vector<int> members;
  bool own = false;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] < 0 || ranks[i] >= size() || (i > 0 && ranks[i] <= ranks[i - 1])) return nullptr;
    own = own || ranks[i] == own_;
    members.push_back(member(ranks[i]));
  }
  if (!own) return nullptr;
  return std::make_unique<MeshCollective>(exchange_, std::move(members));
}

Result<void> MeshCollective::refuse(std::string message) {
  return exchange_->fail({ErrorCode::invalid_argument, std::move(message), {}});
}

Result<void> MeshCollective::all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                                          std::span<const size_t> counts, CallTag tag) {
  return gather(CallKind::all_gather_v, mine, all, counts, tag);
}

Result<void> MeshCollective::gather(CallKind kind, std::span<const std::byte> mine,
                                    std::span<std::byte> all, std::span<const size_t> counts,
                                    CallTag tag) {
  if (auto started = exchange_->start(tag, kind); !started) return started;
  size_t offset = 0;
  for (size_t r = 0; r < counts.size() && r < parts_.size(); ++r) {
    if (counts[r] > all.size() - offset) break;
    parts_[r] = all.subspan(offset, counts[r]);
    offset += counts[r];
  }
  if (counts.size() != members_.size() || offset != all.size() ||
      mine.size() != counts[static_cast<size_t>(own_)])
    return refuse(
        fmt::format("a gather got {} counts for {} ranks, {} bytes for all and {} of "
                    "its own; counts must fit the ranks and the buffers",
                    counts.size(), size(), all.size(), mine.size()));
  std::byte* const place = parts_[static_cast<size_t>(own_)].data();
  if (!mine.empty() && place != mine.data()) std::memcpy(place, mine.data(), mine.size());
  if (size() == 2 || all.size() <= exchange_->direct_bytes_max()) return gather_directly(mine);
  return gather_in_ring();
}

Result<void> MeshCollective::gather_directly(std::span<const std::byte> mine) {
  outs_.clear();
  ins_.clear();
  // Each starts with the rank after its own, so that not all write to the same one first.
  for (int step = 1; step < size(); ++step) {
    const int peer = (own_ + step) % size();
    outs_.push_back({member(peer), mine});
    ins_.push_back({member(peer), parts_[static_cast<size_t>(peer)]});
  }
  return exchange_->run(outs_, ins_);
}

Result<void> MeshCollective::gather_in_ring() {
  const int next = (own_ + 1) % size(), previous = (own_ + size() - 1) % size();
  for (int step = 0; step + 1 < size(); ++step) {
    const int given = (own_ + size() - step) % size(), taken = (given + size() - 1) % size();
    const RankExchange::Out out{member(next), parts_[static_cast<size_t>(given)]};
    const RankExchange::In in{member(previous), parts_[static_cast<size_t>(taken)]};
    if (auto moved = exchange_->run({&out, 1}, {&in, 1}); !moved) return moved;
  }
  return {};
}

Result<void> MeshCollective::all_reduce(Buffer data, CallTag tag) {
  if (auto started = exchange_->start(tag, CallKind::all_reduce, static_cast<int>(data.type));
      !started)
    return started;
  if (data.type != ElementType::f32)
    return exchange_->fail(
        {ErrorCode::unsupported, "host ranks sum f32 only; convert the values to f32 first", {}});
  if (data.bytes.size() % sizeof(float) != 0)
    return refuse(fmt::format("all_reduce got {} bytes; give whole f32 values", data.bytes.size()));
  if (size() == 1) return {};
  for (size_t at = 0; at == 0 || at < data.bytes.size(); at += kReduceBlockBytes) {
    const auto block =
        data.bytes.subspan(at, std::min<size_t>(kReduceBlockBytes, data.bytes.size() - at));
    const bool direct = size() == 2 || block.size() <= kDirectReduceBytesMax;
    if (auto done = direct ? reduce_directly(block) : reduce_in_parts(block); !done) return done;
  }
  return {};
}

/// Every rank gets everything and adds it up itself.
Result<void> MeshCollective::reduce_directly(std::span<std::byte> block) {
  scratch_.resize(block.size() * members_.size());
  std::vector<const std::byte*> addends(members_.size(), block.data());
  outs_.clear();
  ins_.clear();
  for (int step = 1; step < size(); ++step) {
    const int peer = (own_ + step) % size();
    const auto theirs =
        std::span(scratch_).subspan(static_cast<size_t>(peer) * block.size(), block.size());
    outs_.push_back({member(peer), block});
    ins_.push_back({member(peer), theirs});
    addends[static_cast<size_t>(peer)] = theirs.data();
  }
  if (auto moved = exchange_->run(outs_, ins_); !moved) return moved;
  sum_in_rank_order(block, addends);
  return {};
}

/// Rank r adds up the r-th part of the block and gives it to all.
Result<void> MeshCollective::reduce_in_parts(std::span<std::byte> block) {
  const size_t values = block.size() / sizeof(float), ranks = members_.size();
  for (size_t r = 0; r < ranks; ++r) {
    const size_t begin = values * r / ranks, end = values * (r + 1) / ranks;
    parts_[r] = block.subspan(begin * sizeof(float), (end - begin) * sizeof(float));
  }
  const auto own = parts_[static_cast<size_t>(own_)];
  scratch_.resize(own.size() * ranks);
  std::vector<const std::byte*> addends(ranks, own.data());
  outs_.clear();
  ins_.clear();
  for (int step = 1; step < size(); ++step) {
    const int peer = (own_ + step) % size();
    const auto theirs =
        std::span(scratch_).subspan(static_cast<size_t>(peer) * own.size(), own.size());
    outs_.push_back({member(peer), parts_[static_cast<size_t>(peer)]});
    ins_.push_back({member(peer), theirs});
    addends[static_cast<size_t>(peer)] = theirs.data();
  }
  if (auto moved = exchange_->run(outs_, ins_); !moved) return moved;
  sum_in_rank_order(own, addends);
  return gather_directly(own);
}

Result<void> MeshCollective::broadcast(Buffer data, int root, CallTag tag) {
  if (auto started = exchange_->start(tag, CallKind::broadcast, root); !started) return started;
  if (root < 0 || root >= size())
    return refuse(
        fmt::format("rank {} can't be the root among {} ranks; give one of them", root, size()));
  outs_.clear();
  ins_.clear();
  if (root != own_) ins_.push_back({member(root), data.bytes});
  for (int step = 1; root == own_ && step < size(); ++step)
    outs_.push_back({member((own_ + step) % size()), data.bytes});
  return exchange_->run(outs_, ins_);
}

Result<void> MeshCollective::send(Buffer data, int peer, CallTag tag) {
  if (auto started = exchange_->start(tag, CallKind::send); !started) return started;
  if (peer < 0 || peer >= size() || peer == own_)
    return refuse(
        fmt::format("rank {} can't send to rank {} of {}; give another rank", own_, peer, size()));
  const RankExchange::Out out{member(peer), data.bytes};
  return exchange_->run({&out, 1}, {});
}

Result<void> MeshCollective::recv(Buffer data, int peer, CallTag tag) {
  if (auto started = exchange_->start(tag, CallKind::send); !started) return started;
  if (peer < 0 || peer >= size() || peer == own_)
    return refuse(fmt::format("rank {} can't receive from rank {} of {}; give another rank", own_,
                              peer, size()));
  const RankExchange::In in{member(peer), data.bytes};
  return exchange_->run({}, {&in, 1});
}

}  // namespace troupe
