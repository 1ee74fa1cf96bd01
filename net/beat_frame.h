// What nodes send each other over the link's `beat` service: one frame each kBeatInterval, both
// ways on one connection. Pure.
//
//   0  4  "TRBT"
//   4  1  version (1)
//   5  1  length of the name
//   6  2  zero
//   8  8  incarnation of the node
//   16 64 its name, zeros behind it
//
// Integers are little-endian. The link has proven that some node of the config is at the other end;
// which one is said here, as in a Hello.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/ids.h"
#include "config/result.h"

namespace troupe {

inline constexpr size_t kBeatFrameBytes = 80;
inline constexpr uint8_t kBeatVersion = 1;

struct NodeBeat {
  std::string node;
  Incarnation incarnation;
  bool operator==(const NodeBeat&) const = default;
};

/// A name that is no node's name aborts.
std::array<uint8_t, kBeatFrameBytes> encode_beat(const NodeBeat& beat);
/// data_loss with a sentence.
Result<NodeBeat> decode_beat(std::span<const uint8_t, kBeatFrameBytes> frame);

/// Beats out of a byte stream, however it is cut. After an error the stream is of no use.
class BeatReader {
 public:
  Result<void> read(std::span<const uint8_t> bytes, std::vector<NodeBeat>& out);

 private:
  std::array<uint8_t, kBeatFrameBytes> frame_{};
  size_t filled_ = 0;
};

}  // namespace troupe
