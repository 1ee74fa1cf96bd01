// Routers and groups of one model in virtual time: the real Router and Batcher machines, between
// them messages that take a while, below them modelled devices. One thread, no clock, no
// randomness of its own: equal inputs give equal runs. Nothing fails here; tests/sim is for that.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "cluster/batcher.h"
#include "cluster/router.h"
#include "tests/bench/scaling/modelled_device.h"

namespace troupe::scaling {

/// Whether groups tell routers of their prefixes; withheld, each knows only what it sent itself.
enum class Reports : uint8_t { told, withheld };

struct ClusterShape {
  int routers = 1, groups = 1;
  BatcherConfig batcher;  ///< of each group; group, generation and epoch are filled in
  PlanTimer timer;
  Duration message = 100us;   ///< between router and group, one way
  Duration step_host = 50us;  ///< from the end of a step until the batcher has its output
  uint64_t router_requests = 1 << 16;
  Reports prefixes = Reports::told;
};

/// How one request went.
struct Answered {
  std::vector<TokenId> tokens;
  Time submitted{}, first{}, last{};
  std::vector<Time> arrivals;  ///< of each token
  int32_t prompt_tokens = 0, cached_tokens = 0;
  std::optional<Error> failed;
};

class ModelledCluster {
 public:
  explicit ModelledCluster(ClusterShape shape);
  ~ModelledCluster();

  using Done = std::function<void(const Answered&)>;
  /// Asks a router, now; `done` runs when the answer is complete or failed. Temperature 0, no end
  /// token: the answer has `max_new` tokens.
  void ask(int router, std::vector<TokenId> prompt, int32_t max_new, Done done,
           const Salt& tenant = {});
  void at(Time time, std::function<void()> what);
  Time now() const { return now_; }
  void run_until(Time end);
  /// Until every request that was asked has ended; a check fails if that takes until `end`.
  void run_out(Time end);

  GroupStatus status(int group) const;
  Duration busy(int group) const;
  uint64_t asked() const { return asked_; }
  int32_t open() const { return static_cast<int32_t>(waiting_.size()); }
  /// When groups are ready and reporting: requests may be asked from here on.
  static constexpr Time kReady{2s};

 private:
  struct Event {
    Time time;
    uint64_t order = 0;
    std::function<void()> what;
    bool operator<(const Event& o) const {
      return time != o.time ? o.time < time : o.order < order;
    }
  };
  struct Timer {
    Time armed = Time::max();
  };
  struct GroupHost;
  struct RouterHost;
  struct Waiting {
    Answered so_far;
    Done done;
  };

  void start();
  void to_group(GroupHost& group, const BatcherInput& input);
  void to_router(RouterHost& router, RouterInput input);
  void perform(GroupHost& group, BatcherEffects effects);
  void perform(RouterHost& router, RouterEffects effects);
  void run_step(GroupHost& group, const batcher_out::RunStep& step);
  void deliver(const router_out::Deliver& deliver);
  template <class Host>
  void arm(Host& host);
  bool run_event();

  ClusterShape shape_;
  Time now_{1s};
  uint64_t events_ = 0, asked_ = 0;
  std::priority_queue<Event> queue_;
  std::vector<std::unique_ptr<GroupHost>> groups_;
  std::vector<std::unique_ptr<RouterHost>> routers_;
  std::map<RequestId, Waiting> waiting_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace troupe::scaling
