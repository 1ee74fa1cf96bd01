// Addresses as people and requests write them. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

struct HostPort {
  std::string host;  ///< an address or name; IPv6 without brackets
  uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};
std::string to_string(const HostPort& address);
/// "127.0.0.1:8080", "[::1]:8080", ":0" is refused (host missing).
std::optional<HostPort> parse_host_port(std::string_view text);
/// "chat.example", "chat.example:8443", "::1", "[::1]", "[::1]:8443" in lower case and without a
/// final dot; port 0 if none is given. Names of letters, digits, '-', '_' and '.' only.
std::optional<HostPort> parse_host(std::string_view text);
/// 127.0.0.0/8, ::1 and "localhost".
bool is_loopback(std::string_view host);
/// IPv4 or IPv6 in digits, without brackets.
bool is_ip_address(std::string_view host);

struct PortRange {
  uint16_t first = 0, last = 0;  ///< 0, 0: any free ports
  bool operator==(const PortRange&) const = default;
};

}  // namespace troupe
