// The Collective of ranks under one supervisor: shared memory, no system call while ranks are
// awake.
//
//   supervisor: map = ShmMap::create(ranks, generation); pass map->descriptor() to each rank over
//               its lifeline; set_abort(*map, generation) when one dies or the generation ends
//   rank:       make_shm_collective(*ShmMap::open(fd), rank)
//
// A rank that gives up writes why where the others see it. One that dies or hangs is noticed by its
// supervisor (set_abort, at once) or by the deadlines of the others' calls.
#pragma once

#include <cstdint>
#include <memory>

#include "model/collective.h"
#include "net/shm_map.h"

namespace troupe {

/// invalid_argument when the map has no such rank. Each rank once.
Result<std::unique_ptr<Collective>> make_shm_collective(std::shared_ptr<ShmMap> map, int rank);

/// Ends the map's generation and wakes all its ranks, which return ErrorCode::aborted; an older
/// generation is ignored. Any process that has the map, any thread, any number of times.
void set_abort(const ShmMap& map, uint32_t generation) noexcept;

}  // namespace troupe
