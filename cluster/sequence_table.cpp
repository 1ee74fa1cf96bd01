#include "cluster/sequence_table.h"

#include "config/check.h"

namespace troupe {

const Sequence* SequenceTable::find(const SequenceKey& key) const {
  const auto at = here_.find(key);
  return at == here_.end() ? nullptr : at->second.get();
}

std::vector<SequenceKey> SequenceTable::of_router(RouterId router) const {
  std::vector<SequenceKey> keys;
  for (const auto& [key, sequence] : here_) {
    if (sequence->router == router) keys.push_back(key);
  }
  return keys;
}

void SequenceTable::add(Sequence sequence, Schedule& schedule) {
  const SequenceKey key = sequence.request.key;
  auto owned = std::make_unique<Sequence>(std::move(sequence));
  deadlines_.emplace(owned->deadline, key);
  schedule.add(*owned);
  const bool is_new = here_.emplace(key, std::move(owned)).second;
  TROUPE_CHECK(is_new, key.id);
}

void SequenceTable::leave(const SequenceKey& key, Schedule& schedule) {
  auto at = here_.find(key);
  TROUPE_CHECK(at != here_.end(), key.id);
  deadlines_.erase({at->second->deadline, key});
  if (at->second->flights > 0) {
    at->second->left = true;
    leaving_.push_back(std::move(at->second));
  } else {
    schedule.remove(*at->second);
  }
  here_.erase(at);
}

void SequenceTable::sweep(Schedule& schedule) {
  std::erase_if(leaving_, [&](const auto& sequence) {
    if (sequence->flights > 0) return false;
    schedule.remove(*sequence);
    return true;
  });
}

std::vector<std::unique_ptr<Sequence>> SequenceTable::clear(Schedule& schedule) {
  std::vector<std::unique_ptr<Sequence>> gone;
  const auto forget = [&](Sequence& sequence) {
    sequence.flights = 0;
    schedule.remove(sequence);
  };
  for (auto& sequence : leaving_) forget(*sequence);
  for (auto& [key, sequence] : here_) {
    forget(*sequence);
    gone.push_back(std::move(sequence));
  }
  leaving_.clear();
  here_.clear();
  deadlines_.clear();
  return gone;
}

const Sequence* SequenceTable::overdue(Time now) const {
  if (deadlines_.empty() || deadlines_.begin()->first > now) return nullptr;
  return find(deadlines_.begin()->second);
}

std::optional<Time> SequenceTable::deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void SequenceTable::check(const Schedule& schedule, const Flights& flights) const {
  TROUPE_CHECK(here_.size() == deadlines_.size(), here_.size(), deadlines_.size());
  TROUPE_CHECK(here_.size() + leaving_.size() == schedule.waiting() + schedule.running());
  for (const auto& sequence : leaving_) {
    TROUPE_CHECK(sequence->left && sequence->flights > 0);
    TROUPE_CHECK(sequence->flights == flights.naming(*sequence), sequence->flights);
  }
  for (const auto& [key, sequence] : here_) {
    TROUPE_CHECK(key == sequence->request.key && deadlines_.contains({sequence->deadline, key}),
                 key.id);
    TROUPE_CHECK(!sequence->left && sequence->flights == flights.naming(*sequence),
                 sequence->flights);
  }
}

}  // namespace troupe
