#include "net/openapi.h"

#include "net/json_writer.h"
#include "net/routes.h"

namespace troupe {

std::string openapi_json(std::string_view build) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("openapi", "3.0.3");
  json.key("info").begin_object().field("title", "troupe").field("version", build).end_object();
  json.key("paths").begin_object();
  for (const Route& route : routes()) {
    json.key(route.path).begin_object().key(route.method == "GET" ? "get" : "post").begin_object();
    json.field("summary", route.summary).key("responses").begin_object();
    json.key("200").begin_object().field("description", "OK").end_object();
    json.end_object().end_object().end_object();
  }
  json.end_object().end_object();
  return out;
}

}  // namespace troupe
