// The page at / of the admin port and its script: no library, no inline code (CSP), text only
// through textContent.
#pragma once

#include <string_view>

namespace troupe {

std::string_view admin_page_html();
std::string_view admin_page_script();
std::string_view admin_page_style();

}  // namespace troupe
