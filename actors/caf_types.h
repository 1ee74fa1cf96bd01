// CAF as this project uses it: one remote message type (the bytes of an Envelope) and a few local
// ones that never leave the process.
#pragma once

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "net/envelope.h"

namespace troupe {

/// The only type that crosses a process boundary.
using WireBytes = std::vector<uint8_t>;

/// Carries a value inside the process without copy or serialisation.
template <class T>
struct Local {
  std::shared_ptr<T> value;
};
template <class T>
Local<T> local(T value) {
  return {std::make_shared<T>(std::move(value))};
}

/// The shell's one timer; an older number is stale.
using tick_atom = caf::atom_constant<caf::atom("tick")>;
/// Once a second: mailbox age and reports.
using second_atom = caf::atom_constant<caf::atom("second")>;
/// End the actor now.
using quit_atom = caf::atom_constant<caf::atom("quit")>;

}  // namespace troupe

namespace caf {
template <class T>
struct allowed_unsafe_message_type<troupe::Local<T>> : std::true_type {};
}  // namespace caf
