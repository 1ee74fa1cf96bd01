#include "model/text/oracle_tokenizer.h"

#include <utility>

#include "model/text/token_trie.h"

namespace troupe {

namespace {

std::vector<std::string_view> texts_of(const TokenizerSpec& spec) {
  std::vector<std::string_view> out;
  for (const TokenEntry& token : spec.tokens)
    out.push_back(token.type == TokenType::control ? std::string_view{}
                                                   : std::string_view(token.text));
  return out;
}

class OracleTokenizer final : public Tokenizer {
 public:
  explicit OracleTokenizer(TokenizerSpec spec) : spec_(std::move(spec)), trie_(texts_of(spec_)) {}

  // There is no special text: control tokens can't be written.
  std::vector<TokenId> encode(std::string_view text, SpecialText) const override {
    std::vector<TokenId> out;
    for (size_t at = 0; at < text.size();) {
      const auto match = trie_.find(text, at);
      out.emplace_back(static_cast<int32_t>(
          match->which));  // every byte is a token: there is a match right here
      at = match->end;
    }
    return out;
  }

  std::string_view bytes_of(TokenId token) const override {
    if (token.value < 0 || token.value >= vocab()) return {};
    const TokenEntry& entry = spec_.tokens[static_cast<size_t>(token.value)];
    return entry.type == TokenType::control ? std::string_view{} : std::string_view(entry.text);
  }

  const TokenizerSpec& spec() const override { return spec_; }

 private:
  const TokenizerSpec spec_;
  TokenTrie trie_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_oracle_tokenizer(TokenizerSpec spec) {
  std::array<bool, 256> present{};
  for (const TokenEntry& token : spec.tokens)
    if (token.type != TokenType::control && token.text.size() == 1)
      present[static_cast<uint8_t>(token.text[0])] = true;
  for (size_t byte = 0; byte < present.size(); ++byte)
    if (!present[byte])
      return fail(ErrorCode::data_loss, "the oracle vocabulary has no token for byte " +
                                            std::to_string(byte) +
                                            ": use the one of oracle_tokenizer_spec()");
  return std::make_shared<OracleTokenizer>(std::move(spec));
}

}  // namespace troupe
