#include "net/collective_frame.h"

#include <fmt/format.h>

namespace troupe {

namespace {

std::string name_of(const FrameHeader& header) {
  switch (header.kind) {
    case CallKind::all_gather_v:
      return "all_gather_v";
    case CallKind::all_reduce:
      return "all_reduce";
    case CallKind::broadcast:
      return fmt::format("broadcast from rank {}", header.detail);
    case CallKind::send:
      return "send";
    case CallKind::fault:
      return "fault";
  }
  return fmt::format("call of unknown kind {}", static_cast<unsigned>(header.kind));
}

}  // namespace

std::string describe(const FrameHeader& header) {
  return fmt::format("{} of {} bytes, step {}, call {}", name_of(header), header.bytes, header.step,
                     header.seq);
}

Error divergence(const FrameHeader& got, int from, const FrameHeader& expected, int own) {
  if (got.magic != kFrameMagic)
    return {ErrorCode::data_loss,
            fmt::format("rank {} sent bytes that start no call while rank {} is in {}; start "
                        "another generation with one build on all ranks",
                        from, own, describe(expected)),
            {}};
  if (got.generation != expected.generation)
    return {ErrorCode::internal,
            fmt::format("ranks diverged: rank {} is in generation {} while rank {} is in {}; start "
                        "another generation",
                        from, got.generation, own, expected.generation),
            {}};
  return {ErrorCode::internal,
          fmt::format(
              "ranks diverged: rank {} is in {} while rank {} is in {}; start another generation",
              from, describe(got), own, describe(expected)),
          {}};
}

Error fault_from(uint16_t code, std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  const bool known = code <= static_cast<uint16_t>(ErrorCode::internal);
  return {known ? static_cast<ErrorCode>(code) : ErrorCode::internal, std::move(text), {}};
}

}  // namespace troupe
