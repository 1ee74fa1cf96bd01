// Any bytes as the JSON files of a Hugging Face directory. The first byte chooses: 'c' config.json,
// 'g' generation_config.json, 'i' model.safetensors.index.json, 't' tokenizer.json; after a line
// "--" tokenizer_config.json may follow.
#include <filesystem>
#include <string_view>

#include "config/check.h"
#include "config/limits.h"
#include "model/files/hf_config.h"
#include "model/files/safetensors_index.h"
#include "model/files/tokenizer_json.h"

using namespace troupe;

namespace {

template <class T>
void check_message(const Result<T>& result) {
  if (!result)
    TROUPE_CHECK(result.error().message.starts_with("fuzz.json: "), result.error().message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'c') {
    const auto config = parse_hf_config(text, "fuzz.json");
    check_message(config);
    if (config) TROUPE_CHECK(check_spec(config->spec).has_value());
  } else if (data[0] == 'g') {
    check_message(parse_generation_eos(text, "fuzz.json"));
  } else if (data[0] == 'i') {
    const auto files = parse_safetensors_index(text, "fuzz.json");
    check_message(files);
    if (!files) return 0;
    TROUPE_CHECK(files->size() <= kShardFilesMax, files->size());
    const std::filesystem::path folder = "/model";
    for (const std::string& name : *files) {
      const auto path = (folder / name).lexically_normal();
      TROUPE_CHECK(path.parent_path() == folder && name.ends_with(".safetensors"), name);
      TROUPE_CHECK(name.find('\0') == std::string::npos, name);
    }
  } else {
    const size_t cut = text.find("\n--\n");
    const bool two = cut != std::string_view::npos;
    const auto spec =
        parse_tokenizer_json(text.substr(0, cut), two ? text.substr(cut + 4) : "", "fuzz.json");
    check_message(spec);
    if (!spec) return 0;
    const auto in_range = [&](TokenId id) {
      return id.value >= 0 && static_cast<size_t>(id.value) < spec->tokens.size();
    };
    for (const auto& id : {spec->bos, spec->eos, spec->unk, spec->pad})
      TROUPE_CHECK(!id || in_range(*id));
    for (TokenId id : spec->end_of_generation) TROUPE_CHECK(in_range(id), id);
    for (const AddedToken& added : spec->added) TROUPE_CHECK(in_range(added.id), added.id);
  }
  return 0;
}
