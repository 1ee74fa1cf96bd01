#include "cluster/flights.h"

#include <algorithm>
#include <utility>

#include "cluster/schedule.h"
#include "config/check.h"

namespace troupe {

void Flights::start(Flight flight) {
  flight.alone = flights_.empty() || newest().lane() == flight.lane();
  flights_.push_back(std::move(flight));
}

int32_t Flights::in_lane(int32_t lane) const {
  return static_cast<int32_t>(std::ranges::count(flights_, lane, &Flight::lane));
}

const Flight& Flights::newest_of(int32_t lane) const {
  const auto found = std::find_if(flights_.rbegin(), flights_.rend(),
                                  [&](const Flight& flight) { return flight.lane() == lane; });
  TROUPE_CHECK(found != flights_.rend(), lane);
  return *found;
}

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

void Flights::check(const Schedule& schedule, int32_t lanes, int32_t lane_max,
                    int32_t rows_max) const {
  TROUPE_CHECK(size() <= lane_max + lanes - 1, size(), lane_max, lanes);
  for (const Flight& flight : flights_) {
    TROUPE_CHECK(flight.lane() < lanes && in_lane(flight.lane()) <= lane_max, flight.lane());
    TROUPE_CHECK(flight.rows <= rows_max, flight.rows, rows_max);
    if (!flight.picks.empty()) schedule.check_pinned(*flight.plan);
  }
}

}  // namespace troupe
