// How a rank's device lane meets the other ranks of its generation: in the memory its node shares
// among the ranks of one host, over TLS with those of other hosts, or both. meet() on the lane's
// thread, once a process; the rest on any.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "actors/rank_memory.h"
#include "cluster/rank_messages.h"
#include "model/collective.h"
#include "net/stop_signal.h"

namespace troupe {

/// Where ranks of other hosts reach this one.
struct RankListen {
  std::string host;
  PortRange ports;
};

class RankMeeting {
 public:
  RankMeeting(std::shared_ptr<RankMemory> memory, RankListen own)
      : memory_(std::move(memory)), own_(std::move(own)) {}

  /// Null for a group of one rank. `listening` is told the address as soon as the rank waits there;
  /// a RankJoin with everybody's is to follow within kRankJoinWait. deadline_exceeded says who or
  /// what did not come, aborted after end().
  Result<std::unique_ptr<Collective>> meet(const LoadOrder& order,
                                           const std::function<void(HostPort)>& listening);
  /// What is for another generation is passed over.
  void join(RankJoin join);
  /// meet() fails soon; what it made is ended by its own abort().
  void end() noexcept;

 private:
  Result<std::shared_ptr<ShmMap>> memory_of(const LoadOrder& order);
  Result<RankJoin> others(const LoadOrder& order);

  const std::shared_ptr<RankMemory> memory_;
  const RankListen own_;
  const std::shared_ptr<StopSignal> stop_ = std::make_shared<StopSignal>();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<RankJoin> join_;  ///< guarded
};

}  // namespace troupe
