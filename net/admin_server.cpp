#include "net/admin_server.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/digest.h"
#include "net/admin_page.h"
#include "net/api_keys.h"
#include "net/http_server.h"
#include "net/random.h"
#include "net/request_headers.h"

namespace troupe {
namespace {

constexpr std::string_view kActors = "/admin/actors/";

/// %2F and friends; nullopt when malformed.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const auto digits = text.substr(i + 1, 2);
    if (digits.size() != 2) return std::nullopt;
    for (char c : digits) {
      const char lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9')
        value = value * 16 + static_cast<unsigned>(c - '0');
      else if (lower >= 'a' && lower <= 'f')
        value = value * 16 + static_cast<unsigned>(lower - 'a' + 10);
      else
        return std::nullopt;
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

class Server final : public AdminServer, private HttpHandler {
 public:
  Server(AdminConfig config, AdminSource& source) : config_(std::move(config)), source_(source) {}

  Result<void> listen() {
    HttpServerConfig http;
    http.listener = config_.listener;
    auto made = HttpServer::make(std::move(http), *this);
    if (!made) return std::unexpected(made.error());
    http_ = std::move(*made);
    http_->run();
    return {};
  }

 private:
  void handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override {
    HttpResponse response = answer(request);
    response.headers.push_back(
        {"Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"});
    response.headers.push_back({"X-Content-Type-Options", "nosniff"});
    response.headers.push_back({"Referrer-Policy", "no-referrer"});
    response.headers.push_back({"Cache-Control", "no-store"});
    reply->respond(std::move(response));
  }

  bool names_this_host(const HttpRequest& request) const {
    const std::string host = host_of(request.header("Host"));
    return !host.empty() &&
           (is_loopback_name(host) || host == request.local ||
            std::ranges::find(config_.allowed_hosts, host) != config_.allowed_hosts.end());
  }

  bool knows_token(const HttpRequest& request) const {
    const auto token = bearer_token(request.header("Authorization"));
    return !config_.token.empty() && equal_constant_time(std::as_bytes(std::span(token)),
                                                         std::as_bytes(std::span(config_.token)));
  }

  HttpResponse answer(const HttpRequest& request) {
    if (!names_this_host(request))
      return error_response(421,
                            "The Host header names another host: use the address the node printed.",
                            "wrong_host");
    if (!origin_allowed(request, config_.allowed_hosts))
      return error_response(403, "Pages of other sites may not use the admin port.",
                            "origin_not_allowed");
    if (request.method != "GET" && request.method != "HEAD") {
      auto response = error_response(405, "The admin port takes GET only.", "method_not_allowed");
      response.headers.push_back({"Allow", "GET, HEAD"});
      return response;
    }
    const std::string_view path = request.path;
    if (path == "/") return text("text/html; charset=utf-8", admin_page_html());
    if (path == "/admin.js") return text("text/javascript; charset=utf-8", admin_page_script());
    if (path == "/admin.css") return text("text/css; charset=utf-8", admin_page_style());
    if (path == "/livez") return text("application/json", R"({"live":true})");
    if (!knows_token(request)) {
      auto response = error_response(401,
                                     "The admin token is missing or wrong: send `Authorization: "
                                     "Bearer` with the contents of admin.token.",
                                     "invalid_admin_token");
      response.headers.push_back({"WWW-Authenticate", "Bearer"});
      return response;
    }
    if (path == "/admin/tree") return text("application/json", source_.tree_json());
    if (path == "/metrics")
      return text("text/plain; version=0.0.4; charset=utf-8", source_.metrics_text());
    if (path.starts_with(kActors)) {
      const auto id = percent_decoded(path.substr(kActors.size()));
      const auto actor = id ? source_.actor_json(*id) : std::nullopt;
      if (actor) return text("application/json", *actor);
      return error_response(404, "There is no such actor: see /admin/tree.", "unknown_actor");
    }
    return error_response(404, "There is nothing at this path: try / or /admin/tree.",
                          "unknown_path");
  }

  static HttpResponse text(std::string type, std::string_view body) {
    HttpResponse response;
    response.content_type = std::move(type);
    response.body = std::string(body);
    return response;
  }

  const AdminConfig config_;
  AdminSource& source_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace

Result<std::unique_ptr<AdminServer>> AdminServer::start(AdminConfig config, AdminSource& source) {
  if (config.token.size() != 64)
    return fail(ErrorCode::invalid_argument,
                "The admin token must be 64 hex digits: remove admin.token to get a new one.");
  auto server = std::make_unique<Server>(std::move(config), source);
  if (auto listening = server->listen(); !listening) return std::unexpected(listening.error());
  return server;
}

std::string new_admin_token() {
  return fmt::format("{:016x}{:016x}{:016x}{:016x}", random_bits(), random_bits(), random_bits(),
                     random_bits());
}

}  // namespace troupe
