// Guesses what someone meant who typed a word that is not one of those expected. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The closest candidate within two edits (Levenshtein), or empty.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace troupe
