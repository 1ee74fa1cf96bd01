#include "model/text/text_splitter.h"

#include <algorithm>
#include <utility>

#include "model/text/unicode.h"

namespace troupe {

namespace {

std::vector<AddedToken> pick(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedToken> out;
  for (const AddedToken& token : spec.added) {
    if (token.normalized != normalized) continue;
    out.push_back(token);
    std::string storage;
    if (normalized && spec.nfc && valid_prefix(token.text) == token.text.size())
      out.back().text = std::string(to_nfc(token.text, storage));
  }
  return out;
}

std::vector<std::string_view> texts_of(const std::vector<AddedToken>& tokens) {
  std::vector<std::string_view> out;
  for (const AddedToken& token : tokens) out.emplace_back(token.text);
  return out;
}

/// Start of the last character of `text[0, end)`.
size_t last_char(std::string_view text, size_t end) {
  size_t i = end - 1;
  while (i > 0 && end - i < 4 && (static_cast<uint8_t>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

size_t white_space_before(std::string_view text, size_t end, size_t floor) {
  while (end > floor) {
    const size_t begin = last_char(text, end);
    if (begin < floor || !is_white_space(first_char(text.substr(begin)).code)) break;
    end = begin;
  }
  return end;
}

size_t white_space_after(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Utf8Char c = first_char(text.substr(begin));
    if (!is_white_space(c.code)) break;
    begin += c.bytes;
  }
  return begin;
}

bool within_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && is_word(first_char(text.substr(last_char(text, begin))).code)) ||
         (end < text.size() && is_word(first_char(text.substr(end)).code));
}

}  // namespace

TextSplitter::Set::Set(std::vector<AddedToken> of)
    : tokens(std::move(of)), trie(texts_of(tokens)) {}

void TextSplitter::Set::split(std::string_view text, SpecialText special,
                              std::vector<Segment>& out) const {
  size_t done = 0, from = 0;
  while (const auto match = trie.find(text, from)) {
    from = match->end;
    const AddedToken& token = tokens[match->which];
    if (token.special && special == SpecialText::plain) continue;
    if (token.single_word && within_word(text, match->begin, match->end)) continue;
    size_t begin = std::max(match->begin, done), end = match->end;
    if (token.lstrip) begin = white_space_before(text, begin, done);
    if (token.rstrip) end = white_space_after(text, end);
    if (begin > done) out.push_back({Segment::Kind::text, text.substr(done, begin - done), {}});
    out.push_back({Segment::Kind::token, text.substr(begin, end - begin), token.id});
    done = end;
    from = std::max(from, done);
  }
  if (done < text.size()) out.push_back({Segment::Kind::text, text.substr(done), {}});
}

TextSplitter::TextSplitter(const TokenizerSpec& spec)
    : raw_(pick(spec, false)), normalized_(pick(spec, true)), nfc_(spec.nfc) {}

std::vector<Segment> TextSplitter::split(std::string_view text, SpecialText special,
                                         std::deque<std::string>& storage) const {
  std::vector<Segment> raw, out;
  while (!text.empty()) {
    const size_t valid = valid_prefix(text);
    raw_.split(text.substr(0, valid), special, raw);
    text.remove_prefix(valid);
    size_t invalid = 0;
    while (invalid < text.size()) {
      const Utf8Char c = first_char(text.substr(invalid));
      if (c.valid) break;
      invalid += c.bytes;
    }
    if (invalid > 0) raw.push_back({Segment::Kind::bytes, text.substr(0, invalid), {}});
    text.remove_prefix(invalid);
  }
  for (const Segment& segment : raw) {
    if (segment.kind != Segment::Kind::text) {
      out.push_back(segment);
      continue;
    }
    std::string_view normal = segment.text;
    if (nfc_) {
      std::string changed;
      normal = to_nfc(segment.text, changed);
      if (normal.data() != segment.text.data()) normal = storage.emplace_back(std::move(changed));
    }
    normalized_.split(normal, special, out);
  }
  return out;
}

}  // namespace troupe
