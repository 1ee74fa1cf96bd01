// SentencePiece-style BPE (Kudo & Richardson 2018): a space is U+2581, characters merge by rank or
// score, unknown characters fall back to byte tokens.
#pragma once

#include <memory>

#include "model/tokenizer.h"

namespace troupe {

/// `spec` has passed the checks of Tokenizer::make that hold for every kind.
Result<std::shared_ptr<const Tokenizer>> make_spm_bpe(TokenizerSpec spec);

}  // namespace troupe
