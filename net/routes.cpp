#include "net/routes.h"

namespace troupe {
namespace {

constexpr Route kRoutes[] = {
    {RouteId::chat, "POST", "/v1/chat/completions",
     "Answer a conversation, whole or as server-sent events"},
    {RouteId::completions, "POST", "/v1/completions",
     "Go on from a text, whole or as server-sent events"},
    {RouteId::inference, "POST", "/v1/inference",
     "Answer one text, with the confidence of the answer"},
    {RouteId::embeddings, "POST", "/v1/embeddings", "Not served: needs an encoder model"},
    {RouteId::tokenize, "POST", "/v1/tokenize", "Tokens of a prompt or of a rendered conversation"},
    {RouteId::detokenize, "POST", "/v1/detokenize", "Text of tokens"},
    {RouteId::models, "GET", "/v1/models", "Models served"},
    {RouteId::model, "GET", "/v1/models/{id}", "One model"},
    {RouteId::metrics, "GET", "/metrics",
     "Prometheus metrics; ?compat=none leaves the vllm: aliases out"},
    {RouteId::openapi, "GET", "/openapi.json", "This description"},
    {RouteId::health, "GET", "/health", "200 when requests can be served, else 503", false},
    {RouteId::livez, "GET", "/livez", "200 while the process answers", false},
    {RouteId::readyz, "GET", "/readyz",
     "Whether requests can be served, per model, with the reason", false},
};

}  // namespace

std::span<const Route> routes() { return kRoutes; }

const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    const size_t brace = route.path.find('{');
    if (brace == std::string_view::npos
            ? path == route.path
            : path.size() > brace && path.starts_with(route.path.substr(0, brace)))
      return &route;
  }
  return nullptr;
}

}  // namespace troupe
