#include "model/files/safetensors_index.h"

#include <fmt/format.h>

#include "config/limits.h"
#include "model/files/json.h"
#include "model/in_quotes.h"

namespace troupe {

Result<std::set<std::string>> parse_safetensors_index(std::string_view json,
                                                      const std::string& path) {
  const auto document = JsonDocument::parse(json, path);
  if (!document) return std::unexpected(document.error());
  const auto map = json_get<simdjson::dom::object>(document->root(), "weight_map");
  if (!map)
    return fail(ErrorCode::data_loss,
                fmt::format("{}: it has no 'weight_map'; fetch the file again.", path));
  std::set<std::string> names;
  for (const auto& [tensor, value] : *map) {
    std::string_view name;
    if (value.get(name) != simdjson::SUCCESS || name.empty() ||
        name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos ||
        !name.ends_with(".safetensors"))
      return fail(
          ErrorCode::data_loss,
          fmt::format("{}: tensor {} is said to be in {}, which is not a .safetensors file of this "
                      "directory; fetch the file again.",
                      path, in_quotes(tensor), in_quotes(name)));
    names.emplace(name);
    if (names.size() > kShardFilesMax)
      return fail(
          ErrorCode::too_large,
          fmt::format("{}: it names over {} files, which is the limit.", path, kShardFilesMax));
  }
  return names;
}

}  // namespace troupe
