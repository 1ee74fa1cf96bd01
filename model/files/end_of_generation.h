// Which tokens end an answer.
#pragma once

#include "model/tokenizer_spec.h"

namespace troupe {

/// Fills `end_of_generation` of a spec that is otherwise complete: eos, `also` (ids the file names:
/// end of turn, end of message, the list of generation_config.json) and control tokens whose text
/// is one of the well-known ends
/// ("<|im_end|>", "<|eot_id|>", ...): many files name only one of theirs. Sorted, no duplicates,
/// ids in range only.
void fill_end_of_generation(TokenizerSpec& spec, const std::vector<int64_t>& also);

}  // namespace troupe
