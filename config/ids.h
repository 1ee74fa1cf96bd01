// Ids as distinct types: a BlockId can't be passed where a SlotId is meant. Each wraps one integer;
// `.value` is the integer. Ordered, hashable, printable.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

namespace troupe {

template <class Tag, class Rep>
struct Id {
  Rep value{};

  constexpr Id() = default;
  constexpr explicit Id(Rep v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
  /// The id after this one; epochs and counters only grow.
  [[nodiscard]] constexpr Id next() const { return Id(static_cast<Rep>(value + 1)); }
  friend std::ostream& operator<<(std::ostream& out, Id id) { return out << +id.value; }
};

using Term = Id<struct TermTag, uint64_t>;                          ///< of an elected leader
using PlacementVersion = Id<struct PlacementVersionTag, uint64_t>;  ///< of the desired placement
using Generation = Id<struct GenerationTag, uint32_t>;    ///< of a group's communicator and KV
using OwnerEpoch = Id<struct OwnerEpochTag, uint32_t>;    ///< who owns a stream
using Attempt = Id<struct AttemptTag, uint32_t>;          ///< nth placement of a request on a group
using Incarnation = Id<struct IncarnationTag, uint64_t>;  ///< of a process; random, never reused
using StepId = Id<struct StepIdTag, uint64_t>;            ///< of a step within a generation
using SlotId = Id<struct SlotIdTag, int32_t>;             ///< sampler state of a running sequence
using BlockId = Id<struct BlockIdTag, int32_t>;           ///< KV block within a rank group
using TokenId = Id<struct TokenIdTag, int32_t>;           ///< row of the vocabulary
using GroupId = Id<struct GroupIdTag, uint32_t>;  ///< dense over the groups of a cluster config

/// 128 random bits, made by the router that accepted the request; printed as 32 hex digits.
struct RequestId {
  uint64_t high = 0, low = 0;
  constexpr auto operator<=>(const RequestId&) const = default;
};
std::string to_string(RequestId id);
std::ostream& operator<<(std::ostream& out, RequestId id);

/// One placement of a request on a group. Boot makes attempts of a restarted router distinct from
/// those of its former life (a prototype simulation found that trap at seed 2,828).
struct AttemptId {
  Incarnation boot;  ///< of the router process that placed it
  OwnerEpoch owner;
  Attempt counter;
  constexpr auto operator<=>(const AttemptId&) const = default;
};
std::ostream& operator<<(std::ostream& out, const AttemptId& id);

/// SHA-256.
using Digest = std::array<uint8_t, 32>;
std::string to_hex(const Digest& digest);

/// Keys hashes per tenant; zero when there are no API keys.
using Salt = std::array<uint8_t, 16>;

}  // namespace troupe

template <class Tag, class Rep>
struct std::hash<troupe::Id<Tag, Rep>> {
  size_t operator()(troupe::Id<Tag, Rep> id) const noexcept { return std::hash<Rep>{}(id.value); }
};
template <>
struct std::hash<troupe::RequestId> {
  size_t operator()(troupe::RequestId id) const noexcept {
    return id.low ^ (id.high * 0x9e3779b97f4a7c15u);
  }
};
