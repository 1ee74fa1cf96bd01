#include "actors/rank_meeting.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/limits.h"
#include "net/group_collective.h"
#include "net/shm_collective.h"

namespace troupe {

Result<std::unique_ptr<Collective>> RankMeeting::meet(
    const LoadOrder& order, const std::function<void(HostPort)>& listening) {
  const int32_t ranks = order.tensor_parallel * order.pipeline_parallel;
  if (ranks == 1) return nullptr;
  if (order.hosts.empty()) {
    auto map = memory_of(order);
    if (!map) return std::unexpected(std::move(map.error()));
    return make_shm_collective(std::move(*map), order.rank);
  }
  if (order.hosts.size() != static_cast<size_t>(ranks) || order.rank < 0 || order.rank >= ranks)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the order to load names {} hosts for rank {} of {}; start all nodes "
                            "from one build",
                            order.hosts.size(), order.rank, ranks));
  HostPort bound;
  auto listener = listen_for_ranks(own_.host, own_.ports, bound);
  if (!listener) return std::unexpected(std::move(listener.error()));
  listening(bound);
  auto join = others(order);
  if (!join) return std::unexpected(std::move(join.error()));
  std::shared_ptr<ShmMap> map;
  if (std::ranges::count(order.hosts, order.hosts[static_cast<size_t>(order.rank)]) > 1) {
    auto shared = memory_of(order);
    if (!shared) return std::unexpected(std::move(shared.error()));
    map = std::move(*shared);
  }
  const TcpGroup group{fmt::format("{}.{}", order.model, order.group.value),
                       order.generation.value,
                       order.rank,
                       std::move(join->addresses),
                       GroupKey(join->key),
                       order.timing_scale};
  return form_group_collective(order.hosts, std::move(map), group, std::move(*listener), stop_,
                               scaled(kRankConnectWait, order.timing_scale));
}

Result<std::shared_ptr<ShmMap>> RankMeeting::memory_of(const LoadOrder& order) {
  return memory_->take(order.group, order.generation, scaled(kRankMemoryWait, order.timing_scale));
}

Result<RankJoin> RankMeeting::others(const LoadOrder& order) {
  std::unique_lock lock(mutex_);
  const bool came = changed_.wait_for(lock, scaled(kRankJoinWait, order.timing_scale), [&] {
    return stop_->raised() ||
           (join_ && join_->group == order.group && join_->generation == order.generation);
  });
  if (stop_->raised()) return fail(ErrorCode::aborted, "the generation ended before its ranks met");
  if (!came)
    return fail(
        ErrorCode::deadline_exceeded,
        fmt::format("not all ranks of generation {} were ready to meet within {} s; the "
                    "logs of their nodes say why",
                    order.generation.value, to_seconds(scaled(kRankJoinWait, order.timing_scale))));
  return std::move(*join_);
}

void RankMeeting::join(RankJoin join) {
  {
    std::lock_guard lock(mutex_);
    join_ = std::move(join);
  }
  changed_.notify_all();
}

void RankMeeting::end() noexcept {
  {
    std::lock_guard lock(mutex_);
    stop_->raise();
  }
  changed_.notify_all();
  memory_->end();
}

}  // namespace troupe
