// One answer made of parts: a completion request with several prompts is a ClientRequest for each,
// and each part is delivered on its own. This joins them: choices counted through, prompt by prompt
// (index = prompt * n + choice), one end, usage summed, one cache outcome. A request with one
// prompt is one part and passes unchanged but for the outcome. Pure; owned by an OpenRequest.
// Bound: kPromptsMax parts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cluster/router.h"

namespace troupe {

/// One ClientRequest.
struct AnswerPart {
  RequestId id;
  std::optional<CacheOutcome> cache;  ///< nullopt: the Router has not told yet
  bool ended = false;
};

class AnswerParts {
 public:
  /// In the order of the prompts. `choices`: n.
  AnswerParts(std::vector<AnswerPart> parts, int32_t choices);

  /// Turns what the Router delivers for a part into what the whole answer goes on with. `last` and
  /// `keep` are of the whole then; so are timings with `last`: token counts are sums, ttft is the
  /// shortest, the other times and the attempts are the largest of the parts.
  void join(router_out::Deliver& delivery);

  /// Of the whole answer, once it is known for every part: the one that cost most, so that "hit"
  /// means that nothing was computed.
  std::optional<CacheOutcome> cache() const;
  /// Parts that the Router still works on.
  std::vector<RequestId> open() const;

 private:
  size_t number_of(RequestId id) const;

  std::vector<AnswerPart> parts_;
  const int32_t choices_;
  size_t ended_ = 0;
  bool keep_ = true;
  Timings timings_;
};

}  // namespace troupe
