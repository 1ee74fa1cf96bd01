// Expected failures as values. A function that can fail for a reason its caller should handle
// returns Result<T>; a broken invariant aborts (config/check.h); a failed component ends its
// process.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace troupe {

/// What kind of failure it was. The HTTP status of each is fixed in net/http_api; exit codes in
/// app/.
enum class ErrorCode : uint8_t {
  invalid_argument,   ///< the caller's input is wrong; `Error::param` names the field if there is
                      ///< one
  unauthenticated,    ///< no or wrong credentials
  permission_denied,  ///< known caller, not allowed
  not_found,          ///< unknown model, path, request or file
  conflict,           ///< locked, already exists, busy port
  too_large,          ///< over a bound of config/limits.h
  rate_limited,       ///< quota or full queue: try again later
  unavailable,        ///< no ready group, peer gone: try again later
  deadline_exceeded,  ///< the time given ran out
  cancelled,          ///< the caller went away or asked to stop
  aborted,            ///< the generation or attempt this belonged to is over
  unsupported,        ///< known, but not implemented for these values
  data_loss,          ///< corrupt or truncated bytes
  internal,           ///< a failed part; details are in the log
};

/// Short stable name, for logs and metrics labels ("invalid_argument").
std::string_view name_of(ErrorCode code);

/// A failure with one sentence for a person: what happened and what to do next.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::string param;  ///< field at fault, empty if none

  bool operator==(const Error&) const = default;
};

template <class T>
using Result = std::expected<T, Error>;

/// `return fail(ErrorCode::not_found, "...")` in any function that returns Result<T>.
[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string message,
                                                 std::string param = {}) {
  return std::unexpected(Error{code, std::move(message), std::move(param)});
}

}  // namespace troupe
