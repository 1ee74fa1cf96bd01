#include "config/time.h"

#include <doctest/doctest.h>

#include "config/limits.h"

using namespace troupe;

TEST_CASE("time: a duration is scaled to the nanosecond below, by limits as by hand") {
  CHECK(scaled(100ms, 2.5) == 250ms);
  CHECK(scaled(3ns, 1.5) == 4ns);
  CHECK(scaled(-100ms, 2) == -200ms);
  CHECK(scaled(kLoadTimeout, 1) == kLoadTimeout);
  CHECK(scaled(600s, 100) == 60'000s);
  Limits limits;
  limits.timing_scale = 2.5;
  CHECK(limits.scaled(100ms) == scaled(100ms, 2.5));
}
