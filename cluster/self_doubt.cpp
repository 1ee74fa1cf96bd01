#include "cluster/self_doubt.h"

#include <fmt/format.h>

namespace troupe {

void SelfDoubt::heard(const std::string& node) {
  fallen_.erase(node);
  heard_.insert(node);
}

void SelfDoubt::fell_silent(Time now, const std::string& node) {
  heard_.erase(node);
  if (!cut_off())
    std::erase_if(fallen_, [&](const auto& fell) { return now - fell.second > window_; });
  fallen_.try_emplace(node, now);
}

void SelfDoubt::left(const std::string& node) {
  heard_.erase(node);
  fallen_.erase(node);
}

bool SelfDoubt::cut_off() const {
  const size_t here = 1 + heard_.size();
  return here < fallen_.size();
}

std::string SelfDoubt::remark() const {
  if (cut_off())
    return fmt::format(
        "this node stopped hearing {} of {} other nodes at once and may be the one that is cut "
        "off: check its network",
        fallen_.size(), fallen_.size() + heard_.size());
  if (others_ > 0 && heard_.empty())
    return "this node hears no other node of its config: check its network, and whether they run";
  return {};
}

}  // namespace troupe
