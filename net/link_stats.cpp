#include "net/link_stats.h"

#include <fmt/format.h>

namespace troupe {

namespace {

std::string sum_up(std::string_view what, const std::array<uint64_t, kLinkRefusals>& before,
                   const std::array<uint64_t, kLinkRefusals>& now, const std::string& last) {
  uint64_t total = 0;
  std::string parts;
  for (size_t i = 0; i < kLinkRefusals; ++i) {
    const uint64_t count = now[i] - before[i];
    if (count == 0) continue;
    total += count;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", count,
                         name_of(static_cast<LinkRefusal>(i)));
  }
  if (total == 0) return {};
  return fmt::format("{} ({}; last {})", fmt::format(fmt::runtime(what), total), parts, last);
}

}  // namespace

std::string_view name_of(LinkRefusal refusal) {
  switch (refusal) {
    case LinkRefusal::crowded:
      return "crowded";
    case LinkRefusal::too_slow:
      return "too_slow";
    case LinkRefusal::hung_up:
      return "hung_up";
    case LinkRefusal::not_tls:
      return "not_tls";
    case LinkRefusal::old_tls:
      return "old_tls";
    case LinkRefusal::no_certificate:
      return "no_certificate";
    case LinkRefusal::untrusted:
      return "untrusted";
    case LinkRefusal::expired:
      return "expired";
    case LinkRefusal::foreign_node:
      return "foreign_node";
    case LinkRefusal::no_service:
      return "no_service";
    case LinkRefusal::bad_preamble:
      return "bad_preamble";
    case LinkRefusal::wrong_source:
      return "wrong_source";
    case LinkRefusal::replayed:
      return "replayed";
    case LinkRefusal::unknown_target:
      return "unknown_target";
    case LinkRefusal::target_down:
      return "target_down";
    case LinkRefusal::too_many_streams:
      return "too_many_streams";
    case LinkRefusal::unreachable:
      return "unreachable";
    case LinkRefusal::wrong_node:
      return "wrong_node";
    case LinkRefusal::refused_there:
      return "refused_there";
  }
  return "refused_there";
}

std::string refusals_between(const LinkStats& before, const LinkStats& now) {
  const std::string in =
      sum_up("refused {} connections", before.refused, now.refused, now.last_refused);
  const std::string out = sum_up("{} dials failed", before.failed, now.failed, now.last_failed);
  return in + (in.empty() || out.empty() ? "" : "; ") + out;
}

}  // namespace troupe
