#include "net/openapi.h"

#include "net/json_writer.h"
#include "net/openapi_schemas.h"
#include "net/routes.h"

namespace troupe {
namespace {

/// Names of schemas; empty: none.
struct Bodies {
  std::string_view request, answer, event;
};

Bodies bodies_of(RouteId route) {
  switch (route) {
    case RouteId::chat:
      return {"ChatRequest", "ChatAnswer", "ChatEvent"};
    case RouteId::completions:
      return {"CompletionRequest", "CompletionAnswer", "CompletionEvent"};
    case RouteId::inference:
      return {"InferenceRequest", "InferenceAnswer", {}};
    case RouteId::tokenize:
      return {"TokenizeRequest", "TokenizeAnswer", {}};
    case RouteId::detokenize:
      return {"DetokenizeRequest", "DetokenizeAnswer", {}};
    case RouteId::models:
      return {{}, "ModelList", {}};
    case RouteId::model:
      return {{}, "Model", {}};
    case RouteId::health:
    case RouteId::readyz:
      return {{}, "Readiness", {}};
    case RouteId::livez:
      return {{}, "Liveness", {}};
    case RouteId::embeddings:
    case RouteId::metrics:
    case RouteId::openapi:
      return {};
  }
  return {};
}

class Description {
 public:
  explicit Description(std::string& out) : json_(out) {}

  void write(std::string_view build) {
    json_.begin_object().field("openapi", "3.1.0");
    json_.key("info").begin_object().field("title", "troupe").field("version", build).end_object();
    json_.key("paths").begin_object();
    for (const Route& route : routes()) write(route);
    json_.end_object().key("components").begin_object().key("schemas").begin_object();
    for (const auto& schemas : {request_schemas(), answer_schemas()})
      for (const schema::Field& named : schemas) json_.key(named.name).raw(named.schema);
    json_.end_object().end_object().end_object();
  }

 private:
  void write(const Route& route) {
    const Bodies bodies = bodies_of(route.id);
    json_.key(route.path).begin_object().key(route.method == "GET" ? "get" : "post").begin_object();
    json_.field("summary", route.summary);
    if (route.id == RouteId::model)
      json_.key("parameters")
          .raw(R"([{"name":"id","in":"path","required":true,)"
               R"("schema":{"type":"string"}}])");
    if (!bodies.request.empty()) {
      json_.key("requestBody").begin_object().key("required").boolean(true).key("content");
      json_.begin_object();
      content("application/json", schema::ref(bodies.request));
      json_.end_object().end_object();
    }
    json_.key("responses").begin_object();
    if (route.id != RouteId::embeddings) good(route, bodies);
    // Probes answer in the same shape while they say no.
    if (route.id == RouteId::health || route.id == RouteId::readyz)
      answer("503", "Not ready: `reason` says why", schema::ref(bodies.answer));
    answer("default", "What is wrong and what to do", schema::ref("Error"));
    json_.end_object().end_object().end_object();
  }

  void good(const Route& route, const Bodies& bodies) {
    json_.key("200").begin_object().field("description", "OK").key("content").begin_object();
    if (route.id == RouteId::metrics) {
      content("text/plain", schema::text());
    } else {
      content("application/json",
              bodies.answer.empty() ? schema::anything() : schema::ref(bodies.answer));
      // Each `data:` but the last, which is [DONE].
      if (!bodies.event.empty()) content("text/event-stream", schema::ref(bodies.event));
    }
    json_.end_object().end_object();
  }

  void answer(std::string_view status, std::string_view description, const std::string& schema) {
    json_.key(status).begin_object().field("description", description);
    json_.key("content").begin_object();
    content("application/json", schema);
    json_.end_object().end_object();
  }

  void content(std::string_view type, const std::string& schema) {
    json_.key(type).begin_object().key("schema").raw(schema).end_object();
  }

  JsonWriter json_;
};

}  // namespace

std::string openapi_json(std::string_view build) {
  std::string out;
  Description(out).write(build);
  return out;
}

}  // namespace troupe
