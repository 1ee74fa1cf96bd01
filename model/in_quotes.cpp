#include "model/in_quotes.h"

#include <algorithm>

namespace troupe {

std::string in_quotes(std::string_view text) {
  constexpr size_t kShownBytesMax = 80;
  std::string out = "'";
  for (char c : text.substr(0, std::min(text.size(), kShownBytesMax)))
    out.push_back(c >= ' ' && c <= '~' ? c : '?');
  if (text.size() > kShownBytesMax) out += "...";
  out.push_back('\'');
  return out;
}

}  // namespace troupe
