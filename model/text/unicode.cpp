#include "model/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "config/check.h"

namespace troupe {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Lead {
  uint8_t bytes;  ///< 0: not a lead byte
  uint8_t low = 0x80,
          high = 0xBF;  ///< range of the second byte (excludes overlong forms and surrogates)
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

/// Never true of text that normalisation form C would change; may be false of text that it would
/// not.
bool surely_nfc(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<uint8_t>(text[i]) <
        0xCC) {  // below U+0300 nothing combines with what stands before it
      ++i;
      continue;
    }
    const Utf8Char c = first_char(text.substr(i));
    i += c.bytes;
    if (c.code >= 0x4E00 && c.code <= 0x9FFF) continue;  // unified ideographs
    if (c.code >= 0xAC00 && c.code <= 0xD7A3) continue;  // Hangul syllables
    if (c.code >= 0x1100 && c.code <= 0x11FF)
      return false;  // jamo compose by arithmetic, not by table
    const utf8proc_property_t* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c.code));
    const bool canonical = p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0;
    if (p->combining_class != 0 || canonical || p->comb_index != UINT16_MAX) return false;
  }
  return true;
}

constexpr auto kNfcOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

std::vector<utf8proc_int32_t> decomposed(std::string_view text) {
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  while (!text.empty()) {
    const Utf8Char c = first_char(text);
    text.remove_prefix(c.bytes);
    std::array<utf8proc_int32_t, 32> parts;  // the longest canonical decomposition has 4 characters
    int boundary = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts.data(),
                                           parts.size(), kNfcOptions, &boundary);
    TROUPE_CHECK(n >= 0 && n <= static_cast<utf8proc_ssize_t>(parts.size()), n);
    codes.insert(codes.end(), parts.begin(), parts.begin() + n);
  }
  return codes;
}

/// Canonical ordering: each run of combining marks sorted by class, equal ones in the order they
/// came. utf8proc's own is quadratic, so that a message of nothing but marks would hold up a
/// router.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  struct Mark {
    uint64_t order;  ///< class << 32 | place in the run
    utf8proc_int32_t code;
  };
  std::vector<Mark> run;
  const auto class_of = [&](size_t i) {
    return static_cast<uint64_t>(utf8proc_get_property(codes[i])->combining_class);
  };
  for (size_t i = 0; i < codes.size(); ++i) {
    run.clear();
    const size_t begin = i;
    for (; i < codes.size() && class_of(i) != 0; ++i)
      run.push_back({class_of(i) << 32 | run.size(), codes[i]});
    if (run.size() < 2) continue;
    std::ranges::sort(run, {}, &Mark::order);
    for (size_t k = 0; k < run.size(); ++k) codes[begin + k] = run[k].code;
  }
}

}  // namespace

Utf8Char first_char(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const Lead lead = lead_of(byte(0));
  if (lead.bytes == 1) return {byte(0), 1, true};
  if (lead.bytes == 0) return {0, 1, false};
  char32_t code = byte(0) & (0xFFu >> (lead.bytes + 1));
  for (uint8_t i = 1; i < lead.bytes; ++i) {
    if (i == text.size()) return {0, i, false, true};
    const uint8_t low = i == 1 ? lead.low : 0x80, high = i == 1 ? lead.high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {0, i, false};
    code = (code << 6) | (byte(i) & 0x3Fu);
  }
  return {code, lead.bytes, true};
}

size_t valid_prefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    while (i + 8 <= text.size()) {  // eight ASCII bytes at a time
      uint64_t word;
      std::memcpy(&word, text.data() + i, 8);
      if (word & 0x8080808080808080u) break;
      i += 8;
    }
    if (i == text.size()) break;
    const Utf8Char c = first_char(text.substr(i));
    if (!c.valid) break;
    i += c.bytes;
  }
  return i;
}

void append_utf8(std::string& out, char32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;  // joiners
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

std::string_view to_nfc(std::string_view text, std::string& storage) {
  if (surely_nfc(text)) return text;
  std::vector<utf8proc_int32_t> codes = decomposed(text);
  order_marks(codes);
  const auto n = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                          kNfcOptions);
  TROUPE_CHECK(n >= 0, n);
  storage.clear();
  for (utf8proc_ssize_t i = 0; i < n; ++i)
    append_utf8(storage, static_cast<char32_t>(codes[static_cast<size_t>(i)]));
  return storage;
}

void LossyUtf8::push(std::string_view bytes, std::string& out) {
  waiting_ += bytes;
  std::string_view rest = waiting_;
  while (!rest.empty()) {
    const size_t valid = valid_prefix(rest);
    out += rest.substr(0, valid);
    rest.remove_prefix(valid);
    if (rest.empty()) break;
    const Utf8Char bad = first_char(rest);
    if (bad.cut_off) break;
    out += kReplacement;
    rest.remove_prefix(bad.bytes);
  }
  waiting_.erase(0, waiting_.size() - rest.size());
}

void LossyUtf8::finish(std::string& out) {
  if (!waiting_.empty()) out += kReplacement;
  waiting_.clear();
}

}  // namespace troupe
