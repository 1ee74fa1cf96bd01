#include "tests/native/exactness.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <memory>
#include <optional>

#include "config/limits.h"
#include "tests/support/message_of.h"
#include "tests/support/step_driver.h"

namespace troupe::test {

namespace {

StepOutput must(Result<StepOutput> output) {
  REQUIRE_MESSAGE(output.has_value(), message_of(output));
  for (const SliceOut& slice : output->slices) REQUIRE(slice.flags == 0);
  return std::move(*output);
}

SlotOpen open_of(const ExactRequest& request, int32_t slot, const std::vector<int32_t>& known) {
  SlotOpen open = request.sampling;
  open.slot = slot;
  open.n_prompt = static_cast<int32_t>(request.prompt.size());
  open.history = known;
  return open;
}

/// A request on its way.
struct Running {
  const ExactRequest* request = nullptr;
  ExactAnswer answer;
  std::vector<int32_t> known;  ///< prompt and answer so far
  std::vector<int32_t> table;
  int32_t slot = -1;
  int32_t computed = 0;  ///< positions, once the plans in flight are done
  int32_t settled = 0;   ///< likewise, when the plan at hand was begun
  bool opened = false;
  std::optional<BlockCopy> copy;  ///< before its next rows

  int32_t flights = 0;      ///< plans in flight that name it
  int32_t pending = 0;      ///< tokens that they draw
  bool drafting = false;    ///< one of them has drafts
  uint64_t drawn_step = 0;  ///< that draws, or drew, its newest token; 0: none, or one with drafts
  uint32_t drawn_lane = 0;
  int32_t drawn_slice = 0;

  bool done() const { return static_cast<int32_t>(answer.tokens.size()) >= request->answer; }
  int32_t left() const {
    return request->answer - static_cast<int32_t>(answer.tokens.size()) - pending;
  }
  bool may_join(uint32_t lane) const {
    return left() > 0 && !drafting && (pending == 0 || drawn_lane == lane);
  }
};

class CapriciousRun {
 public:
  CapriciousRun(Partition& partition, const std::vector<ExactRequest>& requests,
                const std::vector<ExactAnswer>& expected, Caprice caprice)
      : driver_(partition),
        expected_(expected),
        caprice_(caprice),
        random_(caprice.seed),
        lanes_(static_cast<size_t>(caprice.lanes)) {
    holders_.resize(static_cast<size_t>(caprice.kv_blocks));
    for (int32_t i = 0; i < caprice.max_slots; ++i) slots_.push_back(i);
    for (const ExactRequest& request : requests) {
      Running& r = running_.emplace_back();
      r.request = &request;
      r.known = request.prompt;
    }
  }

  std::vector<ExactAnswer> run() {
    for (int step = 0; std::ranges::any_of(running_, [](auto& r) { return !r.done(); }); ++step) {
      REQUIRE(step < 100'000);
      const bool full =
          static_cast<int32_t>(flights_.size()) == plans_in_flight_max(caprice_.lanes);
      const bool went = !full && !chance(0.2) && take_off();
      if (!went && !flights_.empty()) land();
    }
    while (!flights_.empty()) land();
    for (Running& r : running_) release(r);
    std::vector<ExactAnswer> answers;
    for (Running& r : running_) answers.push_back(std::move(r.answer));
    return answers;
  }

 private:
  struct Part {
    size_t who;
    bool samples;
  };
  struct Flight {
    std::unique_ptr<const StepPlan> plan;
    Ticket ticket;
    std::vector<Part> parts;
  };
  struct Lane {
    int flights = 0;
    uint64_t step = 0;  ///< of its newest plan
  };

  int32_t pick(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool chance(double p) { return std::bernoulli_distribution(p)(random_); }

  /// False: there is nothing to run in the lane that was drawn.
  bool take_off() {
    const auto lane = static_cast<uint32_t>(pick(0, caprice_.lanes - 1));
    if (lanes_[lane].flights == kPlansInFlightMax) return false;
    std::vector<size_t> order;
    for (size_t i = 0; i < running_.size(); ++i)
      if (running_[i].may_join(lane)) order.push_back(i);
    if (order.empty()) return false;
    std::ranges::shuffle(order, random_);
    order.resize(static_cast<size_t>(pick(1, static_cast<int32_t>(order.size()))));
    // Preempted: all is computed anew.
    if (chance(0.03) && running_[order[0]].flights == 0) release(running_[order[0]]);
    int32_t rows_left = pick(1, caprice_.max_rows);
    std::vector<Part> parts;
    for (Running& r : running_) r.settled = r.computed;
    for (size_t who : order) {
      if (rows_left == 0) break;
      if (const auto part = add(who, lane, static_cast<int32_t>(parts.size()), rows_left))
        parts.push_back(*part);
    }
    if (parts.empty()) return false;
    auto plan = std::make_unique<const StepPlan>(driver_.seal(lane));
    ++lanes_[lane].flights;
    lanes_[lane].step = plan->key.step;
    for (size_t i = 0; i < parts.size(); ++i) {
      Running& r = running_[parts[i].who];
      ++r.flights;
      if (!parts[i].samples) continue;
      ++r.pending;
      r.drafting = plan->slices[i].n_draft > 0;
      r.drawn_step = r.drafting ? 0 : plan->key.step;
      r.drawn_lane = lane;
      r.drawn_slice = static_cast<int32_t>(i);
    }
    const Ticket ticket = driver_.send(*plan);
    flights_.push_back({std::move(plan), ticket, std::move(parts)});
    return true;
  }

  /// Slice `index` of the plan at hand.
  std::optional<Part> add(size_t who, uint32_t lane, int32_t index, int32_t& rows_left) {
    Running& r = running_[who];
    if (!admit(r)) return std::nullopt;
    const auto known = static_cast<int32_t>(r.known.size());
    const int32_t wanted = known + r.pending - r.computed;
    const int32_t rows = std::min({wanted, rows_left, chance(0.5) ? pick(1, 40) : wanted});
    const bool samples = rows == wanted;
    Piece piece{.slot = r.slot, .pos0 = r.computed, .table = {}, .out = Out::none};
    const bool named = lanes_[lane].step == r.drawn_step && r.drawn_lane == lane;
    for (int32_t p = r.computed; p < r.computed + rows; ++p) {
      const bool newest = p + 1 == known + r.pending;
      const bool names = p >= known || (newest && named && r.drawn_step > 0 && chance(0.5));
      piece.tokens.push_back(names ? -1 - r.drawn_slice : r.known[static_cast<size_t>(p)]);
    }
    if (samples) {
      piece.out = Out::sample;
      const bool literal = std::ranges::all_of(piece.tokens, [](int32_t t) { return t >= 0; });
      if (literal && r.flights == 0 && chance(0.4)) add_drafts(who, piece, rows_left - rows);
    }
    const auto total = static_cast<int32_t>(piece.tokens.size());
    if (!cover(r, r.computed + total)) {
      if (r.copy) release(r);  // what is to be copied may be gone by the next step
      return std::nullopt;
    }
    rows_left -= total;
    if (r.copy) driver_.copy(r.copy->src, r.copy->dst);
    r.copy.reset();
    piece.table.assign(r.table.begin(),
                       r.table.begin() + (r.computed + total + 15) / kBlockPositions);
    if (!r.opened) {
      driver_.open(open_of(*r.request, r.slot, r.known));
      r.opened = true;
    }
    REQUIRE(index == static_cast<int32_t>(driver_.plan.slices.size()));
    driver_.add(piece);
    r.computed += total - piece.n_draft;
    return Part{who, samples};
  }

  /// The oldest plan's answer comes.
  void land() {
    Flight flight = std::move(flights_.front());
    flights_.pop_front();
    const StepOutput output = must(driver_.receive(flight.ticket));
    --lanes_[flight.plan->key.lane].flights;
    for (size_t i = 0; i < flight.parts.size(); ++i) {
      Running& r = running_[flight.parts[i].who];
      --r.flights;
      if (flight.parts[i].samples) {
        const size_t had = r.answer.tokens.size();
        take(output, i, r.answer);
        const auto got = static_cast<int32_t>(r.answer.tokens.size() - had);
        r.known.insert(r.known.end(), r.answer.tokens.begin() + static_cast<ptrdiff_t>(had),
                       r.answer.tokens.end());
        r.computed += got - 1;  // right drafts are in the KV now
        --r.pending;
        r.drafting = false;
      }
      if (r.done() && r.flights == 0) release(r);
    }
  }

  /// Right guesses, wrong ones, or a mixture; never more than may still be answered.
  void add_drafts(size_t who, Piece& piece, int32_t room) {
    Running& r = running_[who];
    const auto& truth = expected_[who].tokens;
    const int32_t most = std::min({room, r.left() - 1, 5});
    if (most < 1) return;
    piece.n_draft = pick(1, most);
    for (int32_t i = 0; i < piece.n_draft; ++i) {
      const size_t at = r.answer.tokens.size() + static_cast<size_t>(i);
      piece.tokens.push_back(chance(0.8) ? truth[at] : pick(1, 60));
    }
  }

  /// A slot, and blocks shared with another sequence that begins with the same tokens, or a copy of
  /// a block that does.
  bool admit(Running& r) {
    if (r.slot >= 0) return true;
    if (slots_.empty()) return false;
    r.slot = slots_.front();
    slots_.pop_front();
    r.computed = 0;
    if (!chance(0.7)) return true;
    for (const Running& other : running_) {
      if (&other == &r || other.slot < 0) continue;
      const auto same =
          static_cast<int32_t>(std::ranges::mismatch(r.known, other.known).in1 - r.known.begin());
      const int32_t known =
          std::min({same, other.settled, static_cast<int32_t>(r.known.size()) - 1});
      const int32_t blocks = known / kBlockPositions;
      for (int32_t i = 0; i < blocks; ++i) {
        r.table.push_back(other.table[static_cast<size_t>(i)]);
        ++holders_[static_cast<size_t>(r.table.back())];
      }
      r.computed = blocks * kBlockPositions;
      if (known > r.computed && chance(0.5) && cover(r, known)) {
        r.copy = {other.table[static_cast<size_t>(blocks)], r.table.back()};
        r.computed = known;
      }
      if (known == 0) continue;
      break;
    }
    return true;
  }

  bool cover(Running& r, int32_t positions) {
    while (static_cast<int32_t>(r.table.size()) * kBlockPositions < positions) {
      const auto free = std::ranges::find(holders_, 0);
      if (free == holders_.end()) return false;
      *free = 1;
      r.table.push_back(static_cast<int32_t>(free - holders_.begin()));
    }
    return true;
  }

  void release(Running& r) {
    if (r.slot < 0) return;
    for (int32_t block : r.table) --holders_[static_cast<size_t>(block)];
    r.table.clear();
    if (r.opened) driver_.close(r.slot);
    slots_.push_back(r.slot);
    r.slot = -1;
    r.opened = false;
    r.copy.reset();
    r.computed = r.settled = 0;
    r.drawn_step = 0;
  }

  StepDriver driver_;
  const std::vector<ExactAnswer>& expected_;
  Caprice caprice_;
  std::mt19937_64 random_;
  std::vector<Running> running_;
  std::vector<int32_t> holders_;
  std::deque<int32_t> slots_;
  std::vector<Lane> lanes_;
  std::deque<Flight> flights_;
};

}  // namespace

void take(const StepOutput& output, size_t index, ExactAnswer& answer) {
  const SliceOut& s = output.slices[index];
  for (int32_t i = 0; i < s.n_tokens; ++i) {
    answer.tokens.push_back(output.tokens[static_cast<size_t>(s.tok_off + i)]);
    answer.logprobs.push_back(output.logprob[static_cast<size_t>(s.tok_off + i)]);
    const auto top = output.top.begin() + s.top_off + i * s.n_top;
    answer.top.insert(answer.top.end(), top, top + s.n_top);
  }
}

std::vector<ExactAnswer> run_plain(Partition& partition,
                                   const std::vector<ExactRequest>& requests) {
  StepDriver driver(partition);
  std::vector<ExactAnswer> answers;
  for (const ExactRequest& request : requests) {
    ExactAnswer answer;
    driver.open(open_of(request, 0, request.prompt));
    const auto table = table_from(0, request.prompt.size() + static_cast<size_t>(request.answer));
    std::vector<int32_t> rows = request.prompt;
    int32_t position = 0;
    while (static_cast<int32_t>(answer.tokens.size()) < request.answer) {
      driver.add({.slot = 0, .pos0 = position, .tokens = rows, .table = table});
      take(must(driver.run()), 0, answer);
      position += static_cast<int32_t>(rows.size());
      rows = {answer.tokens.back()};
    }
    driver.close(0);
    answers.push_back(std::move(answer));
  }
  // The slot of the last request is closed by a step of its own.
  driver.open({.slot = 1, .temperature = 0, .n_logprobs = -1});
  driver.add({.slot = 1, .tokens = {1}, .table = {0}});
  must(driver.run());
  return answers;
}

std::vector<ExactAnswer> run_capricious(Partition& partition,
                                        const std::vector<ExactRequest>& requests,
                                        const std::vector<ExactAnswer>& expected, Caprice caprice) {
  return CapriciousRun(partition, requests, expected, caprice).run();
}

std::string difference(const std::vector<ExactAnswer>& a, const std::vector<ExactAnswer>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const std::string who = "request " + std::to_string(i) + " ";
    for (size_t t = 0; t < std::min(a[i].tokens.size(), b[i].tokens.size()); ++t) {
      if (a[i].tokens[t] != b[i].tokens[t]) return who + "token " + std::to_string(t);
      if (std::bit_cast<uint32_t>(a[i].logprobs[t]) != std::bit_cast<uint32_t>(b[i].logprobs[t]))
        return who + "log-probability of token " + std::to_string(t);
    }
    if (!(a[i] == b[i])) return who + "length or alternatives";
  }
  return {};
}

}  // namespace troupe::test
