// A peer's first bytes, and a link's answer: any bytes are refused or mean one thing, whose bytes
// they are.
#include <algorithm>
#include <cstdlib>

#include "net/link_preamble.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  const auto preamble = troupe::decode_preamble(bytes);
  if (preamble && !std::ranges::equal(troupe::encode_preamble(*preamble), bytes)) std::abort();
  if (size >= troupe::kLinkHeadBytes) {
    const auto length = troupe::preamble_size(bytes.first<troupe::kLinkHeadBytes>());
    if (length && *length > troupe::kLinkPreambleBytesMax) std::abort();
    if (preamble && (!length || *length != size)) std::abort();
  }
  if (size == troupe::kLinkAnswerBytes) {
    const auto answer = troupe::decode_answer(bytes.first<troupe::kLinkAnswerBytes>());
    if (answer && !std::ranges::equal(troupe::encode_answer(*answer), bytes)) std::abort();
  }
  return 0;
}
