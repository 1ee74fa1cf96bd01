#include "model/model_bundle.h"

#include <doctest/doctest.h>

#include <random>

#include "config/digest.h"

using namespace troupe;

namespace model_bundle_test {
namespace {

ModelBundle sample() {
  ModelBundle bundle;
  bundle.manifest.weights_id = sha256("weights");
  bundle.spec.architecture = "qwen2";
  bundle.spec.n_layers = 3;
  bundle.spec.rope.scaling = RopeScaling::llama3;
  bundle.spec.rope.pairs = RopePairs::adjacent;
  bundle.spec.rope.factor = 0.1;
  bundle.spec.qkv_bias = true;
  bundle.spec.sliding_window = 9;
  TokenizerSpec& t = bundle.tokenizer;
  t.kind = TokenizerKind::spm_bpe;
  t.pre = "x";
  t.pre_split = {"a", ""};
  t.nfc = t.byte_fallback = t.add_bos = t.space_prefix_once = true;
  t.merges_by_rank = false;
  t.tokens = {{"a", TokenType::normal, -1.5f},
              {"<0x0A>", TokenType::byte, 0},
              {"é", TokenType::control, 2}};
  t.merges = {{"a", "b"}, {"ab", "c"}};
  t.added = {{.id = TokenId(2), .text = "é", .special = true, .rstrip = true}};
  t.bos = TokenId(0);
  t.pad = TokenId(2);
  t.end_of_generation = {TokenId(1), TokenId(2)};
  bundle.chat_template = "{{ messages }}";
  identify(bundle);
  return bundle;
}

}  // namespace

TEST_CASE("bundle: what was encoded is decoded") {
  for (const ModelBundle& bundle : {sample(), ModelBundle{}}) {
    const auto decoded = decode_bundle(encode_bundle(bundle));
    REQUIRE_MESSAGE(decoded.has_value(), (decoded ? "" : decoded.error().message));
    CHECK(*decoded == bundle);
  }
}

TEST_CASE("bundle: each id changes with its part and with nothing else") {
  const ModelManifest before = sample().manifest;
  ModelBundle bundle = sample();
  bundle.tokenizer.tokens[0].score = -1.25f;
  identify(bundle);
  CHECK(bundle.manifest.tokenizer_id != before.tokenizer_id);
  CHECK(bundle.manifest.template_id == before.template_id);
  CHECK(bundle.manifest.spec_id == before.spec_id);
  bundle = sample();
  bundle.spec.rope.base = 10001;
  identify(bundle);
  CHECK(bundle.manifest.spec_id != before.spec_id);
  CHECK(bundle.manifest.tokenizer_id == before.tokenizer_id);
  bundle = sample();
  bundle.chat_template += " ";
  identify(bundle);
  CHECK(bundle.manifest.template_id != before.template_id);
  CHECK(bundle.manifest.weights_id == before.weights_id);
}

TEST_CASE("bundle: bytes that were cut or added are refused") {
  auto bytes = encode_bundle(sample());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto cut = decode_bundle(std::span(bytes).first(size));
    if (cut || cut.error().code != ErrorCode::data_loss) FAIL_CHECK("cut at " << size);
  }
  bytes.push_back(std::byte{0});
  const auto longer = decode_bundle(bytes);
  REQUIRE_FALSE(longer.has_value());
  CHECK(longer.error().message == "The model bundle is damaged; the sender must send it again.");
}

TEST_CASE("bundle: flipped bits never crash and leave ids in range") {
  constexpr uint64_t kSeed = 7;
  MESSAGE("seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const auto bytes = encode_bundle(sample());
  size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto flipped = bytes;
    flipped[random() % bytes.size()] ^= std::byte(1 << random() % 8);
    const auto decoded = decode_bundle(flipped);
    refused += !decoded;
    if (!decoded) continue;
    for (TokenId id : decoded->tokenizer.end_of_generation)
      if (static_cast<size_t>(id.value) >= decoded->tokenizer.tokens.size())
        FAIL("id out of range");
  }
  CHECK(refused > 2'000);
}

TEST_CASE("bundle: another version is refused by its number") {
  auto bytes = encode_bundle(sample());
  bytes[4] = std::byte{99};
  const auto decoded = decode_bundle(bytes);
  REQUIRE_FALSE(decoded.has_value());
  CHECK(decoded.error().code == ErrorCode::unsupported);
  CHECK(decoded.error().message.find("version 99") != std::string::npos);
}

}  // namespace model_bundle_test
