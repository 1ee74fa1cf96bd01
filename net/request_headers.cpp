#include "net/request_headers.h"

#include <algorithm>
#include <cctype>

#include "net/random.h"

namespace troupe {
namespace {

constexpr size_t kRequestIdBytesMax = 64;

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

template <size_t N>
bool read_hex(std::string_view text, std::array<uint8_t, N>& into) {
  for (size_t i = 0; i < N; ++i) {
    const int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    into[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return into != std::array<uint8_t, N>{};
}

}  // namespace

std::string request_id_of(const HttpRequest& request) {
  const std::string_view sent = request.header("X-Request-Id");
  const bool good = !sent.empty() && sent.size() <= kRequestIdBytesMax &&
                    std::ranges::all_of(sent, [](unsigned char c) {
                      return std::isalnum(c) || c == '.' || c == '_' || c == '-';
                    });
  return good ? std::string(sent) : to_string(random_request_id());
}

TraceContext trace_context_of(const HttpRequest& request) {
  const std::string_view sent = request.header("traceparent");
  TraceContext context;
  if (sent.size() != 55 || sent[2] != '-' || sent[35] != '-' || sent[52] != '-' ||
      sent.starts_with("ff"))
    return {};
  if (!read_hex(sent.substr(3, 32), context.trace) || !read_hex(sent.substr(36, 16), context.span))
    return {};
  return context;
}

std::string host_of(std::string_view authority) {
  if (const size_t scheme = authority.find("://"); scheme != std::string_view::npos)
    authority.remove_prefix(scheme + 3);
  if (const size_t path = authority.find('/'); path != std::string_view::npos)
    authority = authority.substr(0, path);
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    authority = end == std::string_view::npos ? std::string_view{} : authority.substr(1, end - 1);
  } else {
    authority = authority.substr(0, authority.find(':'));
  }
  std::string host(authority);
  std::ranges::transform(host, host.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return host;
}

bool is_loopback_name(std::string_view host) {
  return host == "localhost" || host == "127.0.0.1" || host == "::1";
}

bool origin_allowed(const HttpRequest& request) {
  const std::string_view origin = request.header("Origin");
  if (origin.empty()) return true;
  auto ours = [&](const std::string& host) {
    return !host.empty() && (is_loopback_name(host) || host == request.local);
  };
  return ours(host_of(origin)) && ours(host_of(request.header("Host")));
}

}  // namespace troupe
