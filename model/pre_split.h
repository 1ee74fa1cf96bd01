// What the name of a pre-split (`tokenizer.ggml.pre` of a GGUF file) stands for. A tokenizer.json
// spells these facts out itself; a GGUF file gives only the name. Pure; standard library only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// PCRE2 patterns for TokenizerSpec::pre_split. nullopt for a name we do not know: the caller
/// refuses the file, since a wrong split gives wrong tokens silently.
std::optional<std::vector<std::string>> pre_split_patterns(std::string_view pre);

/// Value of TokenizerSpec::nfc for the family (Qwen 2 normalises; GGUF does not say so).
bool pre_split_normalizes(std::string_view pre);

/// Value of TokenizerSpec::ignore_merges for the family (Llama 3).
bool pre_split_ignores_merges(std::string_view pre);

}  // namespace troupe
