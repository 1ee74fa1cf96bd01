// Request bodies from anyone: every parser gives a request or an error with a sentence, and what
// was parsed becomes tokens or an error. The first byte chooses the API.
#include <cstdlib>
#include <string_view>

#include "net/openai_request.h"
#include "net/prompt.h"

namespace {

const troupe::ServedModel& model() {
  static const troupe::ServedModel made = [] {
    troupe::ServedModel out;
    out.name = "oracle";
    out.context = 512;
    out.tokenizer = *troupe::Tokenizer::make(troupe::oracle_tokenizer_spec());
    out.chat_template = std::make_shared<const troupe::ChatTemplate>(
        *troupe::ChatTemplate::parse("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% "
                                     "endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"));
    return out;
  }();
  return made;
}

template <class T>
void check(const troupe::Result<T>& result) {
  if (!result && result.error().message.empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 3:
      check(troupe::parse_tokenize(body));
      return 0;
    case 4:
      check(troupe::parse_detokenize(body));
      return 0;
    default:
      break;
  }
  const auto parsed = troupe::parse_generation(static_cast<troupe::Api>(data[0] % 3), body);
  check(parsed);
  if (!parsed) return 0;
  if (parsed->inputs.empty()) std::abort();
  const auto requests = troupe::prepare(*parsed, model(), {});
  if (!requests) {
    if (requests.error().error.message.empty()) std::abort();
    return 0;
  }
  if (requests->size() != parsed->inputs.size()) std::abort();
  for (const troupe::ClientRequest& request : *requests) {
    if (request.max_new < 1 || request.prompt.empty()) std::abort();
    troupe::cache_key(request, model());
  }
  return 0;
}
