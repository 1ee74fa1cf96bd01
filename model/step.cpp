#include "model/step.h"

#include <bit>

#include "config/mix.h"

namespace troupe {

namespace {

class Hasher {
 public:
  void add(uint64_t value) { hash_ = mix64(hash_, value); }
  void add(float value) { add(static_cast<uint64_t>(std::bit_cast<uint32_t>(value))); }
  template <class T>
  void add_all(const std::vector<T>& values) {
    add(values.size());
    for (auto value : values) add(static_cast<uint64_t>(value));
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
    for (int32_t v : {s.slot, s.pos0, s.n_rows, s.n_draft, s.tok_off, s.blk_off, s.n_blk,
                      s.out_row0, static_cast<int32_t>(s.out), s.score_off})
      h.add(static_cast<uint64_t>(v));
  }
  h.add_all(plan.tokens);
  h.add_all(plan.blocks);
  h.add_all(plan.score);
  h.add(uint64_t{plan.bidirectional});
  return h.finish();
}

}  // namespace troupe
