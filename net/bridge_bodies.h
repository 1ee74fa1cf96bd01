// Bodies the bridge answers with from what it has at hand: models, readiness, conversions between
// text and tokens. Pure.
#pragma once

#include <expected>
#include <string>

#include "net/prepared_request.h"

namespace troupe {

using BodyOrError = std::expected<std::string, RequestError>;

BodyOrError tokenize_body(const Models& models, const std::string& request);
BodyOrError detokenize_body(const Models& models, const std::string& request);
std::string model_body(const ServedModel& model);
std::string models_body(const Models& models);
std::string readiness_body(const BridgeState& state);

}  // namespace troupe
