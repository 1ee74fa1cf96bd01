#include "model/step.h"

#include <array>
#include <bit>
#include <cstring>

#include "config/mix.h"

namespace troupe {

namespace {

class Hasher {
 public:
  void add(uint64_t value) { hash_ = mix64(hash_, value); }
  void add(float value) { add(static_cast<uint64_t>(std::bit_cast<uint32_t>(value))); }
  void add(int32_t a, int32_t b) {
    add(uint64_t{static_cast<uint32_t>(a)} << 32 | static_cast<uint32_t>(b));
  }
  /// Four lanes side by side: block tables are long, and both ends hash every plan.
  void add_all(const std::vector<int32_t>& values) {
    constexpr size_t kLanes = 4, kStep = 2 * kLanes;
    std::array<uint64_t, kLanes> lanes{1, 2, 3, 4};
    const auto take = [&](const int32_t* from, size_t count) {
      std::array<uint64_t, kLanes> words{};
      std::memcpy(words.data(), from, count * sizeof(int32_t));
      for (size_t i = 0; i < kLanes; ++i) {
        lanes[i] = (lanes[i] ^ words[i]) * 0x9e3779b97f4a7c15u;
        lanes[i] ^= lanes[i] >> 32;
      }
    };
    size_t at = 0;
    for (; at + kStep <= values.size(); at += kStep) take(values.data() + at, kStep);
    if (at < values.size()) take(values.data() + at, values.size() - at);
    add(values.size());
    for (uint64_t lane : lanes) add(lane);
  }
  uint64_t finish() const { return hash_; }

 private:
  uint64_t hash_ = 0;
};

}  // namespace

uint64_t hash_of(const StepPlan& plan) {
  Hasher h;
  h.add(plan.key.epoch);
  h.add(uint64_t{plan.key.generation} << 32 | plan.key.lane);
  h.add(plan.key.step);
  h.add(plan.key.prev_hash);
  h.add(plan.open.size());
  for (const SlotOpen& o : plan.open) {
    h.add(uint64_t{static_cast<uint32_t>(o.slot)} << 32 | static_cast<uint32_t>(o.choice));
    h.add(o.seed);
    h.add(uint64_t{static_cast<uint32_t>(o.n_prompt)} << 32 | static_cast<uint32_t>(o.adapter));
    for (float f : {o.temperature, o.top_p, o.min_p, o.repetition, o.presence, o.frequency})
      h.add(f);
    h.add(uint64_t{static_cast<uint32_t>(o.top_k)} << 32 | static_cast<uint32_t>(o.n_logprobs));
    h.add(static_cast<uint64_t>(o.grammar));
    h.add(o.bias.size());
    for (auto [token, value] : o.bias) {
      h.add(static_cast<uint64_t>(token));
      h.add(value);
    }
    h.add_all(o.history);
  }
  h.add_all(plan.close);
  h.add(plan.copy.size());
  for (BlockCopy c : plan.copy)
    h.add(uint64_t{static_cast<uint32_t>(c.src)} << 32 | static_cast<uint32_t>(c.dst));
  h.add(plan.slices.size());
  for (const Slice& s : plan.slices) {
    h.add(s.slot, s.pos0);
    h.add(s.n_rows, s.n_draft);
    h.add(s.tok_off, s.blk_off);
    h.add(s.n_blk, s.out_row0);
    h.add(static_cast<int32_t>(s.out), s.score_off);
  }
  h.add_all(plan.tokens);
  h.add_all(plan.blocks);
  h.add_all(plan.score);
  h.add(uint64_t{plan.bidirectional});
  return h.finish();
}

}  // namespace troupe
