// Random programs of requests against a live group with a pool too small for them: shared prefixes,
// several choices, cancels, lost routers, new attempts, deadlines, priorities, preemption, drafts,
// one or two plans in flight in each of one to four lanes. Whatever happens, each choice is told
// what a group tells it that has nothing else to do, and in the end nothing is held.
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "model/oracle/oracle_reference.h"
#include "tests/property/live_group.h"
#include "tests/property/property.h"

namespace troupe::test {

/// A request in small numbers; the least of each is the simplest.
struct Ask {
  int family = 0, shared = 0,
      tail = 0;  ///< prompt: tokens of a family's text, then some of its own
  int choices = 1, length = 0;
  int drawing = 0;  ///< 0: greedy; then temperatures, penalties, bias
  int seed = 0;
  int logprobs = 0;  ///< 0: none
  int extras = 0;    ///< bits: scored prompt, stop ids, priority, short deadline
};
enum class Do { ask, run, cancel, again, lose_router, wait };
struct Move {
  Do what = Do::run;
  int which = 0;  ///< of the requests so far; steps to run; ms to wait
  Ask ask;
};

std::ostream& operator<<(std::ostream& out, const GroupShape& s) {
  return out << "blocks " << s.blocks << " slots " << s.slots << " rows " << s.rows << " chunk "
             << s.chunk << " plans " << s.plans << " lanes " << s.lanes << " loop " << s.loop
             << " model " << s.model;
}
std::ostream& operator<<(std::ostream& out, const Move& move) {
  constexpr const char* kNames[] = {"ask", "run", "cancel", "again", "lose_router", "wait"};
  out << "\n  " << kNames[static_cast<int>(move.what)] << ' ' << move.which;
  const Ask& a = move.ask;
  if (move.what == Do::ask)
    out << ": family " << a.family << " shared " << a.shared << " tail " << a.tail << " choices "
        << a.choices << " length " << a.length << " drawing " << a.drawing << " seed " << a.seed
        << " logprobs " << a.logprobs << " extras " << a.extras;
  return out;
}

namespace {

/// The whole range from the first run on: small programs are none the better for small pools.
rc::Gen<int> any(int low, int high) {
  return rc::gen::resize(100, rc::gen::inRange(low, high + 1));
}

/// Prompts that are the beginning of others, and requests that meet in one step.
rc::Gen<int> often_least(int low, int high) {
  return rc::gen::oneOf(rc::gen::just(low), any(low, high));
}

rc::Gen<GroupShape> any_shape() {
  return rc::gen::build<GroupShape>(
      rc::gen::set(&GroupShape::blocks, any(4, 14)), rc::gen::set(&GroupShape::slots, any(2, 7)),
      rc::gen::set(&GroupShape::rows, any(1, 40)), rc::gen::set(&GroupShape::chunk, any(1, 24)),
      rc::gen::set(&GroupShape::plans, any(1, kPlansInFlightMax)),
      rc::gen::set(&GroupShape::lanes, often_least(1, 4)),
      rc::gen::set(&GroupShape::loop, any(0, 6)),
      rc::gen::set(&GroupShape::model, rc::gen::weightedElement<int>({{4, 0}, {1, 1}})));
}

rc::Gen<Ask> any_ask() {
  return rc::gen::build<Ask>(
      rc::gen::set(&Ask::family, any(0, 2)), rc::gen::set(&Ask::shared, any(0, 50)),
      rc::gen::set(&Ask::tail, often_least(0, 12)), rc::gen::set(&Ask::choices, any(1, 3)),
      rc::gen::set(&Ask::length, any(0, 60)), rc::gen::set(&Ask::drawing, any(0, 4)),
      rc::gen::set(&Ask::seed, any(0, 3)), rc::gen::set(&Ask::logprobs, any(0, 3)),
      rc::gen::set(&Ask::extras, any(0, 31)));
}

rc::Gen<std::vector<Move>> any_program() {
  return rc::gen::container<std::vector<Move>>(rc::gen::build<Move>(
      rc::gen::set(&Move::what, rc::gen::weightedElement<Do>({{4, Do::ask},
                                                              {8, Do::run},
                                                              {1, Do::cancel},
                                                              {1, Do::again},
                                                              {1, Do::wait},
                                                              {1, Do::lose_router}})),
      rc::gen::set(&Move::which, often_least(0, 11)), rc::gen::set(&Move::ask, any_ask())));
}

/// All requests come to their end, or the device gives up in the middle.
enum class End { rest, failure };
std::ostream& operator<<(std::ostream& out, End end) {
  return out << (end == End::rest ? "rest" : "failure");
}

/// What the programs came to: they must reach what they are meant to try.
struct Totals {
  uint64_t preemptions = 0, hits = 0, drafted = 0, right = 0, copies = 0;
  int complete = 0, withdrawn = 0, late = 0, refused = 0, aborted = 0;
};

class Program {
 public:
  Program(const GroupShape& shape, Totals& totals)
      : shape_(shape), group_(shape), totals_(totals) {}

  void run(const std::vector<Move>& moves, End end) {
    for (const Move& move : moves) make(move);
    if (end == End::failure && group_.fail_step()) return verify();
    group_.settle();
    group_.check_at_rest();
    verify();
    ask_again();
    add_up();
  }

 private:
  struct Sent {
    Enqueue request;             ///< as it was asked first
    Enqueue attempt;             ///< as it was placed last
    std::vector<TokenId> shown;  ///< by former attempts
    RouterId router;
    bool withdrawn = false;
  };

  void make(const Move& move) {
    const auto which = static_cast<size_t>(move.which);
    switch (move.what) {
      case Do::ask:
        for (int choice = 0; choice < move.ask.choices; ++choice)
          send(enqueue_of(move.ask, choice));
        ++requests_;
        break;
      case Do::run:
        for (size_t i = 0; i <= which; ++i) group_.run_step(Duration(500us) * (1 + move.which));
        break;
      case Do::cancel:
        if (Sent* s = running(which)) {
          s->withdrawn = true;
          group_.input(
              batcher_in::FromRouter{s->router, Cancel{s->attempt.key, s->attempt.attempt}});
        }
        break;
      case Do::again:
        if (Sent* s = running(which)) place_again(*s);
        break;
      case Do::lose_router: {
        const RouterId lost(1 + which % 3);
        for (Sent& s : sent_)
          if (s.router == lost && !group_.told(s.attempt).over()) s.withdrawn = true;
        group_.input(batcher_in::RouterLost{lost});
        break;
      }
      case Do::wait:
        group_.pass(std::chrono::milliseconds(move.which));
        group_.input(batcher_in::Tick{});
        break;
    }
  }

  Enqueue enqueue_of(const Ask& ask, int choice) const {
    Enqueue e;
    e.key = {RequestId{0, requests_}, choice};
    e.attempt = {Incarnation(1), OwnerEpoch(1), Attempt(1)};
    e.generation = group_.config.generation;
    // Short texts, so that lookups of drafts find something.
    for (int i = 0; i < ask.shared; ++i) e.prompt.emplace_back(1 + (ask.family * 5 + i * i) % 19);
    for (int i = 0; i < ask.tail; ++i) e.prompt.emplace_back(1 + (ask.seed * 3 + i) % 22);
    if (e.prompt.empty()) e.prompt.emplace_back(1);
    e.max_new = ask.length;
    e.deadline_left = (ask.extras & 24) == 24 ? Duration(20ms) : Duration(600s);
    e.priority = ask.extras & 4 ? 1 : 0;
    if (ask.extras & 2) e.stop_ids = {TokenId(ask.seed), TokenId(ask.seed + 4)};
    e.score_prompt = (ask.extras & 1) != 0;
    Sampling& s = e.sampling;
    s.seed = static_cast<uint64_t>(ask.seed);
    s.n_logprobs = ask.logprobs - 1;
    s.temperature = ask.drawing == 0 ? 0 : 0.5f + 0.25f * static_cast<float>(ask.drawing);
    if (ask.drawing == 2) s.top_p = 0.9f;
    if (ask.drawing == 3) s.presence = 0.5f;
    if (ask.drawing == 4) s.bias = {{ask.seed, 2.0f}};
    return e;
  }

  void send(const Enqueue& request) {
    sent_.push_back(Sent{request, request, {}, RouterId(1 + request.key.id.low % 3)});
    group_.enqueue(request, sent_.back().router);
  }
  Sent* running(size_t which) {
    if (sent_.empty()) return nullptr;
    Sent& s = sent_[which % sent_.size()];
    return s.withdrawn || group_.told(s.attempt).over() ? nullptr : &s;
  }
  /// As a router does after a failure: the next attempt has what was shown already.
  void place_again(Sent& s) {
    const Told& told = group_.told(s.attempt);
    s.shown.insert(s.shown.end(), told.tokens.begin(), told.tokens.end());
    s.attempt.accepted = s.shown;
    s.attempt.attempt.counter = s.attempt.attempt.counter.next();
    if (!s.shown.empty()) s.attempt.score_prompt = false;
    group_.enqueue(s.attempt, s.router);
  }

  /// What this choice is told by a group that has nothing else to do and plans one step at a time.
  Told alone(Enqueue request) const {
    GroupShape shape = shape_;
    shape.plans = shape.lanes = 1;
    LiveGroup group(shape);
    request.deadline_left = 600s;
    group.enqueue(request, RouterId(1));
    group.settle();
    group.check_at_rest();
    return group.told(request);
  }

  void verify() {
    for (const Sent& s : sent_) {
      const Told& told = group_.told(s.attempt);
      const Told whole = alone(s.request);
      check_alone(s.request, whole);
      compare(s, told, whole);
    }
  }

  void compare(const Sent& s, const Told& told, const Told& whole) {
    must(s.withdrawn || told.over(), "every request ends");
    const size_t before = s.shown.size();
    must(before + told.tokens.size() <= whole.tokens.size(), "no more tokens than alone");
    for (size_t i = 0; i < before + told.tokens.size(); ++i)
      must((i < before ? s.shown[i] : told.tokens[i - before]) == whole.tokens[i],
           "the tokens are those the choice gets alone");
    for (size_t i = 0; i < told.logprobs.size(); ++i)
      must(told.logprobs[i] == whole.logprobs[before + i],
           "the log-probabilities are those the choice gets alone");
    if (told.refused) {
      const ErrorCode code = told.refused->code;
      const bool never = code == ErrorCode::too_large || code == ErrorCode::invalid_argument;
      must(!never || (whole.refused && whole.refused->code == code),
           "what can never run can't run alone either");
      must(never || code == ErrorCode::rate_limited || code == ErrorCode::deadline_exceeded ||
               code == ErrorCode::aborted,
           "requests are refused for known reasons");
      ++(code == ErrorCode::deadline_exceeded ? totals_.late
         : code == ErrorCode::aborted         ? totals_.aborted
                                              : totals_.refused);
    } else if (s.withdrawn) {
      ++totals_.withdrawn;
    } else {
      must(told.finish == whole.finish, "the answer ends as it does alone");
      must(before + told.tokens.size() == whole.tokens.size(), "the answer is whole");
      if (s.attempt.score_prompt)
        must(told.prompt_logprobs == whole.prompt_logprobs, "the prompt's scores are those alone");
      ++totals_.complete;
    }
  }

  /// The live group alone against the model itself: neither blocks nor steps, but the whole prefix.
  void check_alone(const Enqueue& e, const Told& alone) const {
    if (alone.refused) return;
    const auto length =
        std::min<size_t>(static_cast<size_t>(e.max_new), LiveGroup::kContext - e.prompt.size());
    std::vector<int32_t> prompt;
    for (TokenId token : e.prompt) prompt.push_back(token.value);
    std::vector<int32_t> expected;
    if (shape_.model == 1) {
      expected = oracle_continue_past_end(kOracleSeed, prompt, length);
    } else {
      const Sampling& s = e.sampling;
      const SlotOpen slot{.seed = s.seed,
                          .choice = e.key.choice,
                          .n_prompt = static_cast<int32_t>(prompt.size()),
                          .temperature = s.temperature,
                          .top_p = s.top_p,
                          .presence = s.presence,
                          .n_logprobs = s.n_logprobs,
                          .bias = s.bias,
                          .history = prompt};
      const ToyAnswer answer = toy_answer(slot, prompt, static_cast<int32_t>(length), shape_.loop);
      expected = answer.tokens;
      for (size_t i = 0; i < alone.logprobs.size(); ++i)
        must(alone.logprobs[i].logprob == answer.logprobs[i],
             "alone: the model's log-probabilities");
    }
    const auto stop = std::ranges::find_if(expected, [&](int32_t token) {
      return std::ranges::find(e.stop_ids, TokenId(token)) != e.stop_ids.end();
    });
    must((alone.finish == Finish::stop) == (stop != expected.end()),
         "alone: it ends where it should");
    expected.erase(stop, expected.end());
    must(alone.tokens.size() == expected.size(), "alone: the answer is whole");
    for (size_t i = 0; i < expected.size(); ++i)
      must(alone.tokens[i].value == expected[i], "alone: the model's tokens");
  }

  /// What the program left in the cache gives the same answers, and no promise of a prefix is left
  /// that somebody would wait for.
  void ask_again() {
    const size_t asked = sent_.size();
    for (size_t i = 0; i < asked; i += 3) {
      Enqueue again = sent_[i].request;
      again.key.id.high = 1;
      again.deadline_left = 600s;
      sent_.push_back(Sent{again, again, {}, RouterId(1)});
      group_.enqueue(again, RouterId(1));
      group_.settle();
      compare(sent_.back(), group_.told(again), alone(again));
    }
    group_.check_at_rest();
  }

  void add_up() {
    const GroupStatus status = group_.status();
    totals_.preemptions += status.preemptions;
    totals_.hits += status.prefix_hits;
    totals_.drafted += status.drafted;
    totals_.right += status.drafts_right;
    totals_.copies += group_.copies();
  }

  GroupShape shape_;
  LiveGroup group_;
  Totals& totals_;
  std::vector<Sent> sent_;
  uint64_t requests_ = 0;
};

}  // namespace
}  // namespace troupe::test

using namespace troupe::test;

TEST_CASE(
    "batcher: in any program each choice is told what it is told alone, and nothing is left") {
  Totals totals;
  holds(1500, [&] {
    const GroupShape shape = *any_shape();
    const std::vector<Move> moves = *any_program();
    Program(shape, totals)
        .run(moves, *rc::gen::weightedElement<End>({{4, End::rest}, {1, End::failure}}));
  });
  MESSAGE(totals.preemptions << " preemptions, " << totals.hits << " positions hit, "
                             << totals.copies << " blocks copied, " << totals.right << " of "
                             << totals.drafted << " drafts right; " << totals.complete
                             << " complete, " << totals.withdrawn << " withdrawn, " << totals.late
                             << " late, " << totals.refused << " refused, " << totals.aborted
                             << " aborted");
  CHECK(totals.preemptions > 300);
  CHECK(totals.hits > 50'000);
  CHECK(totals.copies > 1'000);
  CHECK(totals.right > 5'000);
  CHECK(totals.drafted > totals.right + 1'000);
  CHECK(totals.late > 200);
  CHECK(totals.aborted > 200);
  CHECK(totals.complete > 5'000);
}
