// From the body of a generation request to what is submitted, or to a kept answer. Pure but for the
// look into the response cache; io thread or, for big bodies, the worker.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/response_cache.h"
#include "net/answer_template.h"
#include "net/bridge.h"
#include "net/openai_response.h"
#include "net/prompt.h"

namespace troupe {

using Models = std::vector<std::shared_ptr<const ServedModel>>;

/// invalid_argument, not_found, or unavailable while there is none at all. No name is fine where
/// one model is served.
std::expected<std::shared_ptr<const ServedModel>, RequestError> choose_model(
    const Models& models, const std::string& name);

enum class AnswerShape : uint8_t { whole, stream };

/// A kept answer and the bytes it looks into.
struct KeptAnswer {
  std::shared_ptr<const CachedBytes> bytes;
  AnswerTemplate text;
};

struct PreparedRequest {
  std::shared_ptr<const ServedModel> model;
  AnswerShape shape = AnswerShape::whole;
  std::optional<Digest> key;            ///< of answer_key()
  std::optional<KeptAnswer> kept;       ///< found under `key`; what follows is then empty
  std::vector<ClientRequest> requests;  ///< one a prompt
  AnswerInfo answer;
  bool has_seed = false;
};

/// `answers` may be null: nothing is looked up.
std::expected<PreparedRequest, RequestError> prepare_request(Api api, const Models& models,
                                                             const std::string& body,
                                                             const Salt& tenant,
                                                             ResponseCache* answers);

}  // namespace troupe
