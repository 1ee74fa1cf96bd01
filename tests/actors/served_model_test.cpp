#include "actors/served_model.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "config/digest.h"
#include "model/model_bundle.h"
#include "model/oracle/oracle_reference.h"

using namespace troupe;

namespace served_model_test {
namespace {

GroupEndpoint endpoint() {
  GroupEndpoint e;
  e.model = "m";
  e.context = 512;
  e.weights_id = sha256("weights");
  e.numerics_id = sha256("numerics");
  return e;
}

ModelBundle oracle_bundle(std::string chat_template) {
  ModelBundle bundle;
  bundle.spec = oracle_spec();
  bundle.tokenizer = oracle_tokenizer_spec();
  bundle.chat_template = std::move(chat_template);
  return bundle;
}

}  // namespace

TEST_CASE("served model: a bundle becomes a model with the endpoint's name and ids") {
  const auto bytes = encode_bundle(oracle_bundle("{{ messages[0].content }}"));
  const auto model = serve_bundle(endpoint(), sha256(bytes), bytes);
  REQUIRE(model.has_value());
  CHECK(model->name == "m");
  CHECK(model->context == 512);
  CHECK(model->weights_id == sha256("weights"));
  CHECK(model->numerics_id == sha256("numerics"));
  CHECK(model->bundle_id == sha256(bytes));
  CHECK(model->spec.vocab == kOracleVocab);
  CHECK(model->tokenizer != nullptr);
  CHECK(model->chat_template != nullptr);
  const auto plain = encode_bundle(oracle_bundle(""));
  CHECK(serve_bundle(endpoint(), sha256(plain), plain)->chat_template == nullptr);
}

TEST_CASE("served model: a bundle of no use is refused with what is wrong with it") {
  auto bytes = encode_bundle(oracle_bundle(""));
  bytes.pop_back();
  const auto cut = serve_bundle(endpoint(), Digest{}, bytes);
  REQUIRE_FALSE(cut.has_value());
  CHECK(cut.error().code == ErrorCode::data_loss);
  const auto odd = encode_bundle(oracle_bundle("{% if %}"));
  const auto refused = serve_bundle(endpoint(), Digest{}, odd);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.starts_with("its chat template: "));
}

TEST_CASE("served model: who loads a model is told what a router would refuse, and of which file") {
  const auto refused = [](const ModelBundle& bundle) {
    const auto ok = check_servable(bundle, "/models/m");
    return ok ? std::string() : ok.error().message;
  };
  CHECK(refused(oracle_bundle("")).empty());  // no template: completions only
  CHECK(refused(oracle_bundle("{{ messages[0].content }}")).empty());
  const std::string include = refused(oracle_bundle("{% include 'x' %}"));
  CHECK(include.starts_with("/models/m: the chat template, line 1: "));
  CHECK(include.find("'include' is not supported") != std::string::npos);
  ModelBundle broken = oracle_bundle("");
  broken.tokenizer.eos = TokenId(kOracleVocab);
  CHECK(refused(broken).starts_with("/models/m: the eos id 4096 is outside the vocabulary"));
}

}  // namespace served_model_test
