// Addresses as people write them. Plain values.
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
/// 127.0.0.0/8, ::1 and "localhost".
bool is_loopback(std::string_view host);
struct PortRange {
  uint16_t first = 0, last = 0;  ///< 0, 0: any free ports
  bool operator==(const PortRange&) const = default;
};

}  // namespace troupe
