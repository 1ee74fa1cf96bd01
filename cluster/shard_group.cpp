#include "cluster/shard_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/check.h"

namespace troupe {

ShardGroup::ShardGroup(GroupId id, int32_t ranks, double timing_scale,
                       std::vector<std::string> nodes)
    : id_(id),
      abort_deadline_(scaled(kAbortDeadline, timing_scale)),
      load_timeout_(scaled(kLoadTimeout, timing_scale)),
      ranks_(static_cast<size_t>(ranks)),
      nodes_(std::move(nodes)) {
  TROUPE_CHECK(ranks >= 1, ranks);
  TROUPE_CHECK(nodes_.empty() || nodes_.size() == ranks_.size(), ranks, nodes_.size());
  // Ranks of one node have nobody to look for.
  if (std::ranges::adjacent_find(nodes_, std::ranges::not_equal_to()) == nodes_.end())
    nodes_.clear();
}

std::string ShardGroup::process_of(size_t rank) const {
  if (ranks_.size() == 1) return "the shard process";
  if (nodes_.empty()) return fmt::format("the process of rank {}", rank);
  return fmt::format("the process of rank {} on node {}", rank, nodes_[rank]);
}

bool ShardGroup::current(int32_t rank, Incarnation incarnation) const {
  if (rank < 0 || rank >= static_cast<int32_t>(ranks_.size())) return false;
  const Rank& r = ranks_[static_cast<size_t>(rank)];
  return r.state != RankState::down && r.incarnation == incarnation;
}

bool ShardGroup::all_loaded() const {
  return std::all_of(ranks_.begin(), ranks_.end(),
                     [](const Rank& r) { return r.state == RankState::loaded; });
}

void ShardGroup::step(Time now, const GroupInput& input, std::vector<GroupEffect>& out) {
  if (auto* up = std::get_if<group_in::RankUp>(&input)) {
    on_up(now, *up, out);
  } else if (auto* awaits = std::get_if<group_in::RankAwaits>(&input)) {
    on_awaits(*awaits, out);
  } else if (auto* lost = std::get_if<group_in::RankLost>(&input)) {
    if (current(lost->rank, lost->incarnation)) on_lost(now, *lost, out);
  } else if (auto* suspect = std::get_if<group_in::RankSuspect>(&input)) {
    if (current(suspect->rank, suspect->incarnation)) {
      ranks_[static_cast<size_t>(suspect->rank)].suspect = suspect->suspect;
      settle(out);
    }
  } else if (auto* listening = std::get_if<group_in::Listening>(&input)) {
    on_listening(*listening, out);
  } else if (auto* loaded = std::get_if<group_in::Loaded>(&input)) {
    on_loaded(now, *loaded, out);
  } else if (auto* fault = std::get_if<group_in::Fault>(&input)) {
    on_fault(now, *fault, out);
  } else if (auto* unformed = std::get_if<group_in::Unformed>(&input)) {
    if (formed_ && unformed->generation == generation_) fail_load(now, unformed->error, out);
  } else if (std::holds_alternative<group_in::Drain>(input)) {
    if (!draining_) {
      draining_ = true;
      if (all_loaded())
        settle(out);
      else
        end_generation(now, "draining", out);
    }
  }
  overdue(now, out);
}

void ShardGroup::on_up(Time now, const group_in::RankUp& up, std::vector<GroupEffect>& out) {
  TROUPE_CHECK(up.rank >= 0 && up.rank < static_cast<int32_t>(ranks_.size()), up.rank);
  Rank& rank = ranks_[static_cast<size_t>(up.rank)];
  // Said twice: a second order to load would confuse the process.
  if (rank.state != RankState::down && rank.incarnation == up.incarnation) return;
  if (rank.state == RankState::loading || rank.state == RankState::loaded)
    end_generation(now, "a rank's process was replaced", out);
  rank = Rank{RankState::waiting, up.incarnation, false, {}};
  start_loading(now, out);
}

void ShardGroup::on_awaits(const group_in::RankAwaits& awaits, std::vector<GroupEffect>& out) {
  if (draining_ || ranks_.at(static_cast<size_t>(awaits.rank)).state != RankState::down) return;
  reason_ = awaits.what;
  out.push_back(group_out::Announce{});
}

void ShardGroup::on_lost(Time now, const group_in::RankLost& lost, std::vector<GroupEffect>& out) {
  Rank& rank = ranks_[static_cast<size_t>(lost.rank)];
  // A rank told to end does so: the reason stays the one that ended the generation.
  const bool expected = rank.state == RankState::aborting;
  rank = Rank{};
  if (expected)
    out.push_back(group_out::Announce{});
  else
    end_generation(
        now, fmt::format("{} ended: {}", process_of(static_cast<size_t>(lost.rank)), lost.why),
        out);
}

void ShardGroup::on_listening(const group_in::Listening& listening, std::vector<GroupEffect>& out) {
  const RankListening& note = listening.note;
  if (nodes_.empty() || note.generation != generation_ ||
      !current(note.rank, listening.incarnation)) {
    ++dropped_;
    return;
  }
  Rank& told = ranks_[static_cast<size_t>(note.rank)];
  if (told.state != RankState::loading || told.address) {
    ++dropped_;
    return;
  }
  told.address = note.address;
  if (!std::ranges::all_of(ranks_, [](const Rank& r) { return r.address.has_value(); })) return;
  std::vector<HostPort> addresses;
  for (const Rank& rank : ranks_) addresses.push_back(*rank.address);
  for (size_t i = 0; i < ranks_.size(); ++i)
    out.push_back(
        group_out::Join{static_cast<int32_t>(i), ranks_[i].incarnation, generation_, addresses});
}

/// What ranks that have yet to meet wait for, to follow a sentence.
std::string ShardGroup::unmet() const {
  if (nodes_.empty()) return {};
  for (size_t i = 0; i < ranks_.size(); ++i)
    if (!ranks_[i].address) return fmt::format(": {} has not said where it listens", process_of(i));
  return {};
}

void ShardGroup::on_fault(Time now, const group_in::Fault& fault, std::vector<GroupEffect>& out) {
  const bool known = std::any_of(ranks_.begin(), ranks_.end(), [&](const Rank& r) {
    return r.state == RankState::loaded && r.incarnation == fault.incarnation;
  });
  if (known && fault.fault.generation == generation_)
    end_generation(now, "a step failed: " + fault.fault.error.message, out);
  else
    ++dropped_;
}

void ShardGroup::on_loaded(Time now, const group_in::Loaded& loaded,
                           std::vector<GroupEffect>& out) {
  const LoadReport& report = loaded.report;
  if (report.generation != generation_ || !current(report.rank, loaded.incarnation) ||
      ranks_[static_cast<size_t>(report.rank)].state != RankState::loading) {
    ++dropped_;
    return;
  }
  Rank& rank = ranks_[static_cast<size_t>(report.rank)];
  if (!report.ok) {
    // It says why and then ends by itself; supervision backs off and tries again.
    fail_load(now, report.error, out);
    return;
  }
  const std::optional<Error> other = misfit(report);
  rank.state = RankState::loaded;
  rank.weights_id = report.weights_id;
  rank.numerics_id = report.numerics_id;
  if (report.rank == 0) report_ = report;
  if (other)
    fail_load(now, *other, out);
  else
    settle(out);
}

/// Ranks whose files or kernels differ would compute nonsense together.
std::optional<Error> ShardGroup::misfit(const LoadReport& report) const {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].state != RankState::loaded) continue;
    const bool weights = ranks_[i].weights_id != report.weights_id;
    if (!weights && ranks_[i].numerics_id == report.numerics_id) continue;
    return Error{
        ErrorCode::data_loss,
        weights ? fmt::format("rank {} loaded other weights than rank {}; give every node of the "
                              "group the same model file",
                              report.rank, i)
                : fmt::format("rank {} computes with other numerics than rank {}; start every node "
                              "of the group from one build",
                              report.rank, i),
        "source"};
  }
  return std::nullopt;
}

void ShardGroup::fail_load(Time now, Error error, std::vector<GroupEffect>& out) {
  out.push_back(group_out::LoadFailed{error});
  end_generation(now, "loading failed: " + error.message, out);
}

void ShardGroup::overdue(Time now, std::vector<GroupEffect>& out) {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const RankState state = ranks_[i].state;
    if ((state != RankState::loading && state != RankState::aborting) || now < ranks_[i].due)
      continue;
    const std::string why = state == RankState::loading ? "loading took too long"
                                                        : "it did not end in time when told to";
    if (state == RankState::loading) end_generation(now, why + unmet(), out);
    out.push_back(group_out::Kill{static_cast<int32_t>(i), ranks_[i].incarnation, why});
    ranks_[i].due = now + abort_deadline_;  // RankLost follows; if not, again
  }
}

void ShardGroup::end_generation(Time now, std::string why, std::vector<GroupEffect>& out) {
  reason_ = std::move(why);
  if (std::exchange(formed_, false)) out.push_back(group_out::Disband{generation_});
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    if (rank.state != RankState::loading && rank.state != RankState::loaded) continue;
    // A rank that aborts ends its process: its Partition can't be reset, so its weights go with it.
    rank.state = RankState::aborting;
    rank.due = now + abort_deadline_;
    out.push_back(group_out::Abort{static_cast<int32_t>(i), rank.incarnation, generation_});
  }
  state_ = draining_ ? GroupState::stopped : GroupState::starting;
  out.push_back(group_out::Announce{});
}

void ShardGroup::start_loading(Time now, std::vector<GroupEffect>& out) {
  // A generation starts with everyone or not at all.
  if (draining_ || !std::all_of(ranks_.begin(), ranks_.end(),
                                [](const Rank& r) { return r.state == RankState::waiting; }))
    return;
  generation_ = generation_.next();
  if (ranks_.size() > 1) {
    formed_ = true;
    std::vector<Incarnation> ranks;
    for (const Rank& rank : ranks_) ranks.push_back(rank.incarnation);
    out.push_back(group_out::Form{generation_, std::move(ranks)});
  }
  for (size_t i = 0; i < ranks_.size(); ++i) {
    ranks_[i].state = RankState::loading;
    ranks_[i].due = now + load_timeout_;
    out.push_back(group_out::Load{static_cast<int32_t>(i), ranks_[i].incarnation, generation_});
  }
  state_ = GroupState::starting;
  reason_ = "the model is loading";
  out.push_back(group_out::Announce{});
}

void ShardGroup::settle(std::vector<GroupEffect>& out) {
  if (!all_loaded()) return;
  const GroupState before = state_;
  const std::string told = std::exchange(reason_, {});
  const auto silent = std::ranges::find_if(ranks_, [](const Rank& r) { return r.suspect; });
  const bool suspect = silent != ranks_.end();
  state_ = draining_ ? GroupState::draining : suspect ? GroupState::suspect : GroupState::ready;
  if (draining_)
    reason_ = "draining";
  else if (suspect)
    reason_ = process_of(static_cast<size_t>(silent - ranks_.begin())) + " is silent";
  if (state_ != before || reason_ != told) out.push_back(group_out::Announce{});
}

std::optional<Time> ShardGroup::deadline() const {
  std::optional<Time> earliest;
  for (const Rank& rank : ranks_)
    if (rank.state == RankState::loading || rank.state == RankState::aborting)
      if (!earliest || rank.due < *earliest) earliest = rank.due;
  return earliest;
}

void ShardGroup::check() const {
  const bool serving = state_ == GroupState::ready || state_ == GroupState::suspect ||
                       state_ == GroupState::draining;
  TROUPE_CHECK(serving == all_loaded(), id_, static_cast<int>(state_), reason_);
  TROUPE_CHECK((state_ == GroupState::ready) == reason_.empty(), id_, static_cast<int>(state_),
               reason_);
  TROUPE_CHECK(draining_ == (state_ == GroupState::draining || state_ == GroupState::stopped), id_,
               static_cast<int>(state_));
  for (const Rank& rank : ranks_) {
    TROUPE_CHECK((rank.state == RankState::down) == (rank.incarnation == Incarnation()), id_,
                 rank.incarnation);
    const bool of_generation = rank.state == RankState::loading || rank.state == RankState::loaded;
    TROUPE_CHECK(!of_generation || generation_.value > 0, id_);
    TROUPE_CHECK(!rank.address || !nodes_.empty(), id_);
    TROUPE_CHECK((of_generation && ranks_.size() > 1) == formed_, id_, formed_);
  }
}

}  // namespace troupe
