// From a checked request to token ids and the request the Router takes: renders the template,
// tokenises once, checks ids and lengths against the model. Text of a client never becomes a
// control token, whatever it spells. Pure.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/router.h"
#include "net/bridge.h"
#include "net/openai_request.h"

namespace troupe {

/// A problem the client can mend: `param` says where.
Result<std::vector<TokenId>> chat_tokens(const ChatInput& input, const ServedModel& model);
std::vector<TokenId> text_tokens(const TextInput& input, const ServedModel& model);

/// An Error and, where OpenAI has a more telling one, its `code` on the wire.
struct RequestError {
  Error error;
  std::string_view code = {};
};

/// One ClientRequest a prompt, in order, with everything but id, seed (if the client gave none),
/// deadline, cache key and trace. One prompt that cannot be served refuses them all.
std::expected<std::vector<ClientRequest>, RequestError> prepare(const GenerationRequest& request,
                                                                const ServedModel& model,
                                                                const Salt& tenant);

/// What names a deterministic answer: same digest, same tokens. Needs the seed filled in.
Digest cache_key(const ClientRequest& request, const ServedModel& model);

}  // namespace troupe
