// Where to dial, as the resolver gives it, and where somebody dials from, for the log.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "config/host_port.h"

namespace troupe {

struct LinkAddress {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

/// Never blocks; empty if the host is a name.
std::vector<LinkAddress> addresses_in_digits(const HostPort& to);
/// May block for as long as the resolver takes; at most kLinkAddressesMax, empty if there is none.
std::vector<LinkAddress> look_up_addresses(const HostPort& to);

/// "10.0.0.7:4711"
std::string text_of(const LinkAddress& address);

}  // namespace troupe
