#include "model/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "config/check.h"
#include "config/limits.h"
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
    scratch.walked.reserve(logits.size());  // a later walk may go further than all before it
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
  if (greedy()) {
    drawn.token = best.index;
  } else if (z.data() == logits.data() && few()) {
    // The same token as from all, without the weights of the others.
    scratch.top.resize(std::min(static_cast<size_t>(open_.top_k) + 1, logits.size()));
    largest_logits(logits, 0, scratch.top);
    drawn.token = draw_from(scratch.top, 1 / open_.temperature, position, scratch);
  } else {
    drawn.token = draw_from(z, best.index, 1 / open_.temperature, position, scratch);
  }
  if (open_.n_logprobs >= 0) {
    const LogNormaliser normaliser = normalise(logits, scratch.blocks);
    drawn.logprob = normaliser.logprob(logits[static_cast<size_t>(drawn.token)]);
    scratch.top.resize(std::min(static_cast<size_t>(open_.n_logprobs), logits.size()));
    top_logprobs(logits, normaliser, scratch.top);
    drawn.top = scratch.top;
  }
  return drawn;
}

Drawn SamplerSlot::draw(const LogitSummary& summary, int32_t position,
                        SamplerScratch& scratch) const {
  TROUPE_CHECK(!summary.top.empty());
  Drawn drawn;
  drawn.token = greedy() ? summary.top.front().token
                         : draw_from(summary.top, 1 / open_.temperature, position, scratch);
  if (open_.n_logprobs >= 0) {
    const LogNormaliser normaliser = normalise(summary.blocks);
    const auto at = std::ranges::find(summary.top, drawn.token, &TokenLogprob::token);
    drawn.logprob = normaliser.logprob(at->logprob);
    scratch.top.resize(std::min(static_cast<size_t>(open_.n_logprobs), summary.top.size()));
    top_logprobs(summary, normaliser, scratch.top);
    drawn.top = scratch.top;
  }
  return drawn;
}

/// A temperature so small that its inverse overflows means greedy too.
bool SamplerSlot::greedy() const {
  return open_.temperature <= 0 || !std::isfinite(1 / open_.temperature);
}

bool SamplerSlot::few() const { return open_.top_k > 0 && open_.top_k <= kSummaryTopMax; }

RowNeeds SamplerSlot::needs() const {
  if (penalises_ || !open_.bias.empty()) return {.of = RowNeeds::Of::all};
  if (open_.temperature == 0 && open_.n_logprobs < 0) return {.of = RowNeeds::Of::largest};
  if (!(greedy() || few()) || open_.n_logprobs > kSummaryTopMax) return {.of = RowNeeds::Of::all};
  // One more than top_k tells whether it leaves any out.
  return {.of = RowNeeds::Of::summary,
          .top = std::max(greedy() ? 1 : open_.top_k + 1, open_.n_logprobs),
          .sums = open_.n_logprobs >= 0};
}

double SamplerSlot::uniform(int32_t position) const {
  return philox_uniform(open_.seed, static_cast<uint32_t>(position),
                        static_cast<uint32_t>(open_.choice));
}

/// As the other one, with top_k below the number of tokens in `top` unless those are all.
int32_t SamplerSlot::draw_from(std::span<const TokenLogprob> top, float inverse_temperature,
                               int32_t position, SamplerScratch& scratch) const {
  std::vector<float>& weights = scratch.weights;
  scratch.logits.clear();
  for (const TokenLogprob& entry : top) scratch.logits.push_back(entry.logprob);
  weights.resize(top.size());
  exact_exp_scaled(scratch.logits, top.front().logprob, inverse_temperature, weights);
  const float lightest = std::max(open_.min_p, std::numeric_limits<float>::min());
  // Weights fall along the walk, so those that are left out are its end.
  auto keep = static_cast<size_t>(
      std::ranges::find_if(weights, [&](float w) { return w < lightest; }) - weights.begin());
  const auto sum_to = [&](size_t& count, double stop) {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) {
      sum += weights[i];
      if (sum >= stop) {
        count = i + 1;
        break;
      }
    }
    return sum;
  };
  double total = 0;
  if (static_cast<size_t>(open_.top_k) < keep) {
    keep = static_cast<size_t>(open_.top_k);
    total = sum_to(keep, INFINITY);
  } else {
    // In order of ids, as over all tokens: those of weight 0 change no bit.
    scratch.walked.clear();
    for (size_t i = 0; i < keep; ++i)
      scratch.walked.push_back(uint64_t{static_cast<uint32_t>(top[i].token)} << 32 | i);
    std::ranges::sort(scratch.walked);
    for (uint64_t entry : scratch.walked) total += weights[static_cast<uint32_t>(entry)];
  }
  if (open_.top_p < 1) total = sum_to(keep, static_cast<double>(open_.top_p) * total);
  const double target = uniform(position) * total;
  double cumulative = 0;
  int32_t token = top.front().token;
  for (size_t i = 0; i < keep; ++i) {
    token = top[i].token;
    cumulative += weights[i];
    if (cumulative > target) break;
  }
  return token;
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
  const double target = uniform(position) * total;
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
  blocks.resize((logits.size() + kLogprobBlock - 1) / kLogprobBlock);
  block_sums(logits, blocks);
  return normalise(blocks);
}

LogNormaliser normalise(std::span<const BlockSum> blocks) {
  LogNormaliser result;
  if (blocks.empty()) return result;
  result.max = blocks.front().max;
  for (const BlockSum& block : blocks) {
    result.nonfinite |= !block.finite;
    result.max = std::max(result.max, block.max);
  }
  if (result.nonfinite) return result;
  double total = 0;
  for (const BlockSum& block : blocks)
    total +=
        static_cast<double>(block.sum) * static_cast<double>(exact_exp(block.max - result.max));
  result.log_total = exact_log(total);
  return result;
}

void top_logprobs(std::span<const float> logits, const LogNormaliser& normaliser,
                  std::span<TokenLogprob> top) {
  largest_logits(logits, 0, top);
  for (TokenLogprob& entry : top) entry.logprob = normaliser.logprob(entry.logprob);
}

void top_logprobs(const LogitSummary& summary, const LogNormaliser& normaliser,
                  std::span<TokenLogprob> top) {
  TROUPE_CHECK(top.size() <= summary.top.size(), top.size(), summary.top.size());
  for (size_t i = 0; i < top.size(); ++i)
    top[i] = {summary.top[i].token, normaliser.logprob(summary.top[i].logprob)};
}

}  // namespace troupe
