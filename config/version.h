// The version people see.
#pragma once

namespace troupe {
/// Semantic version of the project; CMakeLists.txt has the same.
inline constexpr char kVersion[] = "0.1.0";
}  // namespace troupe
