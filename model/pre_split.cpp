#include "model/pre_split.h"

#include <array>

namespace troupe {

namespace {

enum class Family { gpt2, smollm, llama3, qwen2 };

struct Named {
  std::string_view name;
  Family family;
};

// Names that mean exactly one of the four families.
constexpr std::array kNames = {
    Named{"gpt2", Family::gpt2},        Named{"gpt-2", Family::gpt2},
    Named{"default", Family::gpt2},     Named{"phi-2", Family::gpt2},
    Named{"mpt", Family::gpt2},         Named{"olmo", Family::gpt2},
    Named{"roberta-bpe", Family::gpt2}, Named{"smollm", Family::smollm},
    Named{"starcoder", Family::smollm}, Named{"refact", Family::smollm},
    Named{"command-r", Family::smollm}, Named{"llama-bpe", Family::llama3},
    Named{"llama3", Family::llama3},    Named{"llama-v3", Family::llama3},
    Named{"falcon3", Family::llama3},   Named{"qwen2", Family::qwen2},
    Named{"qwen3", Family::qwen2},      Named{"deepseek-r1-qwen", Family::qwen2},
};

// GPT-2's own split (Radford et al. 2019): English contractions; then letters, digits or others,
// each with one space before; of a run of white space the last one belongs to the word that
// follows.
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The cl100k shape of Llama 3 and Qwen 2: contractions in any case, any one character before
// letters, line ends kept with the punctuation before them. The two differ only in how many digits
// stay together.
std::string cl100k(std::string_view digits) {
  std::string out = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  out += digits;
  out += R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  return out;
}

std::optional<Family> family_of(std::string_view pre) {
  for (const Named& named : kNames)
    if (named.name == pre) return named.family;
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<std::string>> pre_split_patterns(std::string_view pre) {
  const auto family = family_of(pre);
  if (!family) return std::nullopt;
  switch (*family) {
    case Family::gpt2:
      return std::vector{std::string(kGpt2)};
    case Family::smollm:
      return std::vector{std::string(R"(\p{N})"), std::string(kGpt2)};
    case Family::llama3:
      return std::vector{cl100k(R"(\p{N}{1,3})")};
    case Family::qwen2:
      return std::vector{cl100k(R"(\p{N})")};
  }
  return std::nullopt;
}

bool pre_split_normalizes(std::string_view pre) { return pre == "qwen2" || pre == "qwen3"; }

bool pre_split_ignores_merges(std::string_view pre) { return family_of(pre) == Family::llama3; }

}  // namespace troupe
