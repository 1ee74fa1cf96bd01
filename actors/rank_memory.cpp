#include "actors/rank_memory.h"

#include <fmt/format.h>

namespace troupe {

void RankMemory::put(GroupId group, Generation generation, FileDescriptor memory) {
  {
    std::lock_guard lock(mutex_);
    group_ = group;
    generation_ = generation;
    memory_ = std::move(memory);
  }
  changed_.notify_all();
}

Result<std::shared_ptr<ShmMap>> RankMemory::take(GroupId group, Generation generation,
                                                 Duration allowed) {
  FileDescriptor memory;
  {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, allowed, [&] {
      return ended_ || (memory_ && group_ == group && generation_ == generation);
    });
    if (ended_) return fail(ErrorCode::aborted, "the generation ended before its ranks met");
    if (!came)
      return fail(ErrorCode::deadline_exceeded,
                  fmt::format("the memory that the ranks of generation {} share did not come from "
                              "the node; its log says why",
                              generation.value));
    memory = std::move(memory_);
  }
  auto map = ShmMap::open(memory.get());
  if (map && (*map)->generation() != generation.value)
    return fail(ErrorCode::data_loss,
                fmt::format("the memory for generation {} was made for generation {}; start all "
                            "ranks of a group from one build",
                            generation.value, (*map)->generation()));
  return map;
}

void RankMemory::end() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
}

}  // namespace troupe
