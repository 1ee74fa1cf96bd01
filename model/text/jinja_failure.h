// How parsing and rendering give up: thrown inside model/text/ only, and turned into a Result at
// the edge of ChatTemplate, so that the interpreter's forty small functions need no error plumbing.
#pragma once

#include <string>
#include <utility>

#include "config/result.h"

namespace troupe::jinja {

struct Failure {
  ErrorCode code = ErrorCode::invalid_argument;
  std::string message;  ///< without the line
  int line = 0;         ///< 1-based, 0 if not known
};

[[noreturn]] inline void give_up(std::string message, int line = 0) {
  throw Failure{ErrorCode::invalid_argument, std::move(message), line};
}
[[noreturn]] inline void give_up_unsupported(std::string message, int line = 0) {
  throw Failure{ErrorCode::unsupported, std::move(message), line};
}
[[noreturn]] inline void give_up_too_large(std::string message, int line = 0) {
  throw Failure{ErrorCode::too_large, std::move(message), line};
}

}  // namespace troupe::jinja
