#include "net/beat_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "config/check.h"
#include "net/certs.h"

namespace troupe {

static_assert(std::endian::native == std::endian::little);

namespace {

constexpr char kBeatMagic[4] = {'T', 'R', 'B', 'T'};
constexpr size_t kHeadBytes = 16, kNameBytes = kBeatFrameBytes - kHeadBytes;

std::unexpected<Error> bad_beat(std::string what) {
  return fail(ErrorCode::data_loss, "the beat of a node is wrong: " + std::move(what));
}

}  // namespace

std::array<uint8_t, kBeatFrameBytes> encode_beat(const NodeBeat& beat) {
  TROUPE_CHECK(is_node_name(beat.node), beat.node);
  static_assert(kNameBytes == 64);  // the longest node name
  std::array<uint8_t, kBeatFrameBytes> frame{};
  std::memcpy(frame.data(), kBeatMagic, sizeof kBeatMagic);
  frame[4] = kBeatVersion;
  frame[5] = static_cast<uint8_t>(beat.node.size());
  std::memcpy(frame.data() + 8, &beat.incarnation.value, 8);
  std::ranges::copy(beat.node, frame.begin() + kHeadBytes);
  return frame;
}

Result<NodeBeat> decode_beat(std::span<const uint8_t, kBeatFrameBytes> frame) {
  if (std::memcmp(frame.data(), kBeatMagic, sizeof kBeatMagic) != 0) return bad_beat("its magic");
  if (frame[4] != kBeatVersion)
    return bad_beat(fmt::format("version {}, this is {}; run the same build on both hosts",
                                frame[4], kBeatVersion));
  if (frame[6] != 0 || frame[7] != 0) return bad_beat("its reserved bytes are set");
  const auto name = frame.subspan<kHeadBytes>();
  const size_t size = frame[5];
  NodeBeat beat;
  beat.node.assign(name.begin(), name.begin() + static_cast<ptrdiff_t>(std::min(size, kNameBytes)));
  if (size > kNameBytes || !is_node_name(beat.node))
    return bad_beat("its name is empty, too long or has other characters");
  if (!std::ranges::all_of(name.subspan(size), [](uint8_t byte) { return byte == 0; }))
    return bad_beat("bytes follow its name");
  std::memcpy(&beat.incarnation.value, frame.data() + 8, 8);
  return beat;
}

Result<void> BeatReader::read(std::span<const uint8_t> bytes, std::vector<NodeBeat>& out) {
  while (!bytes.empty()) {
    const size_t part = std::min(bytes.size(), kBeatFrameBytes - filled_);
    std::ranges::copy(bytes.first(part), frame_.begin() + static_cast<ptrdiff_t>(filled_));
    filled_ += part;
    bytes = bytes.subspan(part);
    if (filled_ < kBeatFrameBytes) break;
    filled_ = 0;
    auto beat = decode_beat(frame_);
    if (!beat) return std::unexpected(beat.error());
    out.push_back(std::move(*beat));
  }
  return {};
}

}  // namespace troupe
