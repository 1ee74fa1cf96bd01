#include "net/group_collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "config/limits.h"
#include "net/mesh_collective.h"
#include "net/rank_sum.h"
#include "net/shm_mesh.h"
#include "net/tcp_mesh.h"

namespace troupe {

namespace {

/// What the calls of a rank run over; shared by its sub-groups.
struct Planes {
  std::vector<int> hosts;               ///< by rank
  std::shared_ptr<RankExchange> local;  ///< ranks of this host, from 0; null for one rank
  std::shared_ptr<RankExchange> remote;

  int first_of(int host) const {
    return static_cast<int>(std::ranges::find(hosts, host) - hosts.begin());
  }
};

/// What is left of a call's time for its next part; never nothing, so that the part itself says
/// what it waits for.
class CallClock {
 public:
  explicit CallClock(CallTag tag) : tag_(tag), until_(Clock::now() + tag.deadline) {}
  CallTag next() const {
    CallTag left = tag_;
    if (tag_.deadline > Duration::zero())
      left.deadline = std::max<Duration>(until_ - Clock::now(), Duration(1));
    return left;
  }

 private:
  using Clock = std::chrono::steady_clock;
  CallTag tag_;
  Clock::time_point until_;
};

class GroupCollective final : public Collective {
 public:
  GroupCollective(std::shared_ptr<const Planes> planes, std::vector<int> members)
      : planes_(std::move(planes)), members_(std::move(members)) {
    const int rank = planes_->remote->rank();
    const int host = host_of(rank);
    std::vector<int> leaders, neighbours;
    for (int i = 0; i < size(); ++i) {
      const int member = members_[static_cast<size_t>(i)];
      if (member == rank) own_ = i;
      if (blocks_.empty() || host_of(member) != host_of(leaders.back())) {
        leaders.push_back(member);
        blocks_.push_back({i, i});
      }
      blocks_.back().end = i + 1;
      if (host_of(member) != host) continue;
      own_block_ = static_cast<int>(blocks_.size()) - 1;
      neighbours.push_back(member - planes_->first_of(host));
    }
    direct_ = std::make_unique<MeshCollective>(planes_->remote, members_);
    if (neighbours.size() > 1)
      inside_ = std::make_unique<MeshCollective>(planes_->local, std::move(neighbours));
    if (leaders.size() > 1 && leaders[static_cast<size_t>(own_block_)] == rank)
      between_ = std::make_unique<MeshCollective>(planes_->remote, std::move(leaders));
  }

  int rank() const override { return own_; }
  int size() const override { return static_cast<int>(members_.size()); }

  Result<void> all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                            std::span<const size_t> counts, CallTag tag) override {
    return gather(CallKind::all_gather_v, mine, all, counts, tag);
  }

  Result<void> gather(CallKind kind, std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const size_t> counts, CallTag tag) {
    if (counts.size() != members_.size() || mine.size() != counts[static_cast<size_t>(own_)] ||
        std::accumulate(counts.begin(), counts.end(), size_t{0}) != all.size())
      return refuse(
          fmt::format("a gather got {} counts for {} ranks, {} bytes for all and {} "
                      "of its own; counts must fit the ranks and the buffers",
                      counts.size(), size(), all.size(), mine.size()));
    const CallClock clock(tag);
    const auto bytes = [&](int begin, int end) {
      return std::accumulate(counts.begin() + begin, counts.begin() + end, size_t{0});
    };
    const Block block = blocks_[static_cast<size_t>(own_block_)];
    const auto host = all.subspan(bytes(0, block.begin), bytes(block.begin, block.end));
    const auto place = host.subspan(bytes(block.begin, own_), mine.size());
    if (!mine.empty() && place.data() != mine.data())
      std::memcpy(place.data(), mine.data(), mine.size());
    if (inside_ != nullptr) {
      const auto host_counts = counts.subspan(static_cast<size_t>(block.begin),
                                              static_cast<size_t>(block.end - block.begin));
      if (auto done = inside_->gather(kind, place, host, host_counts, clock.next()); !done)
        return spread(std::move(done));
    }
    if (between_ != nullptr) {
      std::vector<size_t> host_counts;
      for (const Block& each : blocks_) host_counts.push_back(bytes(each.begin, each.end));
      if (auto done = between_->gather(kind, host, all, host_counts, clock.next()); !done)
        return spread(std::move(done));
    }
    if (inside_ == nullptr || blocks_.size() == 1) return {};
    return spread(inside_->broadcast({all}, 0, clock.next()));
  }

  Result<void> all_reduce(Buffer data, CallTag tag) override {
    if (data.type != ElementType::f32)
      return spread(
          fail(ErrorCode::unsupported, "host ranks sum f32 only; convert the values to f32 first"));
    if (data.bytes.size() % sizeof(float) != 0)
      return refuse(
          fmt::format("all_reduce got {} bytes; give whole f32 values", data.bytes.size()));
    const CallClock clock(tag);
    const size_t ranks = members_.size();
    const size_t piece_max = kReduceBlockBytes / ranks / sizeof(float) * sizeof(float);
    for (size_t at = 0; at == 0 || at < data.bytes.size(); at += piece_max) {
      const auto piece = data.bytes.subspan(at, std::min(piece_max, data.bytes.size() - at));
      const std::vector<size_t> counts(ranks, piece.size());
      scratch_.resize(piece.size() * ranks);
      if (auto done = gather(CallKind::all_reduce, piece, scratch_, counts, clock.next()); !done)
        return done;
      std::vector<const std::byte*> addends;
      for (size_t r = 0; r < ranks; ++r) addends.push_back(scratch_.data() + r * piece.size());
      sum_in_rank_order(piece, addends);
    }
    return {};
  }

  Result<void> broadcast(Buffer data, int root, CallTag tag) override {
    if (root < 0 || root >= size())
      return refuse(
          fmt::format("rank {} can't be the root among {} ranks; give one of them", root, size()));
    const CallClock clock(tag);
    const int from = block_of(root);
    if (from == own_block_) {
      if (inside_ != nullptr)
        if (auto done = inside_->broadcast(data, index_inside(root), clock.next()); !done)
          return spread(std::move(done));
      return between_ == nullptr ? Result<void>()
                                 : spread(between_->broadcast(data, from, clock.next()));
    }
    if (between_ != nullptr)
      if (auto done = between_->broadcast(data, from, clock.next()); !done)
        return spread(std::move(done));
    return inside_ == nullptr ? Result<void>() : spread(inside_->broadcast(data, 0, clock.next()));
  }

  Result<void> send(Buffer data, int peer, CallTag tag) override {
    if (is_near(peer)) return spread(inside_->send(data, index_inside(peer), tag));
    return spread(direct_->send(data, peer, tag));
  }

  Result<void> recv(Buffer data, int peer, CallTag tag) override {
    if (is_near(peer)) return spread(inside_->recv(data, index_inside(peer), tag));
    return spread(direct_->recv(data, peer, tag));
  }

  void abort(uint32_t generation) noexcept override {
    planes_->remote->abort(generation);
    if (planes_->local != nullptr) planes_->local->abort(generation);
  }

  std::unique_ptr<Collective> among(std::span<const int> ranks) override {
    std::vector<int> members;
    bool own = false;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] < 0 || ranks[i] >= size() || (i > 0 && ranks[i] <= ranks[i - 1])) return nullptr;
      own = own || ranks[i] == own_;
      members.push_back(members_[static_cast<size_t>(ranks[i])]);
    }
    if (!own) return nullptr;
    return std::make_unique<GroupCollective>(planes_, std::move(members));
  }

 private:
  /// Members of one host, [begin, end).
  struct Block {
    int begin = 0, end = 0;
  };

  int host_of(int rank) const { return planes_->hosts[static_cast<size_t>(rank)]; }
  int block_of(int member) const {
    const auto found = std::ranges::find_if(blocks_, [&](Block b) { return member < b.end; });
    return static_cast<int>(found - blocks_.begin());
  }
  /// Another rank of this host.
  bool is_near(int member) const {
    return member >= 0 && member < size() && member != own_ && block_of(member) == own_block_;
  }
  int index_inside(int member) const {
    return member - blocks_[static_cast<size_t>(own_block_)].begin;
  }

  /// An error on one plane ends the other.
  Result<void> spread(Result<void> result) {
    if (result) return result;
    (void)planes_->remote->fail(result.error());
    if (planes_->local != nullptr) (void)planes_->local->fail(result.error());
    return result;
  }
  Result<void> refuse(std::string message) {
    return spread(fail(ErrorCode::invalid_argument, std::move(message)));
  }

  std::shared_ptr<const Planes> planes_;
  std::vector<int> members_;  ///< ranks of the whole group
  std::vector<Block> blocks_;
  int own_ = 0, own_block_ = 0;
  std::unique_ptr<MeshCollective> direct_;   ///< all members, over TLS
  std::unique_ptr<MeshCollective> inside_;   ///< those of this host; null for one
  std::unique_ptr<MeshCollective> between_;  ///< leaders of the hosts; null when this is none
  std::vector<std::byte> scratch_;
};

}  // namespace

Result<std::unique_ptr<Collective>> form_group_collective(
    std::vector<int> hosts, std::shared_ptr<ShmMap> map, const TcpGroup& group,
    FileDescriptor listener, std::shared_ptr<StopSignal> stop, Duration allowed) {
  const size_t ranks = group.addresses.size();
  if (hosts.size() != ranks || group.rank < 0 || static_cast<size_t>(group.rank) >= ranks ||
      !std::ranges::is_sorted(hosts))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} hosts do not place {} ranks; give each rank's host, ascending",
                            hosts.size(), ranks));
  const auto near = std::ranges::count(hosts, hosts[static_cast<size_t>(group.rank)]);
  const int mapped = map == nullptr ? 1 : map->ranks();
  if (mapped != near || (map != nullptr && map->generation() != group.generation))
    return fail(ErrorCode::invalid_argument,
                fmt::format("the shared memory is for {} ranks of a host that has {} of generation "
                            "{}; pass the memory of the same generation",
                            mapped, near, group.generation));
  auto pipes = connect_ranks(group, std::move(listener), *stop, allowed);
  if (!pipes) return std::unexpected(std::move(pipes.error()));
  auto planes = std::make_shared<Planes>();
  planes->hosts = std::move(hosts);
  planes->remote = std::make_shared<RankExchange>(
      std::make_unique<TcpMesh>(group.rank, group.generation, std::move(*pipes), std::move(stop)),
      group.generation);
  if (map != nullptr) {
    const int first = planes->first_of(planes->hosts[static_cast<size_t>(group.rank)]);
    planes->local = std::make_shared<RankExchange>(
        std::make_unique<ShmMesh>(std::move(map), group.rank - first), group.generation, first);
  }
  std::vector<int> all(ranks);
  std::iota(all.begin(), all.end(), 0);
  return std::make_unique<GroupCollective>(std::move(planes), std::move(all));
}

}  // namespace troupe
