#include "cluster/rank_proxy.h"

#include <algorithm>
#include <utility>

#include "config/check.h"

namespace troupe {

namespace {
constexpr const char* kDraining = "its node is draining";
}  // namespace

RankProxy::RankProxy(GroupId group, std::vector<int32_t> ranks, double timing_scale)
    : group_(group), abort_deadline_(scaled(kAbortDeadline, timing_scale)) {
  TROUPE_CHECK(!ranks.empty(), group);
  for (int32_t rank : ranks) ranks_[rank];
}

RankProxy::Rank* RankProxy::current(int32_t rank, Incarnation process) {
  const auto at = ranks_.find(rank);
  return at != ranks_.end() && at->second.process == process && process != Incarnation()
             ? &at->second
             : nullptr;
}

void RankProxy::step(Time now, const ProxyInput& input, std::vector<ProxyEffect>& out) {
  const RanksReport before = report();
  const bool had_head = head_;
  if (std::holds_alternative<proxy_in::HeadJoined>(input)) {
    head_ = true;
    out.push_back(proxy_out::Report{report()});
  } else if (std::holds_alternative<proxy_in::HeadGone>(input)) {
    head_ = false;
    end(now, "the head's node is gone", out);
    generation_ = over_ = Generation();  // the next life of the head counts from 1 again
  } else if (auto* ordered = std::get_if<proxy_in::Ordered>(&input)) {
    on_order(now, ordered->order, out);
  } else if (auto* up = std::get_if<group_in::RankUp>(&input)) {
    Rank& rank = ranks_.at(up->rank);
    if (rank.process != up->incarnation) {
      if (rank.runs()) end(now, "a rank's process was replaced", out);
      rank = Rank{.process = up->incarnation, .why = {}};
    }
  } else if (auto* failed = std::get_if<proxy_in::RankFailed>(&input)) {
    if (Rank& rank = ranks_.at(failed->rank); rank.process == Incarnation()) {
      rank.why = failed->why;
      rank.failed = true;
    }
  } else if (auto* awaits = std::get_if<group_in::RankAwaits>(&input)) {
    if (Rank& rank = ranks_.at(awaits->rank); rank.process == Incarnation())
      rank.why = awaits->what;
  } else if (auto* lost = std::get_if<group_in::RankLost>(&input)) {
    on_lost(now, *lost, out);
  } else if (auto* unformed = std::get_if<group_in::Unformed>(&input)) {
    on_unformed(*unformed);
  } else if (std::holds_alternative<group_in::Drain>(input)) {
    draining_ = true;
    end(now, kDraining, out);
  } else if (!on_answer(input)) {
    ++dropped_;
  }
  overdue(now, out);
  if (had_head && head_ && report() != before) out.push_back(proxy_out::Report{report()});
}

void RankProxy::on_order(Time now, const RanksOrder& order, std::vector<ProxyEffect>& out) {
  const Generation generation = order.load.generation;
  if (!head_ || order.load.group != group_ || generation < generation_) {
    ++dropped_;
    return;
  }
  if (order.over) {
    end(now, "the head ended the generation", out);
    generation_ = over_ = generation;  // an order to begin it that comes later is too late
    return;
  }
  if (generation > generation_) {
    end(now, "the head began another generation", out);
    generation_ = generation;
    start(order, out);
  }
  if (order.join) join(*order.join, out);
}

void RankProxy::join(const RankJoin& join, std::vector<ProxyEffect>& out) {
  if (join.group != group_ || join.generation != generation_) {
    ++dropped_;
    return;
  }
  for (auto& [number, rank] : ranks_) {
    // The order is whole each time: most of it has been obeyed.
    if (!rank.runs() || !rank.listening || std::exchange(rank.met, true)) continue;
    out.push_back(proxy_out::Join{number, rank.process, join});
  }
}

void RankProxy::start(const RanksOrder& order, std::vector<ProxyEffect>& out) {
  // All ranks of this node or none: the report of a process that is gone is on its way.
  const bool fit = !draining_ && order.ranks.size() == ranks_.size() &&
                   std::ranges::all_of(order.ranks, [&](const RanksOrder::Rank& meant) {
                     const Rank* rank = current(meant.rank, meant.process);
                     return rank != nullptr && rank->generation == Generation();
                   });
  if (!fit) return;
  if (ranks_.size() > 1) {
    formed_ = true;
    group_out::Form form{order.load.generation, {}};
    for (const auto& [number, rank] : ranks_) form.ranks.push_back(rank.process);
    out.push_back(std::move(form));
  }
  for (auto& [number, rank] : ranks_) {
    rank.generation = order.load.generation;
    LoadOrder own = order.load;
    own.rank = number;
    out.push_back(proxy_out::Load{rank.process, std::move(own)});
  }
}

void RankProxy::on_lost(Time now, const group_in::RankLost& lost, std::vector<ProxyEffect>& out) {
  Rank* rank = current(lost.rank, lost.incarnation);
  if (rank == nullptr) return;
  const bool ran = rank->runs();
  // A rank that was told to end does so: the reason stays the one it was told for.
  std::string why = rank->ending ? rank->why : lost.why;
  *rank = Rank{.why = std::move(why)};
  if (ran) end(now, "another rank of its node ended", out);
}

bool RankProxy::on_answer(const ProxyInput& input) {
  if (auto* suspect = std::get_if<group_in::RankSuspect>(&input)) {
    if (Rank* rank = current(suspect->rank, suspect->incarnation)) rank->suspect = suspect->suspect;
  } else if (auto* listening = std::get_if<group_in::Listening>(&input)) {
    Rank* rank = current(listening->note.rank, listening->incarnation);
    if (!rank || !rank->runs() || rank->listening || listening->note.generation != rank->generation)
      return false;
    rank->listening = listening->note;
  } else if (auto* loaded = std::get_if<group_in::Loaded>(&input)) {
    Rank* rank = current(loaded->report.rank, loaded->incarnation);
    if (!rank || !rank->runs() || loaded->report.generation != rank->generation) return false;
    rank->loaded = loaded->report;
  } else if (auto* fault = std::get_if<group_in::Fault>(&input)) {
    for (auto& [number, rank] : ranks_) {
      if (rank.process != fault->incarnation || !rank.runs() || rank.fault ||
          fault->fault.generation != rank.generation)
        continue;
      rank.fault = fault->fault;
      return true;
    }
    return false;
  }
  return true;
}

void RankProxy::on_unformed(const group_in::Unformed& unformed) {
  for (auto& [number, rank] : ranks_) {
    if (!rank.runs() || rank.loaded || rank.generation != unformed.generation) continue;
    rank.loaded = LoadReport{.group = group_, .generation = rank.generation, .rank = number};
    rank.loaded->error = unformed.error;
  }
}

void RankProxy::end(Time now, const std::string& why, std::vector<ProxyEffect>& out) {
  if (std::exchange(formed_, false)) out.push_back(group_out::Disband{generation_});
  for (auto& [number, rank] : ranks_) {
    if (!rank.runs()) continue;
    rank.ending = true;
    rank.why = why;
    rank.due = now + abort_deadline_;
    out.push_back(group_out::Abort{number, rank.process, rank.generation});
  }
}

void RankProxy::overdue(Time now, std::vector<ProxyEffect>& out) {
  for (auto& [number, rank] : ranks_) {
    if (!rank.ending || now < rank.due) continue;
    out.push_back(group_out::Kill{number, rank.process, "it did not end in time when told to"});
    rank.due = now + abort_deadline_;  // RankLost follows; if not, again
  }
}

RanksReport RankProxy::report() const {
  RanksReport all{group_, over_, {}};
  for (const auto& [number, rank] : ranks_) {
    // One that was told to end is nobody the head can count on.
    if (draining_)
      all.ranks.push_back({.rank = number, .why = kDraining});
    else if (rank.ending || rank.process == Incarnation())
      all.ranks.push_back({.rank = number, .why = rank.why, .failed = rank.failed});
    else
      all.ranks.push_back({.rank = number,
                           .process = rank.process,
                           .suspect = rank.suspect,
                           .listening = rank.listening,
                           .loaded = rank.loaded,
                           .fault = rank.fault});
  }
  return all;
}

RankProxy::View RankProxy::view(int32_t number) const {
  const Rank& rank = ranks_.at(number);
  View view{rank.generation, {}};
  if (draining_)
    view.unready = kDraining;
  else if (rank.ending || rank.process == Incarnation())
    view.unready = rank.why;
  else if (!head_)
    view.unready = "the head's node is not in the cluster";
  else if (!rank.runs())
    view.unready = "it waits for the other ranks of its group";
  else if (rank.fault)
    view.unready = "a step failed: " + rank.fault->error.message;
  else if (!rank.loaded)
    view.unready = "the model is loading";
  else if (!rank.loaded->ok)
    view.unready = "loading failed: " + rank.loaded->error.message;
  return view;
}

std::optional<Time> RankProxy::deadline() const {
  std::optional<Time> earliest;
  for (const auto& [number, rank] : ranks_)
    if (rank.ending && (!earliest || rank.due < *earliest)) earliest = rank.due;
  return earliest;
}

void RankProxy::check() const {
  for (const auto& [number, rank] : ranks_) {
    const bool runs = rank.runs();
    TROUPE_CHECK(!runs || (head_ && rank.generation == generation_), group_, number,
                 rank.generation);
    TROUPE_CHECK((runs && ranks_.size() > 1) == formed_, group_, number, formed_);
    TROUPE_CHECK(rank.process != Incarnation() || rank.generation == Generation(), group_, number);
    TROUPE_CHECK(!rank.met || rank.listening.has_value(), group_, number);
    TROUPE_CHECK(!runs || !draining_, group_, number);
  }
}

}  // namespace troupe
