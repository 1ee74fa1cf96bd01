// Schemas of the bodies clients send and get, by name: the components of /openapi.json. What the
// parsers of openai_request.h take stands in openapi_requests.cpp, what openai_response.h and
// bridge_bodies.h write in openapi_answers.cpp; tests/process holds real exchanges against them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/json_schema.h"

namespace troupe {

std::vector<schema::Field> request_schemas();
std::vector<schema::Field> answer_schemas();

}  // namespace troupe
