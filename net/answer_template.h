// A whole answer as it was written to one client, with holes for what the next client must get
// fresh: ids, creation times, usage and timings. Made from the very bytes, so a hit differs from
// the computed answer in nothing else. Pure, any thread; what holds one keeps its bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cache/response_cache.h"
#include "cluster/router.h"
#include "net/openai_response.h"

namespace troupe {

/// `body`: all bytes of the JSON or of the event stream that answered the request `id`; `ending`
/// is how the last choice ended. As it may be put into a ResponseCache; nullopt for bytes that are
/// not an answer of that id.
std::optional<CachedBytes> make_answer_template(std::string_view body, RequestId id, Finish ending,
                                                const Timings& timings);

class AnswerTemplate {
 public:
  /// data_loss for what make_answer_template() did not make. Looks into `bytes` from then on.
  static Result<AnswerTemplate> open(const CachedBytes& bytes);

  Finish ending() const { return ending_; }
  /// Of the answer, with times and attempts at zero: nothing was computed.
  Timings timings() const;
  std::string render(RequestId id, int64_t created, const Timings& timings) const;

 private:
  std::string_view holes_, text_;
  Finish ending_ = Finish::none;
  int32_t prompt_tokens_ = 0, generated_tokens_ = 0;
};

}  // namespace troupe
