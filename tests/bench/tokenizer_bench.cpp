// Speed of a tokenizer on one core.
//   tokenizer_bench VOCAB.gguf TEXT_FILE [SECONDS]
// Encodes the text again and again and prints the median MB/s (10^6 bytes a second of CPU time) of
// the passes, cold (a fresh tokenizer, so nothing is remembered) and warm.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>

#include "config/limits.h"
#include "model/files/gguf_tokenizer.h"
#include "model/files/mapped_file.h"
#include "model/tokenizer.h"

namespace troupe {
namespace {

double megabytes_per_second(const Tokenizer& tokenizer, const std::string& text, size_t* tokens) {
  const std::clock_t begin = std::clock();
  *tokens = tokenizer.encode(text, SpecialText::plain).size();
  const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  return static_cast<double>(text.size()) / 1e6 / took;
}

int run(const std::string& vocab, const std::string& text_path, double seconds) {
  std::ifstream in(text_path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto mapped = MappedFile::open(vocab, kModelFileBytesMax);
  if (text.empty() || !mapped) {
    fmt::print(stderr, "cannot read {}\n", text.empty() ? text_path : vocab);
    return 1;
  }
  const auto file = parse_gguf((*mapped)->bytes(), vocab);
  const auto spec = file ? tokenizer_from_gguf(*file, vocab)
                         : Result<TokenizerSpec>(std::unexpected(file.error()));
  if (!spec) {
    fmt::print(stderr, "{}\n", spec.error().message);
    return 1;
  }
  const auto made_at = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::make(*spec);
  const std::chrono::duration<double> making = std::chrono::steady_clock::now() - made_at;
  if (!tokenizer) {
    fmt::print(stderr, "{}\n", tokenizer.error().message);
    return 1;
  }
  size_t tokens = 0;
  const double cold = megabytes_per_second(**tokenizer, text, &tokens);
  std::vector<double> passes;
  const auto begin = std::chrono::steady_clock::now();
  while (passes.size() < 3 ||
         std::chrono::steady_clock::now() - begin < std::chrono::duration<double>(seconds))
    passes.push_back(megabytes_per_second(**tokenizer, text, &tokens));
  std::ranges::sort(passes);
  fmt::print(
      "{}: make {:.0f} ms, {} bytes -> {} tokens, cold {:.1f} MB/s, median of {} passes {:.1f} "
      "MB/s\n",
      (*tokenizer)->spec().pre, making.count() * 1e3, text.size(), tokens, cold, passes.size(),
      passes[passes.size() / 2]);
  return 0;
}

}  // namespace
}  // namespace troupe

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: tokenizer_bench VOCAB.gguf TEXT_FILE [SECONDS]\n");
    return 2;
  }
  return troupe::run(argv[1], argv[2], argc > 3 ? std::atof(argv[3]) : 2.0);
}
