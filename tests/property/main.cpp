// Properties of random programs, by rapidcheck: what fails is shrunk to a small program and printed
// with its seed. TROUPE_PROPERTY_SEED=N tries other programs, TROUPE_PROPERTY_RUNS=K more of them.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
