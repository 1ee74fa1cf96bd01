// The sentence of a result that should be a value, for messages of assertions: doctest renders them
// also when the assertion holds (-s), where error() must not be asked.
#pragma once

#include <string>

#include "config/result.h"

namespace troupe::test {

template <class T>
std::string message_of(const Result<T>& result) {
  return result ? std::string() : result.error().message;
}

}  // namespace troupe::test
