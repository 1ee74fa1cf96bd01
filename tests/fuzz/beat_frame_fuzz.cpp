// A stream of beats from another node: any bytes are refused or are the beats they say, and how the
// stream is cut changes nothing.
#include <algorithm>
#include <cstdlib>

#include "net/beat_frame.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  troupe::BeatReader whole, cut;
  std::vector<troupe::NodeBeat> at_once, by_and_by;
  const bool good = whole.read(bytes, at_once).has_value();
  bool still_good = true;
  for (size_t at = 0; at < size && still_good; at += 7)
    still_good = cut.read(bytes.subspan(at, std::min<size_t>(7, size - at)), by_and_by).has_value();
  if (good != still_good || at_once != by_and_by) std::abort();
  for (size_t i = 0; i < at_once.size(); ++i) {
    const auto frame = troupe::encode_beat(at_once[i]);
    if (!std::ranges::equal(frame, bytes.subspan(i * frame.size(), frame.size()))) std::abort();
  }
  return 0;
}
