#include <fmt/format.h>

#include <filesystem>

#include "config/limits.h"
#include "model/files/gguf_model.h"
#include "model/files/gguf_tokenizer.h"
#include "model/files/hf_model.h"
#include "model/files/mapped_file.h"
#include "model/files/model_files.h"
#include "model/files/tensor_table.h"
#include "model/gguf.h"

namespace troupe {

namespace {

std::string stem_of(const std::string& path) {
  std::filesystem::path p(path);
  if (p.filename().empty()) p = p.parent_path();  // "models/llama/"
  const bool is_gguf = p.extension() == ".gguf";
  return (is_gguf ? p.stem() : p.filename()).string();
}

Result<OpenedModel> open_gguf(const std::string& path, const WeightsIdMemory& memory) {
  auto mapped = MappedFile::open(path, kModelFileBytesMax);
  if (!mapped) return std::unexpected(mapped.error());
  const auto bytes = (*mapped)->bytes();
  const auto file = parse_gguf(bytes, path);
  if (!file) return std::unexpected(file.error());
  auto spec = spec_from_gguf(*file, path);
  if (!spec) return std::unexpected(spec.error());
  auto tokenizer = tokenizer_from_gguf(*file, path);
  if (!tokenizer) return std::unexpected(tokenizer.error());
  const auto find = [&](TensorId id) -> std::optional<FileTensor> {
    const auto found = file->tensors.find(gguf_tensor_name(id));
    if (found == file->tensors.end()) return std::nullopt;
    const GgufTensor& t = found->second;
    return FileTensor{t.dtype, t.rows, t.cols, bytes.subspan(t.offset, t.bytes)};
  };
  auto weights = make_tensor_table(*spec, {*mapped}, find, gguf_tensor_name, path, memory);
  if (!weights) return std::unexpected(weights.error());
  OpenedModel model;
  model.bundle.spec = std::move(*spec);
  model.bundle.tokenizer = std::move(*tokenizer);
  if (const auto* text = file->text("tokenizer.chat_template")) model.bundle.chat_template = *text;
  model.weights = std::move(*weights);
  model.file_bytes = static_cast<int64_t>(bytes.size());
  return model;
}

bool is_directory(const std::string& path) {
  std::error_code ignored;  // what can't be looked at is opened as a file, which says why
  return std::filesystem::is_directory(path, ignored);
}

}  // namespace

Result<OpenedModel> open_model(const std::string& path, const WeightsIdMemory& memory) {
  auto model = is_directory(path) ? open_hf_model(path, memory) : open_gguf(path, memory);
  if (!model) return model;
  const size_t tokens = model->bundle.tokenizer.tokens.size();
  if (tokens > static_cast<size_t>(model->bundle.spec.vocab))
    return fail(
        ErrorCode::data_loss,
        fmt::format("{}: the vocabulary has {} tokens, but the embedding only {} rows; use another "
                    "copy of the model.",
                    path, tokens, model->bundle.spec.vocab));
  if (model->bundle.chat_template.size() > kTemplateBytesMax)
    return fail(ErrorCode::too_large,
                fmt::format("{}: the chat template has {} bytes, the limit is {}.", path,
                            model->bundle.chat_template.size(), kTemplateBytesMax));
  model->name = stem_of(path);
  identify(model->bundle);
  return model;
}

Result<TokenizerSpec> open_tokenizer(const std::string& path) {
  if (is_directory(path)) return open_hf_tokenizer(path);
  auto mapped = MappedFile::open(path, kModelFileBytesMax);
  if (!mapped) return std::unexpected(mapped.error());
  const auto file = parse_gguf((*mapped)->bytes(), path);
  if (!file) return std::unexpected(file.error());
  return tokenizer_from_gguf(*file, path);
}

}  // namespace troupe
