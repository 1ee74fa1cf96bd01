// Names from untrusted files inside messages for people.
#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// `text` in single quotes, at most 80 bytes of it, anything but printable ASCII as '?': a hostile
/// file can't write escape codes or pages of text into a terminal or a log.
std::string in_quotes(std::string_view text);

}  // namespace troupe
