// open_model on the real demo model and on what damage can do to its file.
#include <doctest/doctest.h>

#include "config/digest.h"
#include "model/files/model_files.h"

using namespace troupe;

TEST_CASE("open_model: the demo model is a SmolLM2-135M") {
  const auto model = open_model(TROUPE_DEPS_DIR "/models/smollm2.gguf");
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
  const ModelSpec& spec = model->bundle.spec;
  CHECK(model->name == "smollm2");
  CHECK(spec.architecture == "llama");
  CHECK(spec.n_layers == 30);
  CHECK(spec.hidden == 576);
  CHECK(spec.ffn == 1536);
  CHECK(spec.n_heads == 9);
  CHECK(spec.n_kv_heads == 3);
  CHECK(spec.head_dim == 64);
  CHECK(spec.vocab == 49152);
  CHECK(spec.context == 8192);
  CHECK(spec.rms_eps == 1e-5f);
  CHECK(spec.rope.base == 100000.0);
  CHECK(spec.rope.scaling == RopeScaling::none);
  CHECK(spec.rope.pairs == RopePairs::adjacent);
  CHECK(spec.tied_embeddings);
  CHECK_FALSE(spec.qkv_bias);
  CHECK_FALSE(spec.qk_norm);
  const TokenizerSpec& tokenizer = model->bundle.tokenizer;
  CHECK(tokenizer.kind == TokenizerKind::byte_bpe);
  CHECK(tokenizer.pre == "smollm");
  CHECK(tokenizer.tokens.size() == 49152);
  CHECK(tokenizer.bos == TokenId(1));
  CHECK(tokenizer.eos == TokenId(2));
  CHECK(tokenizer.end_of_generation == std::vector{TokenId(0), TokenId(2)});
  CHECK(model->bundle.chat_template.find("<|im_start|>") != std::string::npos);

  const auto rows = model->weights->rows({TensorKind::q, 29}, {10, 12});
  REQUIRE(rows.has_value());
  CHECK(rows->size() == 2u * 576 / 32 * 20);
  CHECK_FALSE(model->weights->rows({TensorKind::q, 29}, {10, 577}).has_value());
  CHECK_FALSE(model->weights->info({TensorKind::q, 30}).has_value());
}
