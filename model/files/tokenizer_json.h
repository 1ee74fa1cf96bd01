// tokenizer.json of PyPI `tokenizers` (a BPE model and the steps around it) as a TokenizerSpec.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"
#include "model/files/json.h"
#include "model/tokenizer_spec.h"

namespace troupe {

/// `config_json`: tokenizer_config.json, may be empty; it names bos, eos and pad and may turn them
/// on. Byte-level BPE and SentencePiece-style BPE; any step we don't do exactly is refused as
/// unsupported, by its name. Messages begin with `name`.
Result<TokenizerSpec> parse_tokenizer_json(std::string_view json, std::string_view config_json,
                                           const std::string& name = "tokenizer.json");

/// The `normalizer` and `pre_tokenizer` steps of `root`: fills kind, nfc, pre_split and the space
/// prefix. The clause in the message says which step is not supported.
Result<void> read_tokenizer_steps(JsonElement root, TokenizerSpec& spec);

}  // namespace troupe
