#include "model/tokenizer.h"

#include <algorithm>
#include <utility>

#include "config/limits.h"
#include "model/text/byte_bpe.h"
#include "model/text/oracle_tokenizer.h"
#include "model/text/spm_bpe.h"
#include "model/text/unicode.h"

namespace troupe {

namespace {

Result<void> check(const TokenizerSpec& spec) {
  const auto bad = [](std::string what) {
    return fail(ErrorCode::data_loss,
                std::move(what) + ": the model's tokenizer is damaged, fetch the file again");
  };
  if (spec.tokens.empty()) return bad("the vocabulary is empty");
  if (spec.tokens.size() > static_cast<size_t>(kVocabMax))
    return bad("the vocabulary has " + std::to_string(spec.tokens.size()) + " tokens, more than " +
               std::to_string(kVocabMax));
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    if (spec.tokens[i].text.size() > kTokenTextBytesMax)
      return bad("token " + std::to_string(i) + " is " +
                 std::to_string(spec.tokens[i].text.size()) + " bytes long, more than " +
                 std::to_string(kTokenTextBytesMax));
  const auto in_range = [&](TokenId id) {
    return id.value >= 0 && static_cast<size_t>(id.value) < spec.tokens.size();
  };
  const auto outside = [&](std::string_view name, TokenId id) {
    return bad("the " + std::string(name) + " id " + std::to_string(id.value) +
               " is outside the vocabulary of " + std::to_string(spec.tokens.size()));
  };
  const std::pair<std::string_view, std::optional<TokenId>> named[] = {
      {"bos", spec.bos}, {"eos", spec.eos}, {"unk", spec.unk}, {"pad", spec.pad}};
  for (const auto& [name, id] : named)
    if (id && !in_range(*id)) return outside(name, *id);
  for (const TokenId id : spec.end_of_generation)
    if (!in_range(id)) return outside("end-of-generation", id);
  for (const AddedToken& token : spec.added) {
    if (!in_range(token.id)) return outside("added token", token.id);
    if (token.text.size() > kTokenTextBytesMax)
      return bad("added token " + std::to_string(token.id.value) + " is longer than " +
                 std::to_string(kTokenTextBytesMax) + " bytes");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::make(TokenizerSpec spec) {
  if (auto ok = check(spec); !ok) return std::unexpected(std::move(ok.error()));
  switch (spec.kind) {
    case TokenizerKind::byte_bpe:
      return make_byte_bpe(std::move(spec));
    case TokenizerKind::spm_bpe:
      return make_spm_bpe(std::move(spec));
    case TokenizerKind::oracle:
      return make_oracle_tokenizer(std::move(spec));
  }
  return fail(ErrorCode::unsupported,
              "the tokenizer's kind is not known: use a byte-level or SentencePiece BPE model");
}

std::vector<TokenId> Tokenizer::with_bos_eos(std::vector<TokenId> tokens) const {
  const TokenizerSpec& s = spec();
  if (s.add_bos && s.bos && (tokens.empty() || tokens.front() != *s.bos))
    tokens.insert(tokens.begin(), *s.bos);
  if (s.add_eos && s.eos && (tokens.empty() || tokens.back() != *s.eos)) tokens.push_back(*s.eos);
  return tokens;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens) const {
  LossyUtf8 lossy;
  std::string out;
  for (const TokenId token : tokens) lossy.push(bytes_of(token), out);
  lossy.finish(out);
  if (spec().add_space_prefix && out.starts_with(' ')) out.erase(0, 1);
  return out;
}

bool Tokenizer::ends_generation(TokenId token) const {
  const TokenizerSpec& s = spec();
  return token == s.eos ||
         std::ranges::find(s.end_of_generation, token) != s.end_of_generation.end();
}

}  // namespace troupe
