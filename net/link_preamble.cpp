#include "net/link_preamble.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "config/check.h"

namespace troupe {

static_assert(std::endian::native == std::endian::little);

namespace {

constexpr char kPreambleMagic[4] = {'T', 'R', 'L', 'K'},
               kPreambleAnswerMagic[4] = {'T', 'R', 'L', 'A'};
constexpr size_t kFixedBytes = 48;
constexpr size_t kNames = 3;
static_assert(kFixedBytes + kNames * (1 + kLinkNameBytesMax) <= kLinkPreambleBytesMax);

std::unexpected<Error> bad_preamble(std::string what) {
  return fail(ErrorCode::data_loss, "the preamble of a link is wrong: " + std::move(what));
}

}  // namespace

bool is_link_name(std::string_view name) {
  return !name.empty() && name.size() <= kLinkNameBytesMax && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
  });
}

std::vector<uint8_t> encode_preamble(const LinkPreamble& preamble) {
  std::vector<uint8_t> out(kFixedBytes);
  for (const std::string* name :
       {&preamble.source_node, &preamble.source_process, &preamble.target_process}) {
    TROUPE_CHECK(is_link_name(*name), *name);
    out.push_back(static_cast<uint8_t>(name->size()));
    out.insert(out.end(), name->begin(), name->end());
  }
  const auto size = static_cast<uint16_t>(out.size());
  std::memcpy(out.data(), kPreambleMagic, 4);
  out[4] = kLinkVersion;
  std::memcpy(out.data() + 6, &size, 2);
  std::memcpy(out.data() + 8, &preamble.incarnation.value, 8);
  std::memcpy(out.data() + 16, preamble.binding.data(), 32);
  return out;
}

Result<size_t> preamble_size(std::span<const uint8_t, kLinkHeadBytes> head) {
  if (std::memcmp(head.data(), kPreambleMagic, 4) != 0) return bad_preamble("its magic");
  if (head[4] != kLinkVersion)
    return bad_preamble(fmt::format("version {}, this is {}; run the same build on both hosts",
                                    head[4], kLinkVersion));
  if (head[5] != 0) return bad_preamble("its reserved byte is set");
  uint16_t size = 0;
  std::memcpy(&size, head.data() + 6, 2);
  if (size < kFixedBytes + 2 * kNames || size > kLinkPreambleBytesMax)
    return bad_preamble(fmt::format("a length of {} bytes", size));
  return size;
}

Result<LinkPreamble> decode_preamble(std::span<const uint8_t> bytes) {
  if (bytes.size() < kLinkHeadBytes) return bad_preamble("it is too short");
  auto size = preamble_size(bytes.first<kLinkHeadBytes>());
  if (!size) return std::unexpected(size.error());
  if (*size != bytes.size()) return bad_preamble("its length");
  LinkPreamble out;
  std::memcpy(&out.incarnation.value, bytes.data() + 8, 8);
  std::memcpy(out.binding.data(), bytes.data() + 16, 32);
  auto rest = bytes.subspan(kFixedBytes);
  for (std::string* name : {&out.source_node, &out.source_process, &out.target_process}) {
    if (rest.empty() || rest.size() - 1 < rest[0]) return bad_preamble("a name is cut off");
    name->assign(rest.begin() + 1, rest.begin() + 1 + rest[0]);
    if (!is_link_name(*name))
      return bad_preamble("a name is empty, too long or has other characters");
    rest = rest.subspan(1 + name->size());
  }
  if (!rest.empty()) return bad_preamble("bytes follow the names");
  return out;
}

std::array<uint8_t, kLinkAnswerBytes> encode_answer(std::optional<LinkRefusal> refusal) {
  std::array<uint8_t, kLinkAnswerBytes> out{};
  std::memcpy(out.data(), kPreambleAnswerMagic, 4);
  out[4] = kLinkVersion;
  out[5] = refusal ? static_cast<uint8_t>(1 + static_cast<uint8_t>(*refusal)) : 0;
  return out;
}

Result<std::optional<LinkRefusal>> decode_answer(std::span<const uint8_t, kLinkAnswerBytes> bytes) {
  if (std::memcmp(bytes.data(), kPreambleAnswerMagic, 4) != 0 || bytes[4] != kLinkVersion ||
      bytes[5] > kLinkRefusals || bytes[6] != 0 || bytes[7] != 0)
    return fail(ErrorCode::data_loss,
                "the answer of a link is wrong; run the same build on both hosts");
  if (bytes[5] == 0) return std::optional<LinkRefusal>();
  return std::optional(static_cast<LinkRefusal>(bytes[5] - 1));
}

}  // namespace troupe
