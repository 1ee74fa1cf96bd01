// Envelopes from a peer: any bytes give a message or an error; a message survives another round.
#include <cstdlib>

#include "net/envelope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto got = troupe::decode(std::span(data, size));
  if (got && !troupe::decode(troupe::encode(*got))) std::abort();
  return 0;
}
