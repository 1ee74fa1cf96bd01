#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/text/pattern.h"

#include <pcre2.h>

#include <array>

namespace troupe {

namespace {

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

/// One a thread: a match needs room for one pair of offsets, whatever the pattern.
pcre2_match_data* match_data() {
  thread_local const std::unique_ptr<pcre2_match_data, FreeMatch> data(
      pcre2_match_data_create(1, nullptr));
  return data.get();
}

std::string in_pcre2_dialect(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's')
      out += R"(\p{White_Space})";
    else if (escaped == 'S')
      out += R"(\P{White_Space})";
    else
      out.append({'\\', escaped});
  }
  return out;
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

void Pattern::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Result<Pattern> Pattern::compile(const std::string& pattern) {
  const std::string ours = in_pcre2_dialect(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Pattern out;
  out.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(ours.data()), ours.size(),
                                PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                nullptr));
  if (!out.code_)
    return fail(ErrorCode::data_loss,
                "the tokenizer's split pattern \"" + pattern.substr(0, 200) +
                    "\" is not understood (" + message_of(error) +
                    "): use a model whose tokenizer has a PCRE-compatible pattern");
  // Without JIT (a kernel that forbids writable code) matching still works, only slower.
  pcre2_jit_compile(out.code_.get(), PCRE2_JIT_COMPLETE);
  return out;
}

void Pattern::split(std::string_view text, std::vector<std::string_view>& out) const {
  pcre2_match_data* data = match_data();
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data);
  size_t done = 0, from = 0;
  while (from < text.size()) {
    const int rc = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                               from, PCRE2_NO_UTF_CHECK, data, nullptr);
    if (rc < 0) break;
    const size_t begin = offsets[0], end = offsets[1];
    if (begin < done ||
        end <= begin) {  // an empty match (or one moved by \K): step over one character
      ++from;
      while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xC0) == 0x80) ++from;
      continue;
    }
    if (begin > done) out.push_back(text.substr(done, begin - done));
    out.push_back(text.substr(begin, end - begin));
    done = from = end;
  }
  if (done < text.size()) out.push_back(text.substr(done));
}

}  // namespace troupe
