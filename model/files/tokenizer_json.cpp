#include "model/files/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "config/limits.h"
#include "model/files/end_of_generation.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

// Ids without a token are padding of the embedding; a file that claims more is hostile, not padded.
constexpr size_t kUnusedIdsMax = 65'536;

class TokenizerReader {
 public:
  TokenizerReader(JsonElement root, std::string name) : root_(root), name_(std::move(name)) {}

  Result<TokenizerSpec> read(std::optional<JsonElement> config) {
    Result<void> (TokenizerReader::*const parts[])() = {
        &TokenizerReader::steps, &TokenizerReader::vocabulary, &TokenizerReader::merges,
        &TokenizerReader::added_tokens, &TokenizerReader::names};
    for (const auto part : parts)
      if (auto ok = (this->*part)(); !ok) return std::unexpected(ok.error());
    special_ids(config);
    fill_end_of_generation(spec_, {});
    return std::move(spec_);
  }

 private:
  std::unexpected<Error> broken(ErrorCode code, const std::string& what) const {
    return fail(code, fmt::format("{}: {}; use another tokenizer.json.", name_, what));
  }
  std::unexpected<Error> broken(const std::string& what) const {
    return broken(ErrorCode::data_loss, what);
  }

  Result<void> steps() {
    const auto model = json_member(root_, "model");
    if (!model) return broken("it has no 'model'");
    model_ = *model;
    const auto type = json_text(model_, "type");  // files of the first releases leave it out
    if (!type.empty() && type != "BPE")
      return broken(ErrorCode::unsupported,
                    fmt::format("model type {} is not supported, only BPE", in_quotes(type)));
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!json_text(model_, key).empty())
        return broken(ErrorCode::unsupported,
                      fmt::format("a model with '{}' is not supported", key));
    if (json_get<double>(model_, "dropout").value_or(0) != 0)
      return broken(ErrorCode::unsupported, "a model with 'dropout' is not supported");
    if (auto ok = read_tokenizer_steps(root_, spec_); !ok)
      return broken(ok.error().code, ok.error().message);
    spec_.ignore_merges = json_get<bool>(model_, "ignore_merges").value_or(false);
    spec_.byte_fallback = json_get<bool>(model_, "byte_fallback").value_or(false);
    spec_.merges_by_rank = true;
    return {};
  }

  /// Makes room for `id`, which a file may not put far beyond the tokens it really has.
  bool reserve(int64_t id) {
    if (id < 0 || id >= kVocabMax || static_cast<size_t>(id) >= listed_ + kUnusedIdsMax)
      return false;
    if (spec_.tokens.size() <= static_cast<size_t>(id))
      spec_.tokens.resize(static_cast<size_t>(id) + 1, TokenEntry{"", TokenType::unused, 0});
    return true;
  }

  TokenEntry& entry(int64_t id) { return spec_.tokens[static_cast<size_t>(id)]; }

  Result<void> vocabulary() {
    const auto vocab = json_get<simdjson::dom::object>(model_, "vocab");
    if (!vocab) return broken("its model has no 'vocab'");
    listed_ = vocab->size();
    for (const auto& [text, value] : *vocab) {
      int64_t id = 0;
      if (value.get(id) != simdjson::SUCCESS || !reserve(id))
        return broken(fmt::format("token {} has an impossible id", in_quotes(text)));
      if (entry(id).type != TokenType::unused)
        return broken(fmt::format("id {} belongs to two tokens", id));
      const bool byte =
          spec_.byte_fallback && text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
      entry(id) = TokenEntry{std::string(text), byte ? TokenType::byte : TokenType::normal, 0};
      ids_.emplace(text, id);
    }
    if (spec_.tokens.empty()) return broken("its vocabulary is empty");
    return {};
  }

  Result<void> merges() {
    const auto merges = json_get<simdjson::dom::array>(model_, "merges");
    if (!merges) return broken("its model has no 'merges'");
    for (const JsonElement merge : *merges) {
      std::string_view text, left, right;
      simdjson::dom::array pair;
      if (merge.get(text) == simdjson::SUCCESS) {  // "left right"; a part is never empty
        const size_t space = text.find(' ', 1);
        if (space != std::string_view::npos) {
          left = text.substr(0, space);
          right = text.substr(space + 1);
        }
      } else if (merge.get(pair) == simdjson::SUCCESS && pair.size() == 2) {
        if (pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS)
          left = right = {};
      }
      if (left.empty() || right.empty())
        return broken(fmt::format("merge {} has not two parts", spec_.merges.size()));
      spec_.merges.emplace_back(left, right);
    }
    return {};
  }

  Result<void> added_tokens() {
    const auto tokens = json_get<simdjson::dom::array>(root_, "added_tokens");
    if (!tokens) return {};
    listed_ += tokens->size();
    for (const JsonElement token : *tokens) {
      const auto id = json_get<int64_t>(token, "id");
      const auto text = json_get<std::string_view>(token, "content");
      if (!id || !text || text->empty() || !reserve(*id))
        return broken(
            fmt::format("added token {} has no text or an impossible id", spec_.added.size()));
      const auto flag = [&](std::string_view key) {
        return json_get<bool>(token, key).value_or(false);
      };
      AddedToken added{.id = TokenId(static_cast<int32_t>(*id)),
                       .text = std::string(*text),
                       .special = flag("special"),
                       .lstrip = flag("lstrip"),
                       .rstrip = flag("rstrip"),
                       .single_word = flag("single_word"),
                       .normalized = flag("normalized")};
      // A byte token that is also listed here stays what the decoder takes it for.
      if (entry(*id).type != TokenType::byte)
        entry(*id) = {added.text, added.special ? TokenType::control : TokenType::user_defined, 0};
      ids_.insert_or_assign(*text, *id);
      spec_.added.push_back(std::move(added));
    }
    return {};
  }

  Result<void> names() {
    if (const auto unk = json_get<std::string_view>(model_, "unk_token")) {
      spec_.unk = id_of(*unk);
      if (!spec_.unk)
        return broken(fmt::format("unk_token {} is not in the vocabulary", in_quotes(*unk)));
      entry(spec_.unk->value).type = TokenType::unknown;
    }
    return {};
  }

  std::optional<TokenId> id_of(std::string_view text) const {
    const auto found = ids_.find(text);
    if (found == ids_.end()) return std::nullopt;
    return TokenId(static_cast<int32_t>(found->second));
  }

  /// tokenizer_config.json names a token by its text or by an object with `content`.
  std::optional<TokenId> named(std::optional<JsonElement> config, std::string_view key) const {
    const auto value = config ? json_member(*config, key) : std::nullopt;
    if (!value) return std::nullopt;
    std::string_view text;
    return id_of(value->get(text) == simdjson::SUCCESS ? text : json_text(*value, "content"));
  }

  /// The special token that the post-processor's template puts before (or after) a single text.
  std::optional<TokenId> in_template(bool before) const { return template_token(root_, before, 0); }

  std::optional<TokenId> template_token(JsonElement holder, bool before, int depth) const {
    const auto step = depth == 0 ? json_member(holder, "post_processor") : std::optional(holder);
    if (!step || depth > 2) return std::nullopt;
    if (json_text(*step, "type") == "Sequence") {
      if (const auto steps = json_get<simdjson::dom::array>(*step, "processors"))
        for (const JsonElement inner : *steps)
          if (const auto token = template_token(inner, before, depth + 1)) return token;
      return std::nullopt;
    }
    const auto single = json_get<simdjson::dom::array>(*step, "single");
    if (json_text(*step, "type") != "TemplateProcessing" || !single || single->size() == 0)
      return std::nullopt;
    const JsonElement edge = single->at(before ? 0 : single->size() - 1).value_unsafe();
    const auto special = json_member(edge, "SpecialToken");
    return special ? id_of(json_text(*special, "id")) : std::nullopt;
  }

  void special_ids(std::optional<JsonElement> config) {
    const auto before = in_template(true), after = in_template(false);
    spec_.bos = named(config, "bos_token");
    spec_.eos = named(config, "eos_token");
    spec_.pad = named(config, "pad_token");
    if (const auto unk = named(config, "unk_token"); unk && !spec_.unk) spec_.unk = unk;
    if (!spec_.bos) spec_.bos = before;
    if (!spec_.eos) spec_.eos = after;
    const auto asked = [&](std::string_view key) {
      return config ? json_get<bool>(*config, key) : std::nullopt;
    };
    spec_.add_bos = asked("add_bos_token").value_or(before && before == spec_.bos) && spec_.bos;
    spec_.add_eos = asked("add_eos_token").value_or(after && after == spec_.eos) && spec_.eos;
  }

  JsonElement root_, model_;
  std::string name_;
  TokenizerSpec spec_;
  size_t listed_ = 0;                                  // tokens the file lists
  std::unordered_map<std::string_view, int64_t> ids_;  // views the document
};

}  // namespace

Result<TokenizerSpec> parse_tokenizer_json(std::string_view json, std::string_view config_json,
                                           const std::string& name) {
  const auto document = JsonDocument::parse(json, name);
  if (!document) return std::unexpected(document.error());
  if (config_json.empty()) return TokenizerReader(document->root(), name).read(std::nullopt);
  const auto config = JsonDocument::parse(config_json, name + ": its tokenizer_config.json");
  if (!config) return std::unexpected(config.error());
  return TokenizerReader(document->root(), name).read(config->root());
}

}  // namespace troupe
