#include "config/ids.h"

#include <cstdio>

namespace troupe {

std::string to_string(RequestId id) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(id.high),
                static_cast<unsigned long long>(id.low));
  return text;
}

std::ostream& operator<<(std::ostream& out, RequestId id) { return out << to_string(id); }

std::ostream& operator<<(std::ostream& out, const AttemptId& id) {
  return out << id.boot << '/' << id.owner << '/' << id.counter;
}

std::string to_hex(const Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.size());
  for (uint8_t byte : digest) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

}  // namespace troupe
