// Whether a process may speak here: the rules of the first message on a link, the same for nodes
// and batchers. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cluster/messages.h"
#include "config/result.h"

namespace troupe {

/// What a Hello must agree with.
struct HelloTerms {
  std::string cluster, build;
  uint32_t wire_version = 0;
  std::optional<Digest> config_digest;     ///< nullopt: a node may have its own copy of the file
  std::optional<Role> role;                ///< nullopt: any
  std::optional<Incarnation> incarnation;  ///< of the process that was started; nullopt: any
};

/// Refused (invalid_argument): a clause about the process that greets, with what to do, for the
/// logs of both sides.
Result<void> judge_hello(const Hello& hello, const HelloTerms& terms);

}  // namespace troupe
