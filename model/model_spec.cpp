#include "model/model_spec.h"

#include <cmath>
#include <string>

#include "config/limits.h"

namespace troupe {

namespace {

Result<void> in_range(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return fail(value > high ? ErrorCode::too_large : ErrorCode::invalid_argument,
              "The model's " + std::string(field) + " is " + std::to_string(value) +
                  ", it must be between " + std::to_string(low) + " and " + std::to_string(high) +
                  ".",
              std::string(field));
}

Result<void> positive(std::string_view field, double value) {
  if (std::isfinite(value) && value > 0) return {};
  return fail(ErrorCode::invalid_argument,
              "The model's " + std::string(field) + " must be a positive number.",
              std::string(field));
}

Result<void> check_rope(const RopeSpec& rope) {
  if (auto ok = positive("rope.base", rope.base); !ok) return ok;
  if (auto ok = positive("rope.factor", rope.factor); !ok) return ok;
  if (rope.scaling != RopeScaling::llama3) return {};
  if (auto ok = positive("rope.low_freq_factor", rope.low_freq_factor); !ok) return ok;
  if (auto ok = positive("rope.high_freq_factor", rope.high_freq_factor); !ok) return ok;
  if (rope.high_freq_factor <= rope.low_freq_factor)
    return fail(ErrorCode::invalid_argument,
                "The model's rope.high_freq_factor must be above rope.low_freq_factor.",
                "rope.high_freq_factor");
  return in_range("rope.original_context", rope.original_context, 1, kContextMax);
}

}  // namespace

Result<void> check_spec(const ModelSpec& spec) {
  struct Bound {
    std::string_view field;
    int64_t value, low, high;
  };
  const Bound bounds[] = {{"n_layers", spec.n_layers, 1, kLayersMax},
                          {"hidden", spec.hidden, 1, kHiddenMax},
                          {"ffn", spec.ffn, 1, kFfnMax},
                          {"n_heads", spec.n_heads, 1, kHeadsMax},
                          {"n_kv_heads", spec.n_kv_heads, 1, spec.n_heads},
                          {"head_dim", spec.head_dim, 2, kHeadDimMax},
                          {"vocab", spec.vocab, 1, kVocabMax},
                          {"context", spec.context, 1, kContextMax},
                          {"sliding_window", spec.sliding_window, 0, kContextMax}};
  for (const Bound& b : bounds)
    if (auto ok = in_range(b.field, b.value, b.low, b.high); !ok) return ok;
  if (spec.n_heads % spec.n_kv_heads != 0)
    return fail(ErrorCode::invalid_argument,
                "The model's n_heads (" + std::to_string(spec.n_heads) +
                    ") must be a multiple of its n_kv_heads (" + std::to_string(spec.n_kv_heads) +
                    ").",
                "n_kv_heads");
  if (spec.head_dim % 2 != 0)
    return fail(ErrorCode::invalid_argument,
                "The model's head_dim is " + std::to_string(spec.head_dim) +
                    ", rotary embedding needs an even one.",
                "head_dim");
  if (auto ok = positive("rms_eps", static_cast<double>(spec.rms_eps)); !ok) return ok;
  return check_rope(spec.rope);
}

}  // namespace troupe
