// The first bytes on each connection between links, inside TLS: who dials, and which process it
// wants. Pure. The acceptor answers with a verdict; then both sides splice bytes.
//
//   preamble                               answer
//   0  4  "TRLK"                           0  4  "TRLA"
//   4  1  version (1)                      4  1  version (1)
//   5  1  zero                             5  1  verdict: 0 accepted, else a LinkRefusal
//   6  2  length of all of it              6  2  zero
//   8  8  incarnation of the dialing link
//   16 32 binding
//   48    three names, each a length byte and its characters: source node, source process, target
//
// Integers are little-endian. `binding` is keying material of this very TLS connection (RFC 5705,
// label kLinkBindingLabel): a preamble that was recorded and sent again on another connection does
// not fit it, so nothing has to be remembered. 0-RTT, the only replay TLS 1.3 itself allows, is
// off.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"
#include "net/link_stats.h"

namespace troupe {

inline constexpr uint8_t kLinkVersion = 1;
inline constexpr size_t kLinkHeadBytes = 8;  ///< enough to know how long a preamble is
inline constexpr size_t kLinkAnswerBytes = 8;
inline constexpr char kLinkBindingLabel[] = "EXPORTER-troupe-link-preamble";

struct LinkPreamble {
  Incarnation incarnation;  ///< of the dialing link process
  std::array<uint8_t, 32> binding{};
  std::string source_node, source_process, target_process;
  bool operator==(const LinkPreamble&) const = default;
};

/// 1 to kLinkNameBytesMax bytes of [A-Za-z0-9._/-].
bool is_link_name(std::string_view name);

/// Names that are no link names abort.
std::vector<uint8_t> encode_preamble(const LinkPreamble& preamble);
/// Length of the preamble that begins with these bytes; data_loss if it can't be one.
Result<size_t> preamble_size(std::span<const uint8_t, kLinkHeadBytes> head);
/// All of it, nothing more; data_loss with a sentence.
Result<LinkPreamble> decode_preamble(std::span<const uint8_t> bytes);

/// nullopt: accepted.
std::array<uint8_t, kLinkAnswerBytes> encode_answer(std::optional<LinkRefusal> refusal);
Result<std::optional<LinkRefusal>> decode_answer(std::span<const uint8_t, kLinkAnswerBytes> bytes);

}  // namespace troupe
