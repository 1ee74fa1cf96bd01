// The Collective of ranks that are threads of one test: queues under one mutex. The reference that
// the ones in net/ are compared with, and what tests of partitions run on.
//
//   LocalGroup group(2, generation);
//   std::unique_ptr<Collective> rank0 = group.rank(0);  // one thread each
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/limits.h"
#include "model/collective.h"

namespace troupe::testing {

/// What all ranks share. Any thread.
class LocalPlane {
 public:
  using Bytes = std::vector<std::byte>;
  struct Message {
    std::string call;  ///< kind, tag and size: must be what the receiver does
    Bytes bytes;
  };

  LocalPlane(int ranks, uint32_t generation)
      : generation_(generation),
        queues_(static_cast<size_t>(ranks),
                std::vector<std::deque<Message>>(static_cast<size_t>(ranks))) {}

  uint32_t generation() const { return generation_; }

  /// Ends the generation for all; the first reason stays.
  std::unexpected<Error> end(ErrorCode code, std::string message) {
    const std::lock_guard lock(mutex_);
    return end_locked(code, std::move(message));
  }

  Result<void> post(int from, int to, Message message) {
    const std::lock_guard lock(mutex_);
    if (over_) return std::unexpected(*over_);
    queue(from, to).push_back(std::move(message));
    changed_.notify_all();
    return {};
  }

  Result<Bytes> take(int from, int to, const std::string& call,
                     std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    std::deque<Message>& waiting = queue(from, to);
    const bool in_time =
        changed_.wait_until(lock, until, [&] { return over_ || !waiting.empty(); });
    if (over_) return std::unexpected(*over_);
    if (!in_time)
      return end_locked(ErrorCode::deadline_exceeded,
                        "rank " + std::to_string(to) + " waited for rank " + std::to_string(from) +
                            " until the deadline of " + call + "; start another generation");
    if (waiting.front().call != call)
      return end_locked(ErrorCode::internal, "ranks diverged: rank " + std::to_string(from) +
                                                 " is in " + waiting.front().call + " while rank " +
                                                 std::to_string(to) + " is in " + call +
                                                 "; start another generation");
    Bytes bytes = std::move(waiting.front().bytes);
    waiting.pop_front();
    return bytes;
  }

 private:
  std::unexpected<Error> end_locked(ErrorCode code, std::string message) {
    if (!over_) over_ = Error{code, std::move(message), {}};
    changed_.notify_all();
    return std::unexpected(*over_);
  }
  std::deque<Message>& queue(int from, int to) {
    return queues_[static_cast<size_t>(from)][static_cast<size_t>(to)];
  }

  const uint32_t generation_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<std::deque<Message>>> queues_;  ///< [from][to]
  std::optional<Error> over_;
};

class LocalCollective final : public Collective {
 public:
  /// `members` are the plane's ranks, `own` is this one's index in it.
  LocalCollective(std::shared_ptr<LocalPlane> plane, std::vector<int> members, int own)
      : plane_(std::move(plane)), members_(std::move(members)), own_(own) {}

  int rank() const override { return own_; }
  int size() const override { return static_cast<int>(members_.size()); }

  Result<void> all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                            std::span<const size_t> counts, CallTag tag) override {
    if (auto valid = check(tag); !valid) return valid;
    if (counts.size() != members_.size() || mine.size() != counts[static_cast<size_t>(own_)] ||
        all.size() != std::accumulate(counts.begin(), counts.end(), size_t{0}))
      return plane_->end(ErrorCode::invalid_argument,
                         "counts of an all_gather_v must fit the ranks and the buffers");
    const auto until = deadline(tag);
    for (int r = 0; r < size(); ++r)
      if (r != own_)
        if (auto sent = post(r, "all_gather_v", mine, tag); !sent) return sent;
    size_t offset = 0;
    for (int r = 0; r < size(); ++r) {
      const std::span part = all.subspan(offset, counts[static_cast<size_t>(r)]);
      offset += part.size();
      if (r != own_) {
        if (auto got = take(r, "all_gather_v", part, tag, until); !got) return got;
      } else if (!mine.empty()) {
        std::memmove(part.data(), mine.data(), mine.size());
      }
    }
    return {};
  }

  Result<void> all_reduce(Buffer data, CallTag tag) override {
    if (auto valid = check(tag); !valid) return valid;
    if (data.type != ElementType::f32)
      return plane_->end(ErrorCode::unsupported, "only f32 can be summed; convert to f32 first");
    if (data.bytes.size() % sizeof(float) != 0)
      return plane_->end(ErrorCode::invalid_argument, "an all_reduce takes whole f32 values");
    const auto until = deadline(tag);
    for (int r = 0; r < size(); ++r)
      if (r != own_)
        if (auto sent = post(r, "all_reduce", data.bytes, tag); !sent) return sent;
    LocalPlane::Bytes part(data.bytes.begin(), data.bytes.end());
    std::vector<float> sum(part.size() / sizeof(float)), addend(sum.size());
    for (int r = 0; r < size(); ++r) {
      std::span<std::byte> from = data.bytes;
      if (r != own_) {
        if (auto got = take(r, "all_reduce", part, tag, until); !got) return got;
        from = part;
      }
      if (!sum.empty()) std::memcpy(addend.data(), from.data(), from.size());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] = r == 0 ? addend[i] : sum[i] + addend[i];
    }
    if (!sum.empty()) std::memcpy(data.bytes.data(), sum.data(), data.bytes.size());
    return {};
  }

  Result<void> broadcast(Buffer data, int root, CallTag tag) override {
    if (auto valid = check(tag); !valid) return valid;
    if (root < 0 || root >= size())
      return plane_->end(ErrorCode::invalid_argument, "the root of a broadcast must be a rank");
    const std::string call = "broadcast from " + std::to_string(root);
    if (root != own_) return take(root, call, data.bytes, tag, deadline(tag));
    for (int r = 0; r < size(); ++r)
      if (r != own_)
        if (auto sent = post(r, call, data.bytes, tag); !sent) return sent;
    return {};
  }

  Result<void> send(Buffer data, int peer, CallTag tag) override {
    if (auto valid = check_peer(peer, tag); !valid) return valid;
    return post(peer, "send", data.bytes, tag);
  }

  Result<void> recv(Buffer data, int peer, CallTag tag) override {
    if (auto valid = check_peer(peer, tag); !valid) return valid;
    return take(peer, "send", data.bytes, tag, deadline(tag));
  }

  void abort(uint32_t generation) noexcept override {
    if (generation >= plane_->generation())
      (void)plane_->end(ErrorCode::aborted, "generation " + std::to_string(plane_->generation()) +
                                                " was aborted; start another one");
  }

  std::unique_ptr<Collective> among(std::span<const int> ranks) override {
    std::vector<int> members;
    int own = -1;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] < 0 || ranks[i] >= size() || (i > 0 && ranks[i] <= ranks[i - 1])) return nullptr;
      if (ranks[i] == own_) own = static_cast<int>(i);
      members.push_back(members_[static_cast<size_t>(ranks[i])]);
    }
    if (own < 0) return nullptr;
    return std::make_unique<LocalCollective>(plane_, std::move(members), own);
  }

 private:
  static std::chrono::steady_clock::time_point deadline(CallTag tag) {
    return std::chrono::steady_clock::now() + tag.deadline;
  }

  Result<void> check(CallTag tag) {
    if (tag.generation != plane_->generation())
      return plane_->end(ErrorCode::invalid_argument, "a call of generation " +
                                                          std::to_string(tag.generation) +
                                                          " came to the collective of generation " +
                                                          std::to_string(plane_->generation()));
    if (tag.deadline <= Duration::zero() || tag.deadline > kCollectiveDeadlineMax)
      return plane_->end(ErrorCode::invalid_argument,
                         "a call needs a deadline above 0 and at most kCollectiveDeadlineMax");
    return {};
  }

  Result<void> check_peer(int peer, CallTag tag) {
    if (peer < 0 || peer >= size() || peer == own_)
      return plane_->end(ErrorCode::invalid_argument, "the peer must be another rank");
    return check(tag);
  }

  static std::string name(const std::string& call, size_t bytes, CallTag tag) {
    return call + " of " + std::to_string(bytes) + " bytes, step " + std::to_string(tag.step) +
           ", call " + std::to_string(tag.seq);
  }

  Result<void> post(int to, const std::string& call, std::span<const std::byte> bytes,
                    CallTag tag) {
    return plane_->post(members_[static_cast<size_t>(own_)], members_[static_cast<size_t>(to)],
                        {name(call, bytes.size(), tag), {bytes.begin(), bytes.end()}});
  }

  Result<void> take(int from, const std::string& call, std::span<std::byte> into, CallTag tag,
                    std::chrono::steady_clock::time_point until) {
    auto got =
        plane_->take(members_[static_cast<size_t>(from)], members_[static_cast<size_t>(own_)],
                     name(call, into.size(), tag), until);
    if (!got) return std::unexpected(std::move(got.error()));
    if (!into.empty()) std::memcpy(into.data(), got->data(), into.size());
    return {};
  }

  std::shared_ptr<LocalPlane> plane_;
  std::vector<int> members_;
  int own_;
};

/// Makes the collectives of a group; each keeps the plane alive.
class LocalGroup {
 public:
  explicit LocalGroup(int ranks, uint32_t generation = 1)
      : ranks_(ranks), plane_(std::make_shared<LocalPlane>(ranks, generation)) {}

  std::unique_ptr<Collective> rank(int r) {
    std::vector<int> all(static_cast<size_t>(ranks_));
    std::iota(all.begin(), all.end(), 0);
    return std::make_unique<LocalCollective>(plane_, std::move(all), r);
  }

 private:
  int ranks_;
  std::shared_ptr<LocalPlane> plane_;
};

}  // namespace troupe::testing
