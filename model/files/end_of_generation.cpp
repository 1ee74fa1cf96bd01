#include "model/files/end_of_generation.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace troupe {

namespace {

constexpr std::array<std::string_view, 10> kEnds = {
    "<|im_end|>", "<|eot_id|>",    "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>",
    "</s>",       "<end_of_turn>", "<|end|>",    "<|eot|>",         "<|end_of_turn|>"};

bool is_special(const TokenizerSpec& spec, TokenId id) {
  if (spec.tokens[static_cast<size_t>(id.value)].type == TokenType::control) return true;
  return std::ranges::any_of(spec.added,
                             [&](const AddedToken& a) { return a.id == id && a.special; });
}

}  // namespace

void fill_end_of_generation(TokenizerSpec& spec, const std::vector<int64_t>& also) {
  std::vector<TokenId> ends;
  const auto size = static_cast<int64_t>(spec.tokens.size());
  const auto add = [&](int64_t id) {
    if (id >= 0 && id < size) ends.emplace_back(static_cast<int32_t>(id));
  };
  if (spec.eos) add(spec.eos->value);
  for (int64_t id : also) add(id);
  for (int64_t id = 0; id < size; ++id)
    if (std::ranges::find(kEnds, spec.tokens[static_cast<size_t>(id)].text) != kEnds.end() &&
        is_special(spec, TokenId(static_cast<int32_t>(id))))
      add(id);
  std::ranges::sort(ends);
  ends.erase(std::ranges::unique(ends).begin(), ends.end());
  spec.end_of_generation = std::move(ends);
}

}  // namespace troupe
