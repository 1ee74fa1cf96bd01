#include "net/host_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace troupe {
namespace {

/// "https://chat.example:8443"; the port of its scheme if none is given. Any scheme will do: apps
/// on this machine have their own ("tauri://localhost").
std::optional<HostPort> read_origin(std::string_view origin) {
  const size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos) return std::nullopt;  // "null": a page that hides its own
  auto host = parse_host(origin.substr(scheme + 3));
  if (host && host->port == 0) {
    if (equal_ignoring_case(origin.substr(0, scheme), "http")) host->port = 80;
    if (equal_ignoring_case(origin.substr(0, scheme), "https")) host->port = 443;
  }
  return host;
}

bool goes_by(const HostPolicy& policy, const HttpRequest& request, const HostPort& name) {
  // Browsers take names under .localhost for this machine without asking anybody.
  if (is_loopback(name.host) || name.host.ends_with(".localhost") || name.host == request.local)
    return true;
  return std::ranges::any_of(policy.hosts, [&](const HostPort& ours) {
    if (ours.host != name.host) return false;
    // Behind a proxy that speaks TLS a Host without port may mean either scheme's.
    return ours.port == 0 || ours.port == name.port ||
           (name.port == 0 && (ours.port == 80 || ours.port == 443));
  });
}

HttpResponse refuse_name(const std::optional<HostPort>& name) {
  return error_response(
      403,
      fmt::format("This server does not go by the Host {}: list it in the router's allowed_hosts "
                  "(troupe serve: --allowed-host), or let a proxy of yours send Host: localhost.",
                  name ? name->host : "that was sent"),
      "host_not_allowed");
}

HttpResponse refuse_page(const std::optional<HostPort>& origin) {
  return error_response(
      403,
      fmt::format("Pages of other sites may not use this server: list {} in the router's "
                  "allowed_hosts (troupe serve: --allowed-host) if it is yours, or let a proxy of "
                  "yours take the Origin header away.",
                  origin ? origin->host : "the page's host"),
      "origin_not_allowed");
}

}  // namespace

std::optional<HttpResponse> refuse_host(const HostPolicy& policy, const HttpRequest& request) {
  const std::string_view host = request.header("Host"), origin = request.header("Origin");
  if (!origin.empty()) {
    const auto page = read_origin(origin);
    if (!page || !goes_by(policy, request, *page)) return refuse_page(page);
  }
  if (origin.empty() && (host.empty() || policy.asked == HostPolicy::HostOf::pages))
    return std::nullopt;
  const auto asked = parse_host(host);
  if (asked && (goes_by(policy, request, *asked) || is_ip_address(asked->host)))
    return std::nullopt;
  return refuse_name(asked);
}

}  // namespace troupe
