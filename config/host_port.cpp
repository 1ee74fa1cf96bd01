#include "config/host_port.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace troupe {

std::string to_string(const HostPort& address) {
  return address.host.find(':') == std::string::npos
             ? fmt::format("{}:{}", address.host, address.port)
             : fmt::format("[{}]:{}", address.host, address.port);
}

std::optional<HostPort> parse_host_port(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return std::nullopt;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;
  }
  HostPort out{std::string(host), 0};
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) return std::nullopt;
  return out;
}

std::optional<HostPort> parse_host(std::string_view text) {
  const bool bracketed = text.starts_with('[');
  HostPort out{std::string(text), 0};
  if (bracketed && text.ends_with(']')) {
    out.host = text.substr(1, text.size() - 2);
  } else if (!is_ip_address(text) && text.find(':') != std::string_view::npos) {
    const auto both = parse_host_port(text);
    if (!both || both->port == 0) return std::nullopt;
    out = *both;
  }
  std::ranges::transform(out.host, out.host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (is_ip_address(out.host)) return out;
  if (out.host.ends_with('.')) out.host.pop_back();
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  if (bracketed || out.host.empty() || out.host.size() > 253 || out.host.starts_with('.') ||
      !std::ranges::all_of(out.host, fits))
    return std::nullopt;
  return out;
}

bool is_ip_address(std::string_view host) {
  const std::string text(host);
  unsigned char raw[16];
  return text.find('\0') == std::string::npos && (inet_pton(AF_INET, text.c_str(), raw) == 1 ||
                                                  inet_pton(AF_INET6, text.c_str(), raw) == 1);
}

bool is_loopback(std::string_view host) {
  std::string name(host);
  in_addr v4{};
  if (inet_pton(AF_INET, name.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return name == "::1" || name == "localhost";
}

}  // namespace troupe
