// A Router with its surroundings written down: what it sent, what each client saw. check() runs
// after every step.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cluster/router.h"
#include "model/oracle/oracle_reference.h"
#include "model/tokenizer.h"

namespace troupe::testing {

inline std::shared_ptr<const Tokenizer> oracle_tokenizer() {
  static const auto tokenizer = Tokenizer::make(oracle_tokenizer_spec()).value();
  return tokenizer;
}

/// What the oracle model answers, without the end token.
inline std::vector<TokenId> oracle_answer(const std::vector<TokenId>& prompt, size_t n) {
  std::vector<int32_t> ids;
  for (TokenId token : prompt) ids.push_back(token.value);
  std::vector<TokenId> answer;
  for (int32_t id : oracle_continue(kOracleSeed, ids, n))
    if (id != kOracleEnd) answer.emplace_back(id);
  return answer;
}

inline std::vector<TokenId> tokens_of(std::string_view text) {
  std::vector<TokenId> tokens;
  for (char c : text) tokens.emplace_back(static_cast<uint8_t>(c));
  return tokens;
}

struct SeenChoice {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<size_t> offsets;
  Finish finish = Finish::none;
};

/// What one client got.
struct Seen {
  std::vector<SeenChoice> choices;
  std::vector<LogProbs> prompt_logprobs;
  int ends = 0;  ///< last deliveries and failures
  bool last = false, inexact = false;
  std::optional<router_out::Fail> failed;
  CacheOutcome cache = CacheOutcome::not_cacheable;
  Timings timings;
  size_t deliveries = 0;
};

struct Sent {
  GroupId group;
  Incarnation incarnation;
  Enqueue enqueue;
};
struct SentCancel {
  GroupId group;
  Cancel cancel;
};

class RouterWorld {
 public:
  explicit RouterWorld(RouterConfig config = default_config()) : router(std::move(config)) {
    table.node = Incarnation(77);
  }
  static RouterConfig default_config() {
    RouterConfig config;
    config.boot = Incarnation(4242);
    return config;
  }

  // -- surroundings
  // ---------------------------------------------------------------------------------
  void list(uint32_t id, GroupState state = GroupState::ready, uint32_t generation = 1,
            std::string model = "m") {
    GroupEndpoint* endpoint = nullptr;
    for (GroupEndpoint& known : table.groups)
      if (known.group == GroupId(id)) endpoint = &known;
    if (!endpoint) endpoint = &table.groups.emplace_back();
    endpoint->group = GroupId(id);
    endpoint->model = std::move(model);
    endpoint->generation = Generation(generation);
    endpoint->state = state;
    endpoint->incarnation = process(id, generation);
    endpoint->numerics_id = numerics[id];
    endpoint->weights_id = weights[id];
  }
  static Incarnation process(uint32_t id, uint32_t generation) {
    return Incarnation(1000 * id + generation);
  }
  void publish() {
    ++table.version;
    step(router_in::Routing{table});
  }
  void link(uint32_t id, uint32_t generation = 1, bool up = true) {
    step(router_in::GroupLink{GroupId(id), process(id, generation), up});
  }
  GroupStatus status_of(uint32_t id, uint32_t generation = 1) {
    GroupStatus status;
    status.group = GroupId(id);
    status.generation = Generation(generation);
    status.steps_done = 1;
    status.step_p99 = 1ms;
    status.running = 1000;  // others' sequences: none of ours is taken for lost
    return status;
  }
  void report(const GroupStatus& status) {
    step(router_in::FromGroup{status.group, process(status.group.value, status.generation.value),
                              status});
  }
  /// Listed, linked and reporting.
  void bring_up(uint32_t id, uint32_t generation = 1) {
    list(id, GroupState::ready, generation);
    publish();
    link(id, generation);
    report(status_of(id, generation));
    reporting[id] = generation;
  }
  /// Time passes; groups in `reporting` go on reporting, due timers fire.
  void advance(Duration duration) {
    const Time end = now + duration;
    while (now < end) {
      Time next = std::min(end, now + 100ms);
      if (const auto due = router.deadline(); due && *due > now && *due < next) next = *due;
      now = next;
      step(router_in::Tick{});
      for (const auto& [id, generation] : reporting) report(status_of(id, generation));
    }
  }

  // -- requests
  // -------------------------------------------------------------------------------------
  ClientRequest request(uint64_t id, std::string prompt = "hello", int32_t max_new = 8) {
    ClientRequest r;
    r.id = RequestId{1, id};
    r.model = "m";
    r.tokenizer = oracle_tokenizer();
    r.prompt = tokens_of(prompt);
    r.max_new = max_new;
    r.deadline = 60s;
    r.stop_ids = {TokenId(0)};
    return r;
  }
  void submit(ClientRequest r) {
    seen[r.id.low].choices.resize(static_cast<size_t>(r.choices));
    step(router_in::Submit{std::move(r)});
  }
  /// A chunk as the batcher would send it in answer to `sent`.
  TokenChunk chunk(const Sent& sent, uint64_t seq, std::vector<TokenId> tokens,
                   Finish finish = Finish::none) {
    TokenChunk c;
    c.key = sent.enqueue.key;
    c.attempt = sent.enqueue.attempt;
    c.seq = seq;
    c.tokens = std::move(tokens);
    c.finish = finish;
    return c;
  }
  void send(const Sent& sent, TokenChunk c) {
    TokenBatch batch;
    batch.generation = sent.enqueue.generation;
    batch.chunks.push_back(std::move(c));
    step(router_in::FromGroup{sent.group, sent.incarnation, batch});
  }
  void refuse(const Sent& sent, ErrorCode code) {
    step(router_in::FromGroup{
        sent.group, sent.incarnation,
        Refused{sent.enqueue.key, sent.enqueue.attempt, Error{code, "refused by the test", {}}}});
  }
  /// The oracle's next `n` tokens for `sent`, from token `from` of the answer on.
  void send_oracle(const Sent& sent, size_t from, size_t n) {
    const auto max_new = static_cast<size_t>(sent.enqueue.max_new);
    const std::vector<TokenId> answer = oracle_answer(sent.enqueue.prompt, max_new);
    const size_t end = std::min(answer.size(), from + n);
    std::vector<TokenId> part(answer.begin() + static_cast<std::ptrdiff_t>(from),
                              answer.begin() + static_cast<std::ptrdiff_t>(end));
    Finish finish = Finish::none;
    if (end == answer.size()) finish = end == max_new ? Finish::length : Finish::stop;
    send(sent, chunk(sent, from, std::move(part), finish));
  }

  // -- the machine
  // ----------------------------------------------------------------------------------
  void step(RouterInput input) {
    effects.clear();
    router.step(now, input, effects);
    router.check();
    RouterEffects given = effects;
    for (RouterEffect& effect : given) std::visit([&](auto& e) { on(e); }, effect);
    if (auto_ack && !acks.empty()) {
      const JournalAck ack = acks.back();
      acks.clear();
      step(router_in::JournalAcked{ack});
      effects.insert(effects.begin(), given.begin(), given.end());
    }
  }
  template <class T>
  std::vector<T> of() const {
    std::vector<T> found;
    for (const RouterEffect& effect : effects)
      if (const T* e = std::get_if<T>(&effect)) found.push_back(*e);
    return found;
  }

  Router router;
  Time now{std::chrono::seconds(100)};
  RouterEffects effects;  ///< of the last step
  RoutingTable table;
  std::map<uint32_t, uint32_t> reporting;
  std::map<uint32_t, Digest> numerics, weights;
  std::map<uint64_t, Seen> seen;
  std::vector<Sent> sent;
  std::vector<SentCancel> cancels;
  std::vector<GroupId> prefix_requests;
  std::vector<JournalAppend> journal;
  std::vector<router_out::CacheLookup> lookups;
  std::vector<router_out::CacheStore> stores;
  std::vector<std::string> drops;
  int drained = 0;
  bool auto_ack = true;

 private:
  void on(router_out::ToGroup& e) {
    if (auto* enqueue = std::get_if<Enqueue>(&e.message))
      sent.push_back({e.group, e.incarnation, std::move(*enqueue)});
    else if (auto* cancel = std::get_if<Cancel>(&e.message))
      cancels.push_back({e.group, *cancel});
    else
      prefix_requests.push_back(std::get<PrefixRequest>(e.message).group);
  }
  void on(router_out::Deliver& e) {
    Seen& s = seen[e.id.low];
    CHECK(s.ends == 0);
    if (!e.pieces.empty() || e.last) ++s.deliveries;
    for (router_out::Piece& piece : e.pieces) {
      REQUIRE(static_cast<size_t>(piece.choice) < s.choices.size());
      SeenChoice& choice = s.choices[static_cast<size_t>(piece.choice)];
      CHECK(choice.finish == Finish::none);
      choice.text += piece.text;
      choice.tokens.insert(choice.tokens.end(), piece.tokens.begin(), piece.tokens.end());
      choice.offsets.insert(choice.offsets.end(), piece.offsets.begin(), piece.offsets.end());
      choice.finish = piece.finish;
    }
    if (!e.prompt_logprobs.empty()) s.prompt_logprobs = e.prompt_logprobs;
    s.cache = e.cache;
    s.inexact = e.inexact;
    s.timings = e.timings;
    if (e.last) {
      s.last = true;
      ++s.ends;
    }
  }
  void on(router_out::Fail& e) {
    Seen& s = seen[e.id.low];
    CHECK(s.ends == 0);
    ++s.ends;
    s.failed = e;
  }
  void on(router_out::CacheLookup& e) { lookups.push_back(e); }
  void on(router_out::CacheStore& e) { stores.push_back(e); }
  void on(router_out::Journal& e) {
    acks.push_back({e.append.router, e.append.number});
    journal.push_back(std::move(e.append));
  }
  void on(router_out::Drained&) { ++drained; }
  void on(router_out::Drop& e) { drops.emplace_back(e.why); }

  std::vector<JournalAck> acks;
};

}  // namespace troupe::testing
