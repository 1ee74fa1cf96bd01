#include "model/text/bpe_base.h"

namespace troupe {

TokenIndex index_tokens(const std::vector<TokenEntry>& tokens) {
  TokenIndex index;
  index.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i)
    index.insert_or_assign(tokens[i].text, TokenId(static_cast<int32_t>(i)));
  return index;
}

Result<std::vector<Merges::Rule>> rules_by_rank(const TokenizerSpec& spec,
                                                const TokenIndex& index) {
  std::vector<Merges::Rule> rules;
  rules.reserve(spec.merges.size());
  for (const auto& [left, right] : spec.merges) {
    const auto l = index.find(left), r = index.find(right), both = index.find(left + right);
    if (l == index.end() || r == index.end() || both == index.end())
      return fail(ErrorCode::data_loss,
                  "merge " + std::to_string(rules.size()) + " of the tokenizer (\"" +
                      left.substr(0, 64) + "\" + \"" + right.substr(0, 64) +
                      "\") names a text that is not in the vocabulary: the file is damaged, "
                      "fetch it again");
    rules.push_back({l->second, r->second, both->second});
  }
  return rules;
}

void TokenBytes::add(std::string_view bytes) {
  block_ += bytes;
  ends_.push_back(block_.size());
}

std::string_view TokenBytes::of(TokenId token) const {
  if (token.value < 0 || static_cast<size_t>(token.value) >= ends_.size()) return {};
  const auto i = static_cast<size_t>(token.value);
  const size_t begin = i == 0 ? 0 : ends_[i - 1];
  return std::string_view(block_).substr(begin, ends_[i] - begin);
}

std::vector<TokenId> BpeBase::encode(std::string_view text, SpecialText special) const {
  std::deque<std::string> storage;
  std::vector<TokenId> out;
  out.reserve(text.size() / 4 + 1);
  for (const Segment& segment : splitter_.split(text, special, storage)) {
    switch (segment.kind) {
      case Segment::Kind::token:
        out.push_back(segment.token);
        break;
      case Segment::Kind::text:
        encode_text(segment.text, out);
        break;
      case Segment::Kind::bytes:
        encode_bytes(segment.text, out);
        break;
    }
  }
  return out;
}

}  // namespace troupe
