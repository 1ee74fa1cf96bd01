#include "model/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "config/check.h"
#include "model/exact_math.h"
#include "model/philox.h"

namespace troupe {

namespace {

/// Sorts as N15 walks: the largest logit first, then the lowest id, which is the low half.
uint64_t walk_key(float logit, int32_t token) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 ties with +0
  const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t{~ascending} << 32 | static_cast<uint32_t>(token);
}

/// Tokens in the order in which N15 walks, sorted band by band of logits as the walk reaches them:
/// most walks end within the first few dozen of some 50,000, and a full sort would cost more than
/// the model's last layer.
class Walk {
 public:
  /// `lightest`: tokens of a smaller weight are left out. The first band goes down to where weights
  /// fall to a seventh.
  Walk(std::span<const float> logits, float max, float temperature, float lightest,
       SamplerScratch& scratch)
      : logits_(logits),
        scratch_(scratch),
        max_(max),
        temperature_(temperature),
        lightest_(lightest),
        width_(2 * temperature) {
    scratch.walked.clear();
    scratch.band.resize(logits.size());
  }

  /// The token at `index`, which must be below the number of tokens that aren't left out.
  int32_t token(size_t index) {
    while (index >= scratch_.walked.size()) sort_next_band();
    return static_cast<int32_t>(scratch_.walked[index]);
  }
  float weight(size_t index) { return scratch_.weights[static_cast<size_t>(token(index))]; }

 private:
  void sort_next_band() {
    TROUPE_CHECK(above_ > kLowest);
    std::vector<uint64_t>& walked = scratch_.walked;
    const auto start = static_cast<ptrdiff_t>(walked.size());
    depth_ += width_;
    // Far down every weight is 0: what is left is one band. Rounding may leave a band empty; that
    // costs one pass.
    const float low = depth_ < 100 * temperature_ ? std::max(max_ - depth_, kLowest) : kLowest;
    const size_t found = find_between(logits_, low, above_, scratch_.band);
    above_ = low;
    for (int32_t token : std::span(scratch_.band).first(found)) {
      const auto at = static_cast<size_t>(token);
      if (scratch_.weights[at] >= lightest_) walked.push_back(walk_key(logits_[at], token));
    }
    std::sort(walked.begin() + start, walked.end());
    if (walked.size() < 64) width_ *= 2;
  }

  static constexpr float kLowest = std::numeric_limits<float>::lowest();
  std::span<const float> logits_;
  SamplerScratch& scratch_;
  float max_, temperature_, lightest_;
  float width_, depth_ = 0;  ///< of the next band, and of all so far, in logits
  float above_ = std::numeric_limits<float>::infinity();
};

/// Sum of the first `count` weights in walk order, or until `stop` is reached; `count` becomes how
/// many it took.
double sum_prefix(Walk& walk, size_t& count, double stop) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += walk.weight(i);
    if (sum >= stop) {
      count = i + 1;
      break;
    }
  }
  return sum;
}

}  // namespace

SamplerSlot::SamplerSlot(SlotOpen open) : open_(std::move(open)) {
  penalises_ = open_.repetition != 1 || open_.presence != 0 || open_.frequency != 0;
  if (penalises_) {
    for (size_t i = 0; i < open_.history.size(); ++i) {
      Count& count = counts_[open_.history[i]];
      if (i < static_cast<size_t>(std::max(open_.n_prompt, 0))) {
        count.in_prompt = true;
      } else {
        ++count.generated;
      }
    }
  }
  open_.history = {};
}

void SamplerSlot::accept(int32_t token) {
  if (penalises_) ++counts_[token].generated;
}

std::span<const float> SamplerSlot::adjusted(std::span<const float> logits,
                                             SamplerScratch& scratch) const {
  if (counts_.empty() && open_.bias.empty()) return logits;
  scratch.logits.assign(logits.begin(), logits.end());
  for (const auto& [token, count] : counts_) {
    float& z = scratch.logits[static_cast<size_t>(token)];
    z = z > 0 ? z / open_.repetition : z * open_.repetition;
    if (count.generated > 0)
      z -= open_.frequency * static_cast<float>(count.generated) + open_.presence;
  }
  for (const auto& [token, value] : open_.bias) scratch.logits[static_cast<size_t>(token)] += value;
  return scratch.logits;
}

Drawn SamplerSlot::draw(std::span<const float> logits, int32_t position,
                        SamplerScratch& scratch) const {
  TROUPE_CHECK(!logits.empty());
  Drawn drawn;
  Largest best = exact_largest(logits);
  if (!best.finite) {
    drawn.nonfinite = true;
    return drawn;
  }
  const std::span<const float> z = adjusted(logits, scratch);
  if (z.data() != logits.data()) best = exact_largest(z);
  const float inverse_temperature = 1 / open_.temperature;
  // A temperature so small that its inverse overflows means greedy too.
  const bool greedy = open_.temperature <= 0 || !std::isfinite(inverse_temperature);
  drawn.token =
      greedy ? best.index : draw_from(z, best.index, inverse_temperature, position, scratch);
  if (open_.n_logprobs >= 0) {
    const LogNormaliser normaliser = normalise(logits, scratch.blocks);
    drawn.logprob = normaliser.logprob(logits[static_cast<size_t>(drawn.token)]);
    scratch.top.resize(std::min(static_cast<size_t>(open_.n_logprobs), logits.size()));
    top_logprobs(logits, normaliser, scratch.top);
    drawn.top = scratch.top;
  }
  return drawn;
}

int32_t SamplerSlot::draw_from(std::span<const float> z, int32_t best, float inverse_temperature,
                               int32_t position, SamplerScratch& scratch) const {
  const float max = z[static_cast<size_t>(best)];
  scratch.weights.resize(z.size());
  exact_exp_scaled(z, max, inverse_temperature, scratch.weights);
  const float lightest = std::max(open_.min_p, std::numeric_limits<float>::min());
  double total = 0;
  size_t keep = 0;
  for (float weight : scratch.weights) {
    // In order of ids, without a branch: adding +0 changes no bit.
    const bool kept = weight >= lightest;
    total += static_cast<double>(kept ? weight : 0.0f);
    keep += kept;
  }
  Walk walk(z, max, open_.temperature, lightest, scratch);
  if (open_.top_k > 0 && static_cast<size_t>(open_.top_k) < keep) {
    keep = static_cast<size_t>(open_.top_k);
    total = sum_prefix(walk, keep, INFINITY);
  }
  if (open_.top_p < 1) total = sum_prefix(walk, keep, static_cast<double>(open_.top_p) * total);
  const double target = philox_uniform(open_.seed, static_cast<uint32_t>(position),
                                       static_cast<uint32_t>(open_.choice)) *
                        total;
  double cumulative = 0;
  // If rounding leaves the target unreached, the last one walked is the draw.
  int32_t token = best;
  for (size_t i = 0; i < keep; ++i) {
    token = walk.token(i);
    cumulative += walk.weight(i);
    if (cumulative > target) break;
  }
  return token;
}

float LogNormaliser::logprob(float logit) const {
  return static_cast<float>(static_cast<double>(logit - max) - log_total);
}

LogNormaliser normalise(std::span<const float> logits, std::vector<BlockSum>& blocks) {
  LogNormaliser result;
  blocks.clear();
  blocks.reserve(logits.size() / kLogprobBlock + 1);
  for (size_t i = 0; i < logits.size(); i += kLogprobBlock) {
    blocks.push_back(
        exact_block_sum(logits.subspan(i, std::min(kLogprobBlock, logits.size() - i))));
    result.nonfinite |= !blocks.back().finite;
    result.max = i == 0 ? blocks.back().max : std::max(result.max, blocks.back().max);
  }
  if (result.nonfinite || blocks.empty()) return result;
  double total = 0;
  for (const BlockSum& block : blocks)
    total +=
        static_cast<double>(block.sum) * static_cast<double>(exact_exp(block.max - result.max));
  result.log_total = exact_log(total);
  return result;
}

void top_logprobs(std::span<const float> logits, const LogNormaliser& normaliser,
                  std::span<TokenLogprob> top) {
  TROUPE_CHECK(top.size() <= logits.size(), top.size(), logits.size());
  if (top.empty()) return;
  const auto better = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
  };
  // A heap with the worst on top; `logprob` holds the raw logit until the end.
  for (size_t i = 0; i < top.size(); ++i) top[i] = {static_cast<int32_t>(i), logits[i]};
  std::make_heap(top.begin(), top.end(), better);
  for (size_t i = top.size(); i < logits.size(); ++i) {
    // Ids ascend, so an equal logit never displaces one that is in.
    if (logits[i] <= top.front().logprob) continue;
    std::pop_heap(top.begin(), top.end(), better);
    top.back() = {static_cast<int32_t>(i), logits[i]};
    std::push_heap(top.begin(), top.end(), better);
  }
  std::sort_heap(top.begin(), top.end(), better);
  for (TokenLogprob& entry : top) entry.logprob = normaliser.logprob(entry.logprob);
}

}  // namespace troupe
