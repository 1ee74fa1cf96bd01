// Scores of given ids by llama.cpp: the oracle of tests/golden/smollm2/quality.json (see
// quality.py, which runs it).
//
//   llama_score MODEL.gguf < windows
//
// Reads windows (a line each: ids separated by spaces), reads each from position 0 with an empty
// cache, and prints one JSON line a window: {"nll": [...], "top": [...]}, for every position but
// the last: minus the log-probability of the id that follows, and the id of the largest logit (ties
// to the lowest id).
#include <llama.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "llama_score: %s\n", what);
  std::exit(1);
}

struct Score {
  double nll;
  llama_token top;
};

Score score_of(const float* logits, int32_t n, llama_token next) {
  llama_token top = 0;
  for (int32_t i = 1; i < n; ++i)
    if (logits[i] > logits[top]) top = i;
  double sum = 0;
  for (int32_t i = 0; i < n; ++i) sum += std::exp(double{logits[i]} - logits[top]);
  return {std::log(sum) + logits[top] - logits[next], top};
}

void score_window(llama_context* context, int32_t vocab, const std::vector<llama_token>& ids) {
  llama_memory_clear(llama_get_memory(context), true);
  const auto n = static_cast<int32_t>(ids.size());
  llama_batch batch = llama_batch_init(n, 0, 1);
  batch.n_tokens = n;
  for (int32_t i = 0; i < n; ++i) {
    batch.token[i] = ids[static_cast<size_t>(i)];
    batch.pos[i] = i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  if (llama_decode(context, batch) != 0) fail("llama_decode failed");
  std::vector<Score> scores;
  for (int32_t i = 0; i + 1 < n; ++i)
    scores.push_back(
        score_of(llama_get_logits_ith(context, i), vocab, ids[static_cast<size_t>(i) + 1]));
  llama_batch_free(batch);
  std::printf("{\"nll\": [");
  for (size_t i = 0; i < scores.size(); ++i) std::printf("%s%.6f", i ? ", " : "", scores[i].nll);
  std::printf("], \"top\": [");
  for (size_t i = 0; i < scores.size(); ++i) std::printf("%s%d", i ? ", " : "", scores[i].top);
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) fail("usage: llama_score MODEL.gguf < windows");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
      llama_model_load_from_file(argv[1], llama_model_default_params()), llama_model_free);
  if (!model) fail("the model does not load");
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = 512;
  params.n_threads = params.n_threads_batch = 1;
  const std::unique_ptr<llama_context, decltype(&llama_free)> context(
      llama_init_from_model(model.get(), params), llama_free);
  if (!context) fail("the context does not start");
  const int32_t vocab = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::vector<llama_token> ids;
    for (llama_token id; in >> id;) {
      if (id < 0 || id >= vocab) fail("an id is not in the vocabulary");
      ids.push_back(id);
    }
    if (ids.size() < 2 || ids.size() > 512) fail("a window must have 2 to 512 ids");
    score_window(context.get(), vocab, ids);
  }
}
