#include "model/step_bytes.h"

#include <cstring>
#include <string>
#include <type_traits>

#include "config/check.h"
#include "config/limits.h"
#include "model/byte_cursor.h"

namespace troupe {

namespace {

constexpr uint32_t kPlanMagic = 0x31505354;    // "TSP1"
constexpr uint32_t kOutputMagic = 0x314f5354;  // "TSO1"

template <class T>
concept Number = std::is_arithmetic_v<T>;

/// What lies in memory as it travels: a vector of it is copied at once.
template <class T>
inline constexpr bool kPlain = Number<T> || std::is_same_v<T, BlockCopy> ||
                               std::is_same_v<T, TokenLogprob> || std::is_same_v<T, SliceOut>;
static_assert(sizeof(BlockCopy) == 8 && sizeof(TokenLogprob) == 8 && sizeof(SliceOut) == 28);

/// Of one item of a vector whose items are not plain.
template <class T>
inline constexpr size_t kLeastBytes = 8;
template <>
inline constexpr size_t kLeastBytes<SlotOpen> = 68;
template <>
inline constexpr size_t kLeastBytes<Slice> = 40;

class Writer {
 public:
  Writer(std::vector<std::byte>& bytes, uint32_t magic) : bytes_(bytes) {
    bytes_.clear();
    (*this)(magic);
    (*this)(uint32_t{0});
  }
  /// Writes the length into the header.
  void finish() {
    TROUPE_CHECK(bytes_.size() <= kStepBytesMax, bytes_.size());
    const auto size = static_cast<uint32_t>(bytes_.size());
    std::memcpy(bytes_.data() + 4, &size, sizeof size);
  }

  template <Number T>
  void operator()(const T& value) {
    copy(&value, sizeof value);
  }
  template <class T>
  void operator()(const std::vector<T>& items) {
    (*this)(static_cast<uint32_t>(items.size()));
    if constexpr (kPlain<T>)
      copy(items.data(), items.size() * sizeof(T));
    else
      for (const T& item : items) visit(*this, item);
  }

 private:
  void copy(const void* from, size_t size) {
    const auto* first = static_cast<const std::byte*>(from);
    bytes_.insert(bytes_.end(), first, first + size);
  }
  std::vector<std::byte>& bytes_;
};

/// The first failure sticks; later fields are left alone.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, uint32_t magic) : cursor_(bytes) {
    uint32_t found = 0, size = 0;
    (*this)(found);
    (*this)(size);
    if (found != magic || size != bytes.size()) fail_here("its header does not fit");
  }
  Result<void> finish() const {
    if (problem_ == nullptr && cursor_.left() == 0) return {};
    return fail(ErrorCode::data_loss,
                std::string("A step that came from another rank is damaged (") +
                    (problem_ != nullptr ? problem_ : "bytes are left over") +
                    "): the generation ends here; look for a broken network path or ranks of "
                    "different builds.");
  }

  template <Number T>
  void operator()(T& value) {
    if (problem_ != nullptr) return;
    if (const auto taken = cursor_.take<T>())
      value = *taken;
    else
      fail_here("it ends too early");
  }
  template <class T>
  void operator()(std::vector<T>& items) {
    uint32_t count = 0;
    (*this)(count);
    if (problem_ != nullptr) return;
    if constexpr (kPlain<T>) {
      const auto taken = cursor_.take_bytes(uint64_t{count} * sizeof(T));
      if (!taken) return fail_here("a count is larger than what follows");
      items.resize(count);
      if (count > 0) std::memcpy(items.data(), taken->data(), taken->size());
    } else {
      // So a false count takes no more memory than a few times the bytes that came.
      if (count > cursor_.left() / kLeastBytes<T>)
        return fail_here("a count is larger than what follows");
      items.resize(count);
      for (T& item : items) visit(*this, item);
    }
  }
  /// A number below `end` as an enumeration or a flag.
  template <class T>
  void choice(T& value, uint32_t end) {
    uint32_t number = 0;
    (*this)(number);
    if (number >= end) return fail_here("a choice is out of range");
    value = static_cast<T>(number);
  }

 private:
  void fail_here(const char* problem) {
    if (problem_ == nullptr) problem_ = problem;
  }
  ByteCursor cursor_;
  const char* problem_ = nullptr;
};

template <class T>
void pass_choice(Writer& writer, const T& value, uint32_t) {
  writer(static_cast<uint32_t>(value));
}
template <class T>
void pass_choice(Reader& reader, T& value, uint32_t end) {
  reader.choice(value, end);
}

// The format: each struct's fields in order, for both directions.

template <class Pass, class Pair>
requires requires(Pair p) { p.first; }
void visit(Pass& pass, Pair& p) {
  pass(p.first);
  pass(p.second);
}

template <class Pass, class Key>
requires std::is_same_v<std::remove_const_t<Key>, StepKey>
void visit(Pass& pass, Key& k) {
  pass(k.epoch);
  pass(k.generation);
  pass(k.lane);
  pass(k.step);
  pass(k.prev_hash);
}

template <class Pass, class Open>
requires std::is_same_v<std::remove_const_t<Open>, SlotOpen>
void visit(Pass& pass, Open& o) {
  pass(o.slot);
  pass(o.seed);
  pass(o.choice);
  pass(o.n_prompt);
  pass(o.adapter);
  for (auto* f : {&o.temperature, &o.top_p, &o.min_p, &o.repetition, &o.presence, &o.frequency})
    pass(*f);
  pass(o.top_k);
  pass(o.n_logprobs);
  pass(o.grammar);
  pass(o.bias);
  pass(o.history);
}

template <class Pass, class Part>
requires std::is_same_v<std::remove_const_t<Part>, Slice>
void visit(Pass& pass, Part& s) {
  for (auto* n : {&s.slot, &s.pos0, &s.n_rows, &s.n_draft, &s.tok_off, &s.blk_off, &s.n_blk,
                  &s.out_row0, &s.score_off})
    pass(*n);
  pass_choice(pass, s.out, static_cast<uint32_t>(Out::pooled) + 1);
}

template <class Pass, class Plan>
void visit_plan(Pass& pass, Plan& p) {
  visit(pass, p.key);
  pass(p.hash);
  pass_choice(pass, p.bidirectional, 2);
  pass(p.open);
  pass(p.close);
  pass(p.copy);
  pass(p.slices);
  pass(p.tokens);
  pass(p.blocks);
  pass(p.score);
}

template <class Pass, class Output>
void visit_output(Pass& pass, Output& o) {
  visit(pass, o.key);
  pass(o.plan_hash);
  for (auto& us : o.phase_us) pass(us);
  pass(o.slices);
  pass(o.tokens);
  pass(o.logprob);
  pass(o.top);
  pass(o.pooled);
  pass(o.scores);
}

/// Offsets and counts of a slice point into what came along.
Result<void> check_offsets(const StepOutput& o) {
  const auto within = [](int64_t offset, int64_t count, size_t size) {
    return offset >= 0 && count >= 0 && offset + count <= static_cast<int64_t>(size);
  };
  for (const SliceOut& s : o.slices)
    if (!within(s.tok_off, s.n_tokens, o.tokens.size()) || s.n_top < 0 ||
        !within(s.top_off, int64_t{s.n_tokens} * s.n_top, o.top.size()) ||
        !within(s.score_off, 0, o.scores.size()))
      return fail(ErrorCode::data_loss,
                  "An output that came from another rank points beyond its own arrays: the "
                  "generation ends here; look for ranks of different builds.");
  return {};
}

}  // namespace

void to_bytes(const StepPlan& plan, std::vector<std::byte>& bytes) {
  Writer writer(bytes, kPlanMagic);
  visit_plan(writer, plan);
  writer.finish();
}

void to_bytes(const StepOutput& output, std::vector<std::byte>& bytes) {
  Writer writer(bytes, kOutputMagic);
  visit_output(writer, output);
  writer.finish();
}

size_t answer_bytes_max(const StepPlan& plan) {
  // Magic, length, key, hash, phases and the counts of six vectors.
  constexpr size_t kFixed = 4 + 4 + sizeof(StepKey) + 8 + sizeof(StepOutput::phase_us) + 6 * 4;
  // Token and its log-probability, or a score; and alternatives.
  constexpr size_t kRow = sizeof(int32_t) + sizeof(float) + kTopLogprobsMax * sizeof(TokenLogprob);
  size_t bytes = kFixed + plan.slices.size() * sizeof(SliceOut);
  for (const Slice& slice : plan.slices) {
    if (slice.out == Out::pooled) return kStepBytesMax;
    if (slice.out != Out::none) bytes += static_cast<size_t>(slice.n_rows - slice.out_row0) * kRow;
  }
  return bytes;
}

Result<void> parse_step(std::span<const std::byte> bytes, StepPlan& into) {
  Reader reader(bytes, kPlanMagic);
  visit_plan(reader, into);
  return reader.finish();
}

Result<void> parse_step(std::span<const std::byte> bytes, StepOutput& into) {
  Reader reader(bytes, kOutputMagic);
  visit_output(reader, into);
  if (auto ok = reader.finish(); !ok) return ok;
  return check_offsets(into);
}

void keep_drawn(const StepOutput& output, StepOutput& into) {
  into.key = output.key;
  into.plan_hash = output.plan_hash;
  into.slices = output.slices;
  into.tokens = output.tokens;
  for (SliceOut& s : into.slices) s.top_off = s.n_top = s.score_off = 0;
}

}  // namespace troupe
