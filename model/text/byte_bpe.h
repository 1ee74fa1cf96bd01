// GPT-2 style tokenizer: text is split by patterns, each piece's bytes merge by rank.
#pragma once

#include <memory>

#include "model/tokenizer.h"

namespace troupe {

/// `spec` has passed the checks of Tokenizer::make that hold for every kind.
Result<std::shared_ptr<const Tokenizer>> make_byte_bpe(TokenizerSpec spec);

}  // namespace troupe
