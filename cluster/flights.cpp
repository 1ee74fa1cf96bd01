#include "cluster/flights.h"

#include <algorithm>
#include <utility>

#include "cluster/schedule.h"
#include "config/check.h"

namespace troupe {

std::optional<Flight> Flights::land(Time now, const StepOutput* output) {
  if (flights_.empty() || output == nullptr || output->key != oldest().plan->key ||
      output->plan_hash != oldest().plan->hash) {
    return std::nullopt;
  }
  Flight done = std::move(flights_.front());
  flights_.erase(flights_.begin());
  if (!flights_.empty()) flights_.front().started = now;
  return done;
}

bool Flights::has(const StepKey& key) const {
  return std::ranges::any_of(flights_, [&](const Flight& f) { return f.plan->key == key; });
}

std::optional<Time> Flights::deadline() const {
  if (flights_.empty()) return std::nullopt;
  return oldest().started + oldest().limit;
}

int32_t Flights::naming(const Sequence& sequence) const {
  int32_t count = 0;
  for (const Flight& flight : flights_)
    count += static_cast<int32_t>(std::ranges::count(flight.picks, &sequence, &Pick::sequence));
  return count;
}

void Flights::check(const Schedule& schedule, int32_t plans_max, int32_t rows_max) const {
  TROUPE_CHECK(size() <= plans_max, size(), plans_max);
  for (const Flight& flight : flights_) {
    TROUPE_CHECK(flight.rows <= rows_max, flight.rows, rows_max);
    if (!flight.picks.empty()) schedule.check_pinned(*flight.plan);
  }
}

}  // namespace troupe
