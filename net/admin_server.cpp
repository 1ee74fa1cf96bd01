#include "net/admin_server.h"

#include <fmt/format.h>

#include "config/digest.h"
#include "config/host_port.h"
#include "net/admin_page.h"
#include "net/api_keys.h"
#include "net/http_server.h"
#include "net/link_metrics.h"

namespace troupe {

namespace {

constexpr std::string_view kStyle =
    "body{font:14px system-ui;margin:2em}table{border-collapse:collapse}td,th{padding:.2em "
    ".8em;text-align:left;"
    "border-bottom:1px solid #ccc}";

bool loopback_host(std::string_view host) {
  const auto name = parse_host(host);
  return name && is_loopback(name->host);
}

class Port final : public AdminServer, public HttpHandler {
 public:
  explicit Port(AdminConfig config) : config_(std::move(config)) {}

  Result<void> run() {
    HttpServerConfig server;
    server.listener = config_.listener;
    server.exempt_addresses = {"127.0.0.1", "::1"};
    auto made = HttpServer::make(std::move(server), *this);
    if (!made) return std::unexpected(made.error());
    server_ = std::move(*made);
    server_->run();
    return {};
  }

  void handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override {
    reply->respond(answer(request));
  }

 private:
  HttpResponse answer(const HttpRequest& request) const {
    // A page of another site may make a browser send requests here: its Host or Origin gives it
    // away.
    if (!loopback_host(request.header("Host")))
      return error_response(403, "this port answers only to its loopback address; use 127.0.0.1",
                            "wrong_host");
    if (std::string_view origin = request.header("Origin");
        !origin.empty() && origin != fmt::format("http://{}", request.header("Host")))
      return error_response(403, "requests from other sites are refused; open this port's own page",
                            "wrong_origin");
    if (request.method != "GET" && request.method != "HEAD") {
      auto response = error_response(405, "only GET is known here", "method_not_allowed");
      response.headers.push_back({"Allow", "GET, HEAD"});
      return response;
    }
    if (request.path == "/livez") return text("ok\n", "text/plain");
    if (request.path == "/") return text(std::string(kAdminPage), "text/html; charset=utf-8");
    if (request.path == "/admin.js") return text(std::string(kAdminScript), "text/javascript");
    if (request.path == "/admin.css") return text(std::string(kStyle), "text/css");
    const std::string_view given = bearer_token(request.header("Authorization"));
    if (!equal_constant_time(std::as_bytes(std::span(given)),
                             std::as_bytes(std::span(config_.token)))) {
      auto response = error_response(
          401, "the admin token is missing or wrong; send the one in admin.token as a bearer token",
          "invalid_token");
      response.headers.push_back({"WWW-Authenticate", "Bearer"});
      return response;
    }
    if (request.path == "/admin/tree") return text(config_.tree(), "application/json");
    if (request.path == "/metrics") return text(config_.metrics(), "text/plain; version=0.0.4");
    constexpr std::string_view kActors = "/admin/actors/";
    if (request.path.starts_with(kActors)) {
      std::string found = config_.actor(request.path.substr(kActors.size()));
      if (!found.empty()) return text(std::move(found), "application/json");
      return error_response(404, "there is no such actor; /admin/tree lists them", "not_found");
    }
    return error_response(404, "there is nothing here; see /admin/tree", "not_found");
  }

  static HttpResponse text(std::string body, std::string type) {
    HttpResponse response;
    response.content_type = std::move(type);
    response.headers = {{"Content-Security-Policy", "default-src 'self'"},
                        {"X-Content-Type-Options", "nosniff"},
                        {"Cache-Control", "no-store"}};
    response.body = std::move(body);
    return response;
  }

  AdminConfig config_;
  std::unique_ptr<HttpServer> server_;
};

void series(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

}  // namespace

Result<std::unique_ptr<AdminServer>> AdminServer::start(AdminConfig config) {
  // An empty token would let everybody in.
  if (config.token.size() != 64)
    return fail(ErrorCode::invalid_argument,
                "The admin token must be 64 hex digits: remove admin.token to get a new one.");
  auto port = std::make_unique<Port>(std::move(config));
  if (auto running = port->run(); !running) return std::unexpected(running.error());
  return port;
}

std::string node_metrics_text(const NodeTree& tree) {
  // Ids come from checked names (letters, digits, '-', '_', '.', '/'), so no label needs escaping.
  std::string out;
  series(out, "troupe_actor_up", "gauge", "1 when the actor is ready, 0 in any other state.");
  for (const ActorStatus& a : tree.actors)
    out += fmt::format("troupe_actor_up{{actor=\"{}\",role=\"{}\"}} {}\n", a.id, name_of(a.role),
                       a.state == "ready" ? 1 : 0);
  series(out, "troupe_actor_restarts_total", "counter", "Starts of the actor after its first.");
  for (const ActorStatus& a : tree.actors)
    out += fmt::format("troupe_actor_restarts_total{{actor=\"{}\",role=\"{}\"}} {}\n", a.id,
                       name_of(a.role), a.restarts);
  series(out, "troupe_mailbox_age_seconds", "gauge", "How late the actor's last self-tick was.");
  for (const ActorStatus& a : tree.actors)
    out += fmt::format("troupe_mailbox_age_seconds{{actor=\"{}\"}} {}\n", a.id,
                       to_seconds(a.mailbox_age));
  series(out, "troupe_mailbox_depth", "gauge", "Messages that wait for the actor.");
  for (const ActorStatus& a : tree.actors)
    out += fmt::format("troupe_mailbox_depth{{actor=\"{}\"}} {}\n", a.id, a.mailbox_depth);
  series(out, "troupe_rank_last_step_age_seconds", "gauge",
         "Time since the rank last finished a step.");
  for (const ActorStatus& a : tree.actors)
    if (a.role == Role::shard)
      out += fmt::format("troupe_rank_last_step_age_seconds{{actor=\"{}\",model_name=\"{}\"}} {}\n",
                         a.id, a.model, to_seconds(a.last_step_age));
  series(out, "troupe_rank_generation", "gauge", "Generation of the rank's group.");
  for (const ActorStatus& a : tree.actors)
    if (a.role == Role::shard)
      out += fmt::format("troupe_rank_generation{{actor=\"{}\",model_name=\"{}\"}} {}\n", a.id,
                         a.model, a.generation);
  if (tree.link) out += link_metrics_text(*tree.link);
  return out;
}

}  // namespace troupe
