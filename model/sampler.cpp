#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "config/check.h"
#include "model/exact_math.h"
#include "model/philox.h"

namespace troupe {

namespace {

using Candidate = SamplerScratch::Candidate;

/// The order in which N15 walks: largest logit first, then lowest id.
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

/// Sorts candidates piece by piece as the walk reaches them: most walks end within the first few
/// dozen of some 50,000, and a full sort would cost more than the model's last layer.
class Walk {
 public:
  explicit Walk(std::vector<Candidate>& all) : all_(all) {}

  size_t size() const { return all_.size(); }
  const Candidate& at(size_t index) {
    if (index >= sorted_) sort_up_to(index);
    return all_[index];
  }

 private:
  void sort_up_to(size_t index) {
    const size_t wanted =
        std::min(all_.size(), std::max<size_t>(index + 1, std::max<size_t>(64, 4 * sorted_)));
    const auto from = all_.begin() + static_cast<ptrdiff_t>(sorted_);
    const auto to = all_.begin() + static_cast<ptrdiff_t>(wanted);
    if (to != all_.end()) std::nth_element(from, to, all_.end(), before);
    std::sort(from, to, before);
    sorted_ = wanted;
  }

  std::vector<Candidate>& all_;
  size_t sorted_ = 0;
};

int32_t largest(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i)
    if (logits[i] > logits[best]) best = i;
  return static_cast<int32_t>(best);
}

/// Sum of the first `count` weights in walk order, or until `stop` is reached; `count` becomes how
/// many it took.
double sum_prefix(Walk& walk, size_t& count, double stop) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += walk.at(i).weight;
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
  const LogNormaliser normaliser = normalise(logits);
  if (normaliser.nonfinite) {
    drawn.nonfinite = true;
    return drawn;
  }
  const std::span<const float> z = adjusted(logits, scratch);
  const int32_t best = largest(z);
  drawn.token = best;
  const float inverse_temperature = 1 / open_.temperature;
  // A temperature so small that its inverse overflows means greedy too.
  if (open_.temperature > 0 && std::isfinite(inverse_temperature)) {
    scratch.weights.resize(z.size());
    exact_exp_scaled(z, z[static_cast<size_t>(best)], inverse_temperature, scratch.weights);
    scratch.candidates.clear();
    double total = 0;
    for (size_t i = 0; i < z.size(); ++i) {
      const float weight = scratch.weights[i];
      if (weight <= 0 || weight < open_.min_p) continue;
      scratch.candidates.push_back({z[i], weight, static_cast<int32_t>(i)});
      total += weight;
    }
    Walk walk(scratch.candidates);
    size_t keep = walk.size();
    const bool limited = open_.top_k > 0 && static_cast<size_t>(open_.top_k) < keep;
    if (limited) {
      keep = static_cast<size_t>(open_.top_k);
      total = sum_prefix(walk, keep, INFINITY);
    }
    if (open_.top_p < 1) total = sum_prefix(walk, keep, static_cast<double>(open_.top_p) * total);
    const double target = philox_uniform(open_.seed, static_cast<uint32_t>(position),
                                         static_cast<uint32_t>(open_.choice)) *
                          total;
    double cumulative = 0;
    for (size_t i = 0; i < keep; ++i) {
      // If rounding leaves the target unreached, the last one walked is the draw.
      drawn.token = walk.at(i).token;
      cumulative += walk.at(i).weight;
      if (cumulative > target) break;
    }
  }
  if (open_.n_logprobs >= 0) {
    drawn.logprob = normaliser.logprob(logits[static_cast<size_t>(drawn.token)]);
    drawn.top = top_logprobs(logits, normaliser, open_.n_logprobs);
  }
  return drawn;
}

float LogNormaliser::logprob(float logit) const {
  return static_cast<float>(static_cast<double>(logit - max) - log_total);
}

LogNormaliser normalise(std::span<const float> logits) {
  LogNormaliser result;
  std::vector<BlockSum> blocks;
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

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits,
                                       const LogNormaliser& normaliser, int32_t count) {
  const size_t wanted = std::min(static_cast<size_t>(std::max(count, 0)), logits.size());
  const auto better = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
  };
  // A heap with the worst on top; `logprob` holds the raw logit until the end.
  std::vector<TokenLogprob> top;
  top.reserve(wanted + 1);
  for (size_t i = 0; wanted > 0 && i < logits.size(); ++i) {
    // Ids ascend, so an equal logit never displaces one that is in.
    if (top.size() == wanted && logits[i] <= top.front().logprob) continue;
    top.push_back({static_cast<int32_t>(i), logits[i]});
    std::push_heap(top.begin(), top.end(), better);
    if (top.size() <= wanted) continue;
    std::pop_heap(top.begin(), top.end(), better);
    top.pop_back();
  }
  std::sort_heap(top.begin(), top.end(), better);
  for (TokenLogprob& entry : top) entry.logprob = normaliser.logprob(entry.logprob);
  return top;
}

}  // namespace troupe
