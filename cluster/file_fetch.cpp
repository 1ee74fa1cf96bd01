#include "cluster/file_fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/check.h"

namespace troupe {

namespace {

std::string_view words_of(FileRefusal why) {
  switch (why) {
    case FileRefusal::unknown:
      return "does not have it";
    case FileRefusal::unchecked:
      return "is still checking its own";
    case FileRefusal::busy:
      return "sends to others";
    case FileRefusal::past_end:
      return "has a shorter one";
  }
  return "does not send it";
}

}  // namespace

FileFetch::FileFetch(FileFetchConfig config) : config_(std::move(config)) {
  peer_ = config_.peers.empty() ? 0 : config_.peers.size() - 1;  // the first is asked first
}

void FileFetch::step(Time now, const FetchInput& input, FetchEffects& out) {
  if (std::holds_alternative<fetch_in::Want>(input)) {
    wanted_ = true;
    if (state_ == State::idle)
      begin(out);
    else if (!told_.empty())
      out.push_back(fetch_out::Tell{told_});  // who comes later is told too
  } else if (std::holds_alternative<fetch_in::Asked>(input)) {
    if (state_ == State::idle) begin(out);
  } else if (auto* checked = std::get_if<fetch_in::Checked>(&input)) {
    if (state_ == State::checking && checked->place == place_) on_checked(now, *checked, out);
  } else if (auto* reading = std::get_if<fetch_in::Reading>(&input)) {
    if (state_ == State::checking && reading->place == place_ && wanted_)
      tell(fmt::format("all {:.1f} MB of its file are checked against sha256",
                       static_cast<double>(reading->bytes) / 1e6),
           out);
  } else if (auto* answered = std::get_if<fetch_in::Answered>(&input)) {
    if (state_ == State::asking) on_answered(now, *answered, out);
  } else if (auto* refused = std::get_if<fetch_in::Refused>(&input)) {
    if (state_ == State::asking) {
      out.push_back(fetch_out::HangUp{});
      if (refused->why == FileRefusal::past_end)
        wrong_part(now, peer() + " has a shorter file than what was kept of it", out);
      else
        failed(now, std::string(words_of(refused->why)), out);
    }
  } else if (auto* came = std::get_if<fetch_in::Came>(&input)) {
    if (state_ == State::receiving) on_came(now, came->total, out);
  } else if (auto* broken = std::get_if<fetch_in::Broken>(&input)) {
    if (state_ == State::asking || state_ == State::receiving) failed(now, broken->why, out);
  } else if (auto* stuck = std::get_if<fetch_in::Stuck>(&input)) {
    if (state_ == State::asking || state_ == State::receiving || state_ == State::keeping)
      wait(now, stuck->error.message, kFileRetryMax, out);
  } else if (std::holds_alternative<fetch_in::Kept>(input)) {
    if (state_ == State::keeping) use(FilePlace::copy, out);
  } else if (auto at = deadline(); at && now >= *at) {
    if (state_ == State::waiting) return begin(out);
    out.push_back(fetch_out::HangUp{});
    failed(now,
           state_ == State::asking
               ? fmt::format("did not answer within {} s", to_seconds(kFileAnswerTimeout))
               : fmt::format("sent nothing for {} s", to_seconds(kFileSilenceMax)),
           out);
  }
}

void FileFetch::begin(FetchEffects& out) {
  other_here_ = false;
  look(FilePlace::source, out);
}

void FileFetch::look(FilePlace place, FetchEffects& out) {
  state_ = State::checking;
  place_ = place;
  out.push_back(fetch_out::Check{place});
}

void FileFetch::on_checked(Time now, const fetch_in::Checked& checked, FetchEffects& out) {
  const bool right = checked.digest == config_.digest;
  if (place_ == FilePlace::part) return on_part(now, checked, out);
  if (right) return use(place_, out);
  if (place_ == FilePlace::source) {
    other_here_ = checked.digest.has_value();
    not_here_ = other_here_
                    ? fmt::format("{} has sha256 {}, the config asks for {}", config_.source,
                                  to_hex(*checked.digest), to_hex(config_.digest))
                    : checked.error.message;
    return look(FilePlace::copy, out);
  }
  if (checked.digest) {
    out.push_back(fetch_out::Warn{fmt::format(
        "the copy that was fetched in place of {} is damaged: it is deleted", config_.source)});
    out.push_back(fetch_out::Discard{FilePlace::copy});
  } else if (checked.error.code != ErrorCode::not_found) {
    return wait(now, checked.error.message, kFileRetryMax, out);
  }
  if (wanted_)
    ask_all(now, out);
  else
    state_ = State::idle;
}

void FileFetch::use(FilePlace place, FetchEffects& out) {
  if (place == FilePlace::copy && other_here_ && wanted_)
    out.push_back(fetch_out::Warn{
        not_here_ + ": the copy fetched from another node is used; put the right file there"});
  state_ = State::idle;
  back_off_ = kFileRetryFirst;
  wrong_parts_ = 0;
  told_.clear();
  if (std::exchange(wanted_, false)) out.push_back(fetch_out::Ready{place});
}

void FileFetch::ask_all(Time now, FetchEffects& out) {
  asked_ = 0;
  said_.clear();
  ask_next(now, out);
}

void FileFetch::ask_next(Time now, FetchEffects& out) {
  if (config_.peers.empty()) return wait(now, not_here_ + "; put the right file there", {}, out);
  if (asked_ == config_.peers.size())
    return wait(now,
                fmt::format("{}, and no other node sends it ({}); put the right file there, or "
                            "start a node that has it",
                            not_here_, said_),
                {}, out);
  peer_ = (peer_ + 1) % config_.peers.size();
  ++asked_;
  state_ = State::asking;
  due_ = now + kFileAnswerTimeout;
  out.push_back(fetch_out::Ask{peer()});
}

void FileFetch::on_answered(Time now, const fetch_in::Answered& answered, FetchEffects& out) {
  const auto size = static_cast<int64_t>(answered.size);
  if (size > config_.bytes_max || size <= 0) {
    out.push_back(fetch_out::HangUp{});
    return failed(
        now, fmt::format("has one of {} bytes, the limit is {}", answered.size, config_.bytes_max),
        out);
  }
  state_ = State::receiving;
  size_ = answered.size;
  total_ = answered.from;
  due_ = now + kFileSilenceMax;
  tell_progress(now, out);
  on_came(now, answered.from, out);
}

void FileFetch::on_came(Time now, uint64_t total, FetchEffects& out) {
  if (total > total_) {
    due_ = now + kFileSilenceMax;
    back_off_ = kFileRetryFirst;
  }
  total_ = total;
  if (total_ == size_) {
    out.push_back(fetch_out::HangUp{});
    look(FilePlace::part, out);
  } else if (now >= tell_at_) {
    tell_progress(now, out);
  }
}

void FileFetch::tell_progress(Time now, FetchEffects& out) {
  tell_at_ = now + kFileTellInterval;
  tell(fmt::format("its file comes from {}: {} % of {:.1f} MB", peer(), total_ * 100 / size_,
                   static_cast<double>(size_) / 1e6),
       out);
}

void FileFetch::on_part(Time now, const fetch_in::Checked& checked, FetchEffects& out) {
  if (checked.digest == config_.digest) {
    state_ = State::keeping;
    out.push_back(fetch_out::Keep{});
  } else if (checked.digest) {
    wrong_part(now,
               fmt::format("what came from {} has sha256 {}, the config asks for {}", peer(),
                           to_hex(*checked.digest), to_hex(config_.digest)),
               out);
  } else {
    wait(now, checked.error.message, kFileRetryMax, out);
  }
}

/// It may have been begun by another peer or another life: all of it once more, then people must
/// look.
void FileFetch::wrong_part(Time now, const std::string& why, FetchEffects& out) {
  out.push_back(fetch_out::Discard{FilePlace::part});
  if (++wrong_parts_ == 1) {
    out.push_back(fetch_out::Warn{why + ": it is fetched anew"});
    return ask_all(now, out);
  }
  wrong_parts_ = 0;
  wait(now, why + ", also when it was fetched anew; compare the files of the nodes",
       kFileWrongRetry, out);
}

void FileFetch::failed(Time now, const std::string& why, FetchEffects& out) {
  said_ += fmt::format("{}{} {}", said_.empty() ? "" : ", ", peer(), why);
  ask_next(now, out);
}

void FileFetch::wait(Time now, const std::string& why, Duration at_least, FetchEffects& out) {
  state_ = State::waiting;
  due_ = now + std::max(at_least, back_off_);
  back_off_ = std::min(2 * back_off_, kFileRetryMax);
  tell(why, out);
}

void FileFetch::tell(std::string what, FetchEffects& out) {
  if (what == told_) return;
  told_ = what;
  out.push_back(fetch_out::Tell{std::move(what)});
}

std::optional<Time> FileFetch::deadline() const {
  const bool waits =
      state_ == State::asking || state_ == State::receiving || state_ == State::waiting;
  return waits ? std::optional(due_) : std::nullopt;
}

void FileFetch::check() const {
  const bool fetching = state_ == State::asking || state_ == State::receiving ||
                        state_ == State::keeping ||
                        (state_ == State::checking && place_ == FilePlace::part);
  TROUPE_CHECK(!fetching || (wanted_ && !config_.peers.empty()), static_cast<int>(state_));
  TROUPE_CHECK(state_ != State::idle || !wanted_);
  TROUPE_CHECK(asked_ <= config_.peers.size(), asked_);
  TROUPE_CHECK(state_ != State::receiving || total_ < size_, total_, size_);
  TROUPE_CHECK(wrong_parts_ <= 1, wrong_parts_);
  TROUPE_CHECK(back_off_ >= kFileRetryFirst && back_off_ <= kFileRetryMax, back_off_.count());
}

}  // namespace troupe
