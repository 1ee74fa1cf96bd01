#include "cluster/failure_detector.h"

#include <algorithm>

#include "config/check.h"

namespace troupe {

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::alive:
      return "alive";
    case Verdict::suspect:
      return "suspect";
    case Verdict::dead:
      return "dead";
  }
  return "dead";
}

Duration FailureDetector::suspect_after() const { return scaled(kSuspectAfter, scale_) + own_lag_; }
Duration FailureDetector::dead_after() const { return scaled(kDeadAfter, scale_) + own_lag_; }

void FailureDetector::own_sleep(Duration slept) {
  for (auto& [name, peer] : peers_)
    if (peer.verdict != Verdict::dead) peer.heard += slept;
}

void FailureDetector::step(Time now, const DetectorInput& input, std::vector<DetectorEffect>& out) {
  const std::optional<Time> due = deadline();
  // What is due in the past is due now: a peer that stays silent is judged by the next step.
  const Time expected = due && stepped_ ? std::max(*due, *stepped_) : now;
  // Never twice in a row: however slow this loop is, it judges every other time.
  slept_ = !slept_ && now - expected > kSelfDoubtLag;
  if (slept_) own_sleep(now - expected);
  stepped_ = now;
  if (now >= own_lag_until_) own_lag_ = 0ns;
  if (auto* watch = std::get_if<detector_in::Watch>(&input)) {
    peers_[watch->peer] = Peer{watch->incarnation, now, Verdict::alive, false};
  } else if (auto* gone = std::get_if<detector_in::Forget>(&input)) {
    auto found = peers_.find(gone->peer);
    if (found != peers_.end() && found->second.incarnation == gone->incarnation)
      peers_.erase(found);
  } else if (auto* beat = std::get_if<detector_in::Beat>(&input)) {
    auto found = peers_.find(beat->peer);
    // A beat of an older incarnation says nothing about this one; a dead verdict stands until a new
    // one comes.
    if (found != peers_.end() && found->second.incarnation == beat->incarnation &&
        found->second.verdict != Verdict::dead) {
      Peer& peer = found->second;
      peer.heard = now;
      if (peer.verdict == Verdict::suspect || !peer.heard_once)
        out.push_back({beat->peer, peer.incarnation, Verdict::alive, 0ns});
      peer.verdict = Verdict::alive;
      peer.heard_once = true;
    }
  } else if (auto* lag = std::get_if<detector_in::OwnLag>(&input)) {
    own_lag_ = lag->lag > kSelfDoubtLag ? lag->lag : 0ns;
    own_lag_until_ = now + dead_after();
  }
  if (!slept_) judge(now, out);
}

void FailureDetector::judge(Time now, std::vector<DetectorEffect>& out) {
  for (auto& [name, peer] : peers_) {
    if (peer.verdict == Verdict::dead) continue;
    const Duration silence = now - peer.heard;
    Verdict verdict = silence >= dead_after()      ? Verdict::dead
                      : silence >= suspect_after() ? Verdict::suspect
                                                   : peer.verdict;
    if (verdict != peer.verdict) {
      peer.verdict = verdict;
      out.push_back({name, peer.incarnation, verdict, silence});
    }
  }
}

std::optional<Time> FailureDetector::deadline() const {
  std::optional<Time> earliest;
  for (const auto& [name, peer] : peers_) {
    if (peer.verdict == Verdict::dead) continue;
    Time at = peer.heard + (peer.verdict == Verdict::alive ? suspect_after() : dead_after());
    if (!earliest || at < *earliest) earliest = at;
  }
  return earliest;
}

std::optional<Verdict> FailureDetector::verdict(const std::string& peer) const {
  auto found = peers_.find(peer);
  if (found == peers_.end()) return std::nullopt;
  return found->second.verdict;
}

void FailureDetector::check() const {
  TROUPE_CHECK(peers_.size() <= kPeersMax, peers_.size());
  TROUPE_CHECK(own_lag_ >= 0ns, own_lag_.count());
  for (const auto& [name, peer] : peers_) {
    TROUPE_CHECK(!name.empty());
    TROUPE_CHECK(!stepped_ || peer.heard <= *stepped_, name);
  }
}

}  // namespace troupe
