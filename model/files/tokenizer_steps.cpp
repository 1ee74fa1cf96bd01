// The steps before the model in a tokenizer.json: normalizers and pre-tokenizers.
#include <fmt/format.h>

#include "config/limits.h"
#include "model/files/tokenizer_json.h"
#include "model/in_quotes.h"

namespace troupe {

namespace {

constexpr std::string_view kSpace = "\u2581";  // SentencePiece's visible space
// What `tokenizers` calls use_regex of ByteLevel: GPT-2's own split.
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr size_t kStepsMax = 16;  // patterns of one tokenizer; real ones have up to 4

std::unexpected<Error> unsupported(const std::string& what) {
  return fail(ErrorCode::unsupported, what + " is not supported");
}

/// A string pattern as a regular expression that matches just it.
std::string escaped(std::string_view literal) {
  std::string out;
  for (char c : literal) {
    if (std::string_view(R"(\^$.|?*+()[]{}#)").find(c) != std::string_view::npos)
      out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

class Steps {
 public:
  explicit Steps(TokenizerSpec& spec) : spec_(spec) {}

  Result<void> normalizer(JsonElement step) {
    const auto type = json_text(step, "type");
    if (type == "Sequence") return each(step, "normalizers", &Steps::normalizer);
    if (type == "NFC") {
      spec_.nfc = true;
      return {};
    }
    if (type == "Prepend" && json_text(step, "prepend") == kSpace) {
      spec_.add_space_prefix = true;
      return {};
    }
    const auto pattern = json_member(step, "pattern");
    if (type == "Replace" && pattern && json_text(*pattern, "String") == " " &&
        json_text(step, "content") == kSpace) {
      spec_.kind = TokenizerKind::spm_bpe;
      has_kind_ = true;
      return {};
    }
    return unsupported(fmt::format("normalizer {}", in_quotes(type)));
  }

  Result<void> pre_tokenizer(JsonElement step) {
    const auto type = json_text(step, "type");
    if (type == "Sequence") return each(step, "pretokenizers", &Steps::pre_tokenizer);
    if (type == "Split") return split(step);
    if (type == "Digits")
      return add(json_get<bool>(step, "individual_digits").value_or(false) ? R"(\p{N})"
                                                                           : R"(\p{N}+)");
    if (type == "ByteLevel") {
      if (json_get<bool>(step, "add_prefix_space").value_or(true))
        return unsupported("pre-tokenizer 'ByteLevel' with add_prefix_space");
      spec_.kind = TokenizerKind::byte_bpe;
      has_kind_ = true;
      if (json_get<bool>(step, "use_regex").value_or(true)) return add(std::string(kGpt2));
      return {};
    }
    if (type == "Metaspace") return metaspace(step);
    return unsupported(fmt::format("pre-tokenizer {}", in_quotes(type)));
  }

  bool has_kind() const { return has_kind_; }

 private:
  Result<void> each(JsonElement sequence, std::string_view key,
                    Result<void> (Steps::*read)(JsonElement)) {
    const auto steps = json_get<simdjson::dom::array>(sequence, key);
    if (!steps) return fail(ErrorCode::data_loss, "a 'Sequence' has no steps");
    for (const JsonElement step : *steps)
      if (auto ok = (this->*read)(step); !ok) return ok;
    return {};
  }

  Result<void> add(std::string pattern) {
    if (spec_.pre_split.size() >= kStepsMax)
      return fail(ErrorCode::too_large,
                  fmt::format("it has more than {} pre-tokenizer steps", kStepsMax));
    spec_.pre_split.push_back(std::move(pattern));
    return {};
  }

  Result<void> split(JsonElement step) {
    const auto behavior = json_text(step, "behavior");
    // Matches and gaps alike are pieces. "Removed" with invert drops gaps, of which patterns in use
    // leave none.
    const bool invert = json_get<bool>(step, "invert").value_or(false);
    if (behavior != "Isolated" && !(behavior == "Removed" && invert))
      return unsupported(
          fmt::format("pre-tokenizer 'Split' with behavior {}", in_quotes(behavior)));
    const auto pattern = json_member(step, "pattern");
    const auto regex = pattern ? json_text(*pattern, "Regex") : std::string_view();
    const auto literal = pattern ? json_text(*pattern, "String") : std::string_view();
    if (!regex.empty()) return add(std::string(regex));
    if (!literal.empty()) return add(escaped(literal));
    return fail(ErrorCode::data_loss, "a 'Split' has no pattern");
  }

  Result<void> metaspace(JsonElement step) {
    if (json_text(step, "replacement") != kSpace)
      return unsupported("pre-tokenizer 'Metaspace' with another replacement");
    if (json_get<bool>(step, "split").value_or(true))
      return unsupported("pre-tokenizer 'Metaspace' that splits");
    const auto scheme = json_text(step, "prepend_scheme");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      return unsupported(
          fmt::format("pre-tokenizer 'Metaspace' with prepend_scheme {}", in_quotes(scheme)));
    spec_.kind = TokenizerKind::spm_bpe;
    has_kind_ = true;
    spec_.add_space_prefix = scheme != "never";
    spec_.space_prefix_once = scheme == "first";
    return {};
  }

  TokenizerSpec& spec_;
  bool has_kind_ = false;
};

}  // namespace

Result<void> read_tokenizer_steps(JsonElement root, TokenizerSpec& spec) {
  Steps steps(spec);
  if (const auto step = json_member(root, "normalizer"))
    if (auto ok = steps.normalizer(*step); !ok) return ok;
  if (const auto step = json_member(root, "pre_tokenizer"))
    if (auto ok = steps.pre_tokenizer(*step); !ok) return ok;
  if (!steps.has_kind())
    return unsupported("a BPE model without byte-level or SentencePiece steps");
  if (spec.kind == TokenizerKind::spm_bpe && !spec.pre_split.empty())
    return unsupported("a pre-split before SentencePiece-style BPE");
  if (spec.kind == TokenizerKind::byte_bpe && spec.add_space_prefix)
    return unsupported("normalizer 'Prepend' before byte-level BPE");
  return {};
}

}  // namespace troupe
