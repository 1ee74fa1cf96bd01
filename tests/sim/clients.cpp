#include "tests/sim/clients.h"

#include <algorithm>

#include "config/digest.h"
#include "model/oracle/oracle_partition.h"
#include "model/oracle/oracle_reference.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

namespace {

std::shared_ptr<const Tokenizer> oracle_tokenizer() {
  static const auto tokenizer = Tokenizer::make(oracle_tokenizer_spec()).value();
  return tokenizer;
}

/// ASCII tokens only, so that text is the plain sum of its tokens' bytes.
std::vector<TokenId> make_prompt(World& world) {
  const uint64_t family = world.below(4);
  const int32_t size = world.pick(1, 70), fork = world.pick(0, 80);
  std::vector<TokenId> prompt;
  for (int32_t i = 0; i < size; ++i) {
    const uint64_t value = i < fork ? mix64(family, static_cast<uint64_t>(i)) : world.below(4095);
    prompt.emplace_back(static_cast<int32_t>(1 + value % 4095));
  }
  return prompt;
}

void foretell(Asked& a) {
  const ClientRequest& r = a.request;
  std::vector<int32_t> prompt;
  for (TokenId token : r.prompt) prompt.push_back(token.value);
  const auto length = static_cast<size_t>(r.max_new);
  const auto tokens = r.sampling.ignore_eos ? oracle_continue_past_end(kOracleSeed, prompt, length)
                                            : oracle_continue(kOracleSeed, prompt, length);
  a.finish = Finish::length;
  for (int32_t token : tokens) {
    if (token == kOracleEnd && !r.sampling.ignore_eos) {
      a.finish = Finish::stop;
    } else {
      a.answer.emplace_back(token);
    }
  }
  a.text = r.tokenizer->decode(a.answer);
  for (const std::string& stop : r.stop_strings) {
    if (const size_t at = a.text.find(stop); at != std::string::npos) {
      a.text.resize(at);
      a.finish = Finish::stop;
    }
  }
}

Digest cache_key_of(const ClientRequest& r) {
  DigestBuilder key;
  for (TokenId token : r.prompt) key.add(static_cast<uint64_t>(token.value));
  key.add(static_cast<uint64_t>(r.max_new)).add(static_cast<uint64_t>(r.choices));
  for (const std::string& stop : r.stop_strings) key.add(stop);
  key.add(static_cast<uint64_t>(r.sampling.n_logprobs + 2)).add(uint64_t{r.score_prompt});
  return key.finish();
}

/// What the groups report, so that an answer may be kept under the request's key.
Digest oracle_numerics() {
  static const Digest id = [] {
    OraclePartition partition;
    const Budget budget{.kv_blocks = 1, .max_rows = 1, .max_slots = 1, .context = 1};
    return partition.load(OracleWeights(), oracle_spec(), {.ranks = {RankPlan{}}}, 0, budget)
        .value()
        .numerics_id;
  }();
  return id;
}

bool fair(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::rate_limited ||
         code == ErrorCode::deadline_exceeded;
}

}  // namespace

void Clients::ask(Cluster& cluster, bool demanding) {
  auto routers = cluster.routers();
  // Without a routing table there is no tokenizer, and the bridge answers by itself.
  std::erase_if(
      routers, [&](const auto& r) { return r->machine.readiness(world.now(), {}).models.empty(); });
  if (routers.empty()) return;
  const auto router = routers[world.below(routers.size())];
  Asked a;
  ClientRequest& r = a.request;
  r.id = RequestId{world.fresh_id(), world.fresh_id()};
  r.model = "oracle";
  r.tokenizer = oracle_tokenizer();
  r.prompt = make_prompt(world);
  r.max_new = world.pick(0, 40);
  r.choices = world.chance(0.2) ? world.pick(2, 3) : 1;
  r.stop_ids = {TokenId(kOracleEnd)};
  r.deadline = 30s;
  if (!demanding) {
    if (world.chance(0.1)) r.deadline = world.between(5ms, 1s);
    if (world.chance(0.2)) r.sampling.n_logprobs = world.pick(0, 2);
    if (world.chance(0.1)) r.score_prompt = true;
    if (world.chance(0.1)) r.sampling.ignore_eos = true;
    if (world.chance(0.3)) {
      foretell(a);
      if (a.text.size() > 8) {
        const std::string stop = a.text.substr(world.below(a.text.size() - 4), 3);
        // Whole characters only, as the bridge sees to it.
        if (std::ranges::all_of(stop, [](char c) { return c > 0; })) r.stop_strings = {stop};
      }
      a.answer.clear();
    }
    if (world.chance(0.3)) {
      // Asked again and again: an earlier request's twin, so that answers are joined and cached.
      r.prompt = {TokenId(world.pick(300, 302))};
      r.stop_strings.clear();
      r.max_new = 30;
      r.choices = 1;
      r.sampling = {};
      r.cache_key = cache_key_of(r);
      r.numerics_id = oracle_numerics();
    }
  }
  foretell(a);
  a.choices.resize(static_cast<size_t>(r.choices));
  a.router = router->incarnation;
  a.host = router;
  a.submitted = world.now();
  const RequestId id = r.id;
  ++totals.asked;
  asked.emplace(id, a);
  world.trace(router->name, "asked {} for {} tokens x {}", to_string(id).substr(0, 6), r.max_new,
              r.choices);
  world.post(router, 0us, [router, r] { router->input(router_in::Submit{r}); });
  if (!demanding && world.chance(0.15)) {
    world.post(router, world.between(0ms, 200ms), [this, router, id] {
      Asked& leaving = asked.at(id);
      if (leaving.end == Asked::End::open) end(leaving, Asked::End::gone);
      router->input(router_in::ClientGone{id});
    });
  }
}

Asked* Clients::open(const RouterHost& router, RequestId id, const char* what) {
  auto at = asked.find(id);
  if (at == asked.end() || at->second.router != router.incarnation) {
    world.violation(fmt::format("{} {} that nobody asked it", router.name, what));
    return nullptr;
  }
  if (at->second.end == Asked::End::gone) return nullptr;  // its shell drops what comes after
  if (at->second.end != Asked::End::open) {
    world.violation(fmt::format("{} {} after the request had ended", router.name, what));
    return nullptr;
  }
  return &at->second;
}

void Clients::end(Asked& a, Asked::End how) {
  a.end = how;
  a.ended_at = world.now();
  if (how == Asked::End::complete) ++totals.complete;
  if (how == Asked::End::failed) ++totals.failed;
  if (how == Asked::End::gone) ++totals.gone;
  if (how == Asked::End::lost) ++totals.lost;
}

void Clients::check_piece(Asked& a, const router_out::Piece& piece) {
  const auto index = static_cast<size_t>(piece.choice);
  if (index >= a.choices.size())
    return world.violation("a piece of a choice that was not asked for");
  Asked::Choice& choice = a.choices[index];
  world.expect(choice.finish == Finish::none, "a piece after the end of its choice");
  for (TokenId token : piece.tokens) {
    const size_t i = choice.tokens.size();
    if (i >= a.answer.size() || a.answer[i] != token) {
      return world.violation(fmt::format("token {} of choice {} is {}, not the oracle's {}", i,
                                         piece.choice, token.value,
                                         i < a.answer.size() ? a.answer[i].value : -1));
    }
    choice.tokens.push_back(token);
    ++totals.tokens;
  }
  if (a.request.sampling.n_logprobs >= 0) {
    world.expect(piece.logprobs.size() == piece.tokens.size(),
                 "tokens without their log-probabilities");
  }
  choice.text += piece.text;
  world.expect(a.text.starts_with(choice.text),
               "text that is not the answer's beginning: '{}' of '{}'", choice.text, a.text);
  choice.finish = piece.finish;
  if (piece.finish == Finish::none) return;
  world.expect(piece.finish == a.finish, "choice ended with {} instead of {}",
               static_cast<int>(piece.finish), static_cast<int>(a.finish));
  world.expect(choice.text == a.text, "an answer whose text is cut short: '{}' of '{}'",
               choice.text, a.text);
  if (a.request.stop_strings.empty()) {
    world.expect(choice.tokens == a.answer, "an answer of {} tokens instead of {}",
                 choice.tokens.size(), a.answer.size());
  }
}

/// Nothing is shown before the peer has it, unless the peer was silent for too long. Joined and
/// cached answers are journalled under another request.
void Clients::check_journalled(const RouterHost& router, const Asked& a) {
  if (a.request.cache_key || router.machine.stats().journal_timeouts > 0) return;
  for (size_t i = 0; i < a.choices.size(); ++i) {
    const auto at = router.cluster.journalled.find({a.request.id, static_cast<int32_t>(i)});
    const size_t stored = at == router.cluster.journalled.end() ? 0 : at->second;
    world.expect(a.choices[i].tokens.size() <= stored,
                 "{} tokens were shown, but the journal's peer has {}", a.choices[i].tokens.size(),
                 stored);
  }
}

void Clients::delivered(RouterHost& router, const router_out::Deliver& deliver) {
  Asked* a = open(router, deliver.id, "delivered something");
  if (a == nullptr) return;
  for (const router_out::Piece& piece : deliver.pieces) check_piece(*a, piece);
  check_journalled(router, *a);
  if (!deliver.last) return;
  for (const Asked::Choice& choice : a->choices) {
    world.expect(choice.finish != Finish::none, "the last delivery left a choice open");
  }
  if (deliver.cache == CacheOutcome::hit_memory) ++totals.cached;
  if (deliver.cache == CacheOutcome::coalesced) ++totals.coalesced;
  if (deliver.timings.attempts > 1) ++totals.retries;
  world.trace(router.name, "completed {}", to_string(deliver.id).substr(0, 6));
  end(*a, Asked::End::complete);
}

void Clients::failed(RouterHost& router, const router_out::Fail& fail) {
  Asked* a = open(router, fail.id, "failed something");
  if (a == nullptr) return;
  world.trace(router.name, "failed {}: {}", to_string(fail.id).substr(0, 6), fail.error.message);
  world.expect(fair(fail.error.code), "a good request failed as {}: {}", name_of(fail.error.code),
               fail.error.message);
  world.expect(!fail.error.message.empty(), "an error without a sentence");
  world.expect(fail.error.code != ErrorCode::unavailable || fail.retry_after > Duration{},
               "unavailable, but nobody says when to come back");
  if (fail.error.code == ErrorCode::deadline_exceeded) {
    world.expect(world.now() >= a->submitted + a->request.deadline,
                 "a deadline that had not passed");
  } else if (calm) {
    world.violation("a request failed without any fault: " + fail.error.message);
  }
  a->error = fail.error.code;
  end(*a, Asked::End::failed);
}

void Clients::lost(const Process& process) {
  for (auto& [id, a] : asked) {
    if (a.router == process.incarnation && a.end == Asked::End::open) end(a, Asked::End::lost);
  }
}

void Clients::check_overdue() {
  for (auto& [id, a] : asked) {
    if (a.end != Asked::End::open || world.now() < a.host->stopped_until ||
        a.host->stopped_since + 5s > world.now()) {
      continue;
    }
    world.expect(world.now() < a.submitted + a.request.deadline + 2s,
                 "request {} did not end by its deadline", to_string(id));
  }
}

bool Clients::all_ended() const {
  return std::ranges::all_of(asked, [](const auto& a) { return a.second.end != Asked::End::open; });
}

}  // namespace troupe::sim
