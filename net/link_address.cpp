#include "net/link_address.h"

#include <netdb.h>

#include <cstring>

#include "config/limits.h"

namespace troupe {

namespace {

std::vector<LinkAddress> addresses_of(const HostPort& to, int flags) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  std::vector<LinkAddress> out;
  if (::getaddrinfo(to.host.c_str(), std::to_string(to.port).c_str(), &hints, &found) != 0)
    return out;
  for (const addrinfo* at = found; at && out.size() < kLinkAddressesMax; at = at->ai_next) {
    LinkAddress& one = out.emplace_back();
    std::memcpy(&one.bytes, at->ai_addr, at->ai_addrlen);
    one.size = at->ai_addrlen;
  }
  ::freeaddrinfo(found);
  return out;
}

}  // namespace

std::vector<LinkAddress> addresses_in_digits(const HostPort& to) {
  return addresses_of(to, AI_NUMERICHOST);
}

std::vector<LinkAddress> look_up_addresses(const HostPort& to) { return addresses_of(to, 0); }

std::string text_of(const LinkAddress& address) {
  char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "0";
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&address.bytes), address.size, host, sizeof host,
                port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  return to_string(HostPort{host, static_cast<uint16_t>(std::stoi(port))});
}

}  // namespace troupe
