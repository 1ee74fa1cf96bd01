// The first key of the response cache: names the whole answer to a request before anything is
// rendered or tokenised. Equal keys mean equal bytes up to id, times and timings. Pure, any thread.
#pragma once

#include <optional>

#include "config/ids.h"
#include "net/bridge.h"
#include "net/openai_request.h"

namespace troupe {

/// Over the tenant, the model as served here and every field of the request that can change the
/// answer or its shape; what the parser ignores is not in it. nullopt where the answer depends on
/// more than that: a drawn seed, a template that prints the date.
std::optional<Digest> answer_key(const GenerationRequest& request, const ServedModel& model,
                                 const Salt& tenant);

}  // namespace troupe
