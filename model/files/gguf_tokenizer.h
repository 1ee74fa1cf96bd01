// The tokenizer inside a GGUF file's metadata.
#pragma once

#include <string>

#include "config/result.h"
#include "model/gguf.h"
#include "model/tokenizer_spec.h"

namespace troupe {

/// tokenizer.ggml.model "gpt2" (byte_bpe) and "llama" (spm_bpe). unsupported for other kinds and
/// for pre-splits we don't know; data_loss for lists of different length, ids out of range and
/// merges without two parts.
Result<TokenizerSpec> tokenizer_from_gguf(const GgufFile& file, const std::string& name);

}  // namespace troupe
