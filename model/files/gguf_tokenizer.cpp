#include "model/files/gguf_tokenizer.h"

#include <fmt/format.h>

#include <array>

#include "config/limits.h"
#include "model/files/end_of_generation.h"
#include "model/in_quotes.h"
#include "model/pre_split.h"

namespace troupe {

namespace {

std::unexpected<Error> broken(const std::string& name, const std::string& what) {
  return fail(ErrorCode::data_loss,
              fmt::format("{}: {}; use another file of the model.", name, what));
}

/// GGUF's numbers: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
std::optional<TokenType> token_type(int64_t number) {
  constexpr std::array kTypes = {TokenType::normal,       TokenType::unknown, TokenType::control,
                                 TokenType::user_defined, TokenType::unused,  TokenType::byte};
  if (number < 1 || number > static_cast<int64_t>(kTypes.size())) return std::nullopt;
  return kTypes[static_cast<size_t>(number - 1)];
}

Result<void> read_tokens(const GgufFile& file, const std::string& name, TokenizerSpec& spec) {
  const auto* texts = file.texts("tokenizer.ggml.tokens");
  if (!texts || texts->empty()) return broken(name, "metadata 'tokenizer.ggml.tokens' is missing");
  if (texts->size() > static_cast<size_t>(kVocabMax))
    return fail(ErrorCode::too_large,
                fmt::format("{}: the vocabulary has {} tokens, the limit is {}.", name,
                            texts->size(), kVocabMax));
  const auto* types = file.integers("tokenizer.ggml.token_type");
  const auto* scores = file.numbers("tokenizer.ggml.scores");
  if (types && types->size() != texts->size())
    return broken(name, "the vocabulary has another number of types than of tokens");
  if (scores && scores->size() != texts->size())
    return broken(name, "the vocabulary has another number of scores than of tokens");
  if (!scores && spec.kind == TokenizerKind::spm_bpe)
    return broken(name, "metadata 'tokenizer.ggml.scores' is missing");
  spec.tokens.reserve(texts->size());
  for (size_t i = 0; i < texts->size(); ++i) {
    const auto type = types ? token_type((*types)[i]) : TokenType::normal;
    if (!type) return broken(name, fmt::format("token {} has an unknown type", i));
    TokenEntry entry{(*texts)[i], *type, scores ? static_cast<float>((*scores)[i]) : 0.0f};
    const bool special = *type == TokenType::control || *type == TokenType::unknown;
    if ((special || *type == TokenType::user_defined) && !entry.text.empty())
      spec.added.push_back(
          {.id = TokenId(static_cast<int32_t>(i)), .text = entry.text, .special = special});
    spec.tokens.push_back(std::move(entry));
  }
  return {};
}

Result<void> read_merges(const GgufFile& file, const std::string& name, TokenizerSpec& spec) {
  const auto* merges = file.texts("tokenizer.ggml.merges");
  if (!merges) return broken(name, "metadata 'tokenizer.ggml.merges' is missing");
  spec.merges.reserve(merges->size());
  for (const std::string& merge : *merges) {
    const size_t space = merge.find(' ', 1);  // a part is never empty, so not at 0
    if (space == std::string::npos || space + 1 == merge.size())
      return broken(name, fmt::format("merge {} has not two parts", in_quotes(merge)));
    spec.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return {};
}

Result<std::optional<TokenId>> read_id(const GgufFile& file, const std::string& name,
                                       const char* key, size_t vocab) {
  const std::string at = fmt::format("tokenizer.ggml.{}", key);
  if (!file.metadata.contains(at)) return std::nullopt;
  const auto id = file.integer(at);
  // Converters write -1 or 0xffffffff for "none".
  if (id && (*id == -1 || *id == UINT32_MAX)) return std::nullopt;
  if (!id || *id < 0 || static_cast<uint64_t>(*id) >= vocab)
    return broken(name, fmt::format("metadata {} is not the id of a token", in_quotes(at)));
  return TokenId(static_cast<int32_t>(*id));
}

Result<void> read_special_ids(const GgufFile& file, const std::string& name, TokenizerSpec& spec) {
  struct Field {
    const char* key;
    std::optional<TokenId>* to;
  };
  std::optional<TokenId> end_of_turn, end_of_message;
  const Field fields[] = {{"bos_token_id", &spec.bos},     {"eos_token_id", &spec.eos},
                          {"unknown_token_id", &spec.unk}, {"padding_token_id", &spec.pad},
                          {"eot_token_id", &end_of_turn},  {"eom_token_id", &end_of_message}};
  for (const Field& field : fields) {
    const auto id = read_id(file, name, field.key, spec.tokens.size());
    if (!id) return std::unexpected(id.error());
    *field.to = *id;
  }
  std::vector<int64_t> ends;
  for (const auto& id : {end_of_turn, end_of_message})
    if (id) ends.push_back(id->value);
  fill_end_of_generation(spec, ends);
  return {};
}

}  // namespace

Result<TokenizerSpec> tokenizer_from_gguf(const GgufFile& file, const std::string& name) {
  const auto* model = file.text("tokenizer.ggml.model");
  if (!model) return broken(name, "metadata 'tokenizer.ggml.model' is missing");
  TokenizerSpec spec;
  if (*model == "llama") {
    spec.kind = TokenizerKind::spm_bpe;
    spec.pre = "llama-spm";
    spec.merges_by_rank = false;
    spec.byte_fallback = true;
    spec.add_space_prefix = true;
    spec.add_bos = true;
  } else if (*model == "gpt2") {
    const auto* pre = file.text("tokenizer.ggml.pre");
    spec.pre = pre ? *pre : "default";
    auto patterns = pre_split_patterns(spec.pre);
    if (!patterns)
      return fail(ErrorCode::unsupported,
                  fmt::format("{}: the tokenizer's pre-split {} is not supported.", name,
                              in_quotes(spec.pre)));
    spec.pre_split = std::move(*patterns);
    // The files don't say these; adding a BOS goes with Llama 3's family too.
    spec.nfc = pre_split_normalizes(spec.pre);
    spec.ignore_merges = spec.add_bos = pre_split_ignores_merges(spec.pre);
  } else {
    return fail(ErrorCode::unsupported,
                fmt::format("{}: tokenizer kind {} is not supported, only gpt2 and llama.", name,
                            in_quotes(*model)));
  }
  if (auto ok = read_tokens(file, name, spec); !ok) return std::unexpected(ok.error());
  if (spec.kind == TokenizerKind::byte_bpe)
    if (auto ok = read_merges(file, name, spec); !ok) return std::unexpected(ok.error());
  if (auto ok = read_special_ids(file, name, spec); !ok) return std::unexpected(ok.error());
  spec.add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or(spec.add_bos) && spec.bos;
  spec.add_eos = file.boolean("tokenizer.ggml.add_eos_token").value_or(false) && spec.eos;
  spec.add_space_prefix =
      file.boolean("tokenizer.ggml.add_space_prefix").value_or(spec.add_space_prefix);
  return spec;
}

}  // namespace troupe
