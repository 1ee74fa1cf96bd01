// The paths of the bridge and which methods they take: one table for dispatch, 405 answers and
// /openapi.json.
#pragma once

#include <span>
#include <string_view>

namespace troupe {

enum class RouteId {
  chat,
  completions,
  inference,
  embeddings,
  tokenize,
  detokenize,
  models,
  model,
  health,
  livez,
  readyz,
  metrics,
  openapi
};

struct Route {
  RouteId id;
  std::string_view method;  ///< GET also serves HEAD
  std::string_view path;    ///< "{id}" at the end matches the rest of the path
  std::string_view summary;
  bool needs_key = true;
};

std::span<const Route> routes();
/// The route of `path`, whatever its method; null if there is none.
const Route* find_route(std::string_view path);

}  // namespace troupe
