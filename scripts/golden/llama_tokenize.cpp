// Oracle 1 of the tokenizer goldens: llama.cpp's tokenizer over a pipe.
//   clang++-19 -std=c++17 -O1 -I LLAMA/include -I LLAMA/ggml/include llama_tokenize.cpp -L BUILD/bin -lllama
// usage: llama_tokenize VOCAB.gguf < requests > answers
// request: parse_special (u32), length (u32), bytes. answer: count (u32), ids (i32 each). Little-endian.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "llama.h"

namespace {

bool read_all(void* to, size_t n) { return std::fread(to, 1, n, stdin) == n; }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(argv[1], params);
  if (!model) {
    std::fprintf(stderr, "cannot load %s\n", argv[1]);
    return 1;
  }
  const llama_vocab* vocab = llama_model_get_vocab(model);
  uint32_t head[2];
  std::string text;
  std::vector<llama_token> ids;
  while (read_all(head, sizeof head)) {
    text.resize(head[1]);
    if (!read_all(text.data(), text.size())) return 1;
    ids.resize(text.size() + 16);
    const int32_t n = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), ids.data(),
                                     static_cast<int32_t>(ids.size()), false, head[0] != 0);
    if (n < 0) return 1;
    const uint32_t count = static_cast<uint32_t>(n);
    std::fwrite(&count, sizeof count, 1, stdout);
    std::fwrite(ids.data(), sizeof(llama_token), count, stdout);
  }
  llama_model_free(model);
  return 0;
}
