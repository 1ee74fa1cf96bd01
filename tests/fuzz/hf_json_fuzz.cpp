// Any bytes as the JSON files of a Hugging Face directory. The first byte chooses: 'c' config.json,
// 'g' generation_config.json, 't' tokenizer.json; after a line "--" tokenizer_config.json may
// follow.
#include <string_view>

#include "config/check.h"
#include "model/files/hf_config.h"
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
