// The description served at /openapi.json, made from the route table.
#pragma once

#include <string>
#include <string_view>

namespace troupe {

std::string openapi_json(std::string_view build);

}  // namespace troupe
