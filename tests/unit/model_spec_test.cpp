#include <doctest/doctest.h>

#include <limits>

#include "config/limits.h"
#include "model/model_spec.h"

using namespace troupe;

namespace model_spec_test {
namespace {

ModelSpec good_spec() {
  ModelSpec spec;
  spec.architecture = "llama";
  spec.n_layers = 30;
  spec.hidden = 576;
  spec.ffn = 1536;
  spec.n_heads = 9;
  spec.n_kv_heads = 3;
  spec.head_dim = 64;
  spec.vocab = 49152;
  spec.context = 8192;
  return spec;
}

}  // namespace

TEST_CASE("check_spec: a field out of bounds is refused by its name") {
  REQUIRE(check_spec(good_spec()).has_value());
  struct Case {
    const char* field;
    void (*break_it)(ModelSpec&);
  };
  const Case cases[] = {
      {"n_layers", [](ModelSpec& s) { s.n_layers = 0; }},
      {"n_layers", [](ModelSpec& s) { s.n_layers = kLayersMax + 1; }},
      {"hidden", [](ModelSpec& s) { s.hidden = -1; }},
      {"hidden", [](ModelSpec& s) { s.hidden = kHiddenMax + 1; }},
      {"ffn", [](ModelSpec& s) { s.ffn = 0; }},
      {"n_heads", [](ModelSpec& s) { s.n_heads = kHeadsMax + 1; }},
      {"n_kv_heads", [](ModelSpec& s) { s.n_kv_heads = 2; }},
      {"n_kv_heads", [](ModelSpec& s) { s.n_kv_heads = 18; }},
      {"n_kv_heads", [](ModelSpec& s) { s.n_kv_heads = 0; }},
      {"head_dim", [](ModelSpec& s) { s.head_dim = 63; }},
      {"head_dim", [](ModelSpec& s) { s.head_dim = 0; }},
      {"vocab", [](ModelSpec& s) { s.vocab = kVocabMax + 1; }},
      {"context", [](ModelSpec& s) { s.context = 0; }},
      {"sliding_window", [](ModelSpec& s) { s.sliding_window = -1; }},
      {"rms_eps", [](ModelSpec& s) { s.rms_eps = std::numeric_limits<float>::quiet_NaN(); }},
      {"rms_eps", [](ModelSpec& s) { s.rms_eps = 0; }},
      {"rope.base", [](ModelSpec& s) { s.rope.base = std::numeric_limits<double>::infinity(); }},
      {"rope.factor", [](ModelSpec& s) { s.rope.factor = -2; }},
      {"rope.high_freq_factor",
       [](ModelSpec& s) {
         s.rope.scaling = RopeScaling::llama3;
         s.rope.high_freq_factor = s.rope.low_freq_factor;
       }},
      {"rope.original_context",
       [](ModelSpec& s) {
         s.rope.scaling = RopeScaling::llama3;
         s.rope.original_context = 0;
       }},
  };
  for (const Case& c : cases) {
    CAPTURE(c.field);
    ModelSpec spec = good_spec();
    c.break_it(spec);
    const auto checked = check_spec(spec);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().param == c.field);
    CHECK(checked.error().message.find(c.field) != std::string::npos);
  }
}

}  // namespace model_spec_test
