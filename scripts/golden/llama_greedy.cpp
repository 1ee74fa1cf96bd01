// Greedy continuations by llama.cpp: the oracle of tests/golden/smollm2/greedy.json (see greedy.py, which runs it).
//
//   llama_greedy MODEL.gguf TOKENS < prompts
//
// Reads prompts (each ended by a NUL byte), tokenises them with special tokens parsed, and prints one JSON line a
// prompt: {"prompt_ids": [...], "ids": [...], "margins": [...]}. A margin is the largest logit less the second.
// A line ends after TOKENS ids or with the first end-of-generation token, which is part of it.
#include <llama.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "llama_greedy: %s\n", what);
  std::exit(1);
}

std::vector<llama_token> tokenise(const llama_vocab* vocab, const std::string& text) {
  std::vector<llama_token> ids(text.size() + 8);
  const int n = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), ids.data(),
                               static_cast<int32_t>(ids.size()), /*add_special=*/true,
                               /*parse_special=*/true);
  if (n < 0) fail("a prompt has more tokens than bytes");
  ids.resize(static_cast<size_t>(n));
  return ids;
}

void print_ids(const char* name, const std::vector<llama_token>& ids) {
  std::printf("\"%s\": [", name);
  for (size_t i = 0; i < ids.size(); ++i) std::printf("%s%d", i ? ", " : "", ids[i]);
  std::printf("], ");
}

struct Choice {
  llama_token id;
  float margin;
};

Choice best(const float* logits, int32_t n) {
  Choice out{0, 0};
  float second = -1e30f;
  for (int32_t i = 1; i < n; ++i) {
    if (logits[i] > logits[out.id]) {
      second = logits[out.id];
      out.id = i;
    } else if (logits[i] > second) {
      second = logits[i];
    }
  }
  out.margin = logits[out.id] - second;
  return out;
}

void continue_prompt(llama_context* context, const llama_vocab* vocab, const std::string& text,
                     int tokens) {
  llama_memory_clear(llama_get_memory(context), true);
  std::vector<llama_token> prompt = tokenise(vocab, text);
  std::vector<llama_token> ids;
  std::vector<float> margins;
  llama_batch batch = llama_batch_get_one(prompt.data(), static_cast<int32_t>(prompt.size()));
  while (static_cast<int>(ids.size()) < tokens) {
    if (llama_decode(context, batch) != 0) fail("llama_decode failed");
    const Choice choice = best(llama_get_logits_ith(context, -1), llama_vocab_n_tokens(vocab));
    ids.push_back(choice.id);
    margins.push_back(choice.margin);
    if (llama_vocab_is_eog(vocab, choice.id)) break;
    batch = llama_batch_get_one(&ids.back(), 1);
  }
  std::printf("{");
  print_ids("prompt_ids", prompt);
  print_ids("ids", ids);
  std::printf("\"margins\": [");
  for (size_t i = 0; i < margins.size(); ++i) std::printf("%s%.4f", i ? ", " : "", margins[i]);
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) fail("usage: llama_greedy MODEL.gguf TOKENS < prompts");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
      llama_model_load_from_file(argv[1], llama_model_default_params()), llama_model_free);
  if (!model) fail("the model does not load");
  llama_context_params params = llama_context_default_params();
  params.n_ctx = 1024;
  params.n_batch = params.n_ubatch = 1024;
  params.n_threads = params.n_threads_batch = 1;
  const std::unique_ptr<llama_context, decltype(&llama_free)> context(
      llama_init_from_model(model.get(), params), llama_free);
  if (!context) fail("the context does not start");
  std::cin >> std::noskipws;
  std::string text;
  for (char c; std::cin.get(c);) {
    if (c != '\0') {
      text += c;
      continue;
    }
    continue_prompt(context.get(), llama_model_get_vocab(model.get()), text, std::atoi(argv[2]));
    text.clear();
  }
}
