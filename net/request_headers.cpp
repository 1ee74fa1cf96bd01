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

}  // namespace troupe
