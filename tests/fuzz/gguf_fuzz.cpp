// Any bytes as a GGUF file: parsed, read as a model, weights of what was accepted touched and
// dequantised.
#include <algorithm>
#include <span>
#include <vector>

#include "config/check.h"
#include "model/files/gguf_model.h"
#include "model/files/gguf_tokenizer.h"
#include "model/files/tensor_table.h"
#include "model/model_bundle.h"

using namespace troupe;

namespace {

void touch(const WeightSource& weights, TensorId id) {
  const auto info = weights.info(id);
  if (!info) return;
  const auto row = weights.rows(id, {info->rows - 1, info->rows});
  TROUPE_CHECK(row.has_value());
  constexpr int64_t kColsMax = 1 << 16;  // keeps one input fast
  if (info->cols > kColsMax) return;
  std::vector<float> values(static_cast<size_t>(info->cols));
  dequantise(info->dtype, *row, values);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = parse_gguf(bytes, "fuzz.gguf");
  if (!file) {
    TROUPE_CHECK(file.error().message.starts_with("fuzz.gguf: "), file.error().message);
    return 0;
  }
  ModelBundle bundle;
  if (auto tokenizer = tokenizer_from_gguf(*file, "fuzz.gguf"))
    bundle.tokenizer = std::move(*tokenizer);
  if (auto spec = spec_from_gguf(*file, "fuzz.gguf")) bundle.spec = std::move(*spec);
  const auto again = decode_bundle(encode_bundle(bundle));
  // rms_eps and the rope numbers were checked to be finite, so equality is meant bit by bit.
  TROUPE_CHECK(again.has_value() && again->spec == bundle.spec);
  const auto find = [&](TensorId id) -> std::optional<FileTensor> {
    const auto found = file->tensors.find(gguf_tensor_name(id));
    if (found == file->tensors.end()) return std::nullopt;
    const GgufTensor& t = found->second;
    return FileTensor{t.dtype, t.rows, t.cols, bytes.subspan(t.offset, t.bytes)};
  };
  if (const auto weights = make_tensor_table(bundle.spec, {}, find, gguf_tensor_name, "fuzz.gguf"))
    for (int32_t layer = -1; layer < bundle.spec.n_layers; ++layer)
      for (int kind = 0; kind <= static_cast<int>(TensorKind::down_bias); ++kind)
        touch(**weights, {static_cast<TensorKind>(kind), layer});
  return 0;
}
