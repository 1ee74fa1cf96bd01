// Text for the oracle backend: the longest word of its vocabulary first, single bytes for the rest.
// Any bytes come back as they were.
#pragma once

#include <memory>

#include "model/tokenizer.h"

namespace troupe {

/// data_loss unless every byte has a token of its own.
Result<std::shared_ptr<const Tokenizer>> make_oracle_tokenizer(TokenizerSpec spec);

}  // namespace troupe
