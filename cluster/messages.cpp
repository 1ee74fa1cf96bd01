#include "cluster/messages.h"

namespace troupe {

std::string_view name_of(Role role) {
  switch (role) {
    case Role::supervisor:
      return "supervisor";
    case Role::health:
      return "health";
    case Role::link:
      return "link";
    case Role::router:
      return "router";
    case Role::cache:
      return "cache";
    case Role::batcher:
      return "batcher";
    case Role::shard:
      return "shard";
    case Role::client:
      return "client";
  }
  return "client";
}

std::string_view name_of(GroupState state) {
  switch (state) {
    case GroupState::starting:
      return "starting";
    case GroupState::ready:
      return "ready";
    case GroupState::draining:
      return "draining";
    case GroupState::suspect:
      return "suspect";
    case GroupState::failed:
      return "failed";
    case GroupState::stopped:
      return "stopped";
  }
  return "stopped";
}

std::string_view name_of(GroupDrop drop) {
  switch (drop) {
    case GroupDrop::stale:
      return "stale";
    case GroupDrop::not_accepted:
      return "not_accepted";
    case GroupDrop::damaged:
      return "damaged";
    case GroupDrop::unexpected:
      return "unexpected";
  }
  return "unexpected";
}

}  // namespace troupe
