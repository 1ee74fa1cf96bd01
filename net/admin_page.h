// The page at `/` of the admin port: asks for the token and shows the tree. Static; all text goes
// through textContent.
#pragma once

#include <string_view>

namespace troupe {
extern const std::string_view kAdminPage;    ///< text/html
extern const std::string_view kAdminScript;  ///< /admin.js
}  // namespace troupe
