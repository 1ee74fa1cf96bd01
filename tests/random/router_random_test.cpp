// Random faults against the router: model groups answer with the oracle's tokens over links that
// lose, repeat and delay; whatever happens, each client sees a prefix of the oracle's answer, gets
// exactly one end, and nothing is left behind. The seed of a failing run is printed; ROUTER_SEED=n
// runs that one alone.
#include <doctest/doctest.h>

#include <cstdlib>
#include <deque>
#include <random>

#include "cluster/journal_store.h"
#include "tests/unit/router_fixture.h"

namespace troupe {
namespace router_random_test {
namespace {

using testing::oracle_answer;
using testing::oracle_tokenizer;
using testing::tokens_of;

struct Running {
  Enqueue enqueue;
  std::vector<TokenId> answer;  ///< all of it, without the end token
  size_t next = 0;
};

struct ModelGroup {
  GroupId id;
  uint32_t generation = 1;
  bool alive = true, linked = true;
  Time back{};
  std::map<SequenceKey, Running> running;
  Incarnation process() const { return Incarnation(1000 * id.value + generation); }
};

struct Client {
  ClientRequest request;
  std::vector<TokenId> whole;  ///< what the oracle says
  std::vector<std::vector<TokenId>> tokens;
  std::vector<std::string> text;
  std::vector<Finish> finish;
  int ends = 0;
  bool gone = false, failed = false;
};

class Storm {
 public:
  explicit Storm(uint64_t seed) : random_(seed), router_(config()) {
    for (uint32_t id = 1; id <= 3; ++id) groups_.push_back({GroupId(id)});
    publish();
    for (ModelGroup& group : groups_) link(group, true);
  }

  void run() {
    for (int i = 0; i < 400; ++i) turn(Faults::on);
    for (ModelGroup& group : groups_) revive(group);
    // Faults are over: everything must end by itself.
    for (int i = 0; i < 3'000 && open() > 0; ++i) turn(Faults::off);
    for (const auto& [id, client] : clients_)
      if (!client.gone) CHECK_MESSAGE(client.ends == 1, "request ", id);
    // If the last append was lost, the next one shows the gap.
    submit();
    for (int i = 0; i < 1'000 && open() > 0; ++i) turn(Faults::off);
    for (int i = 0; i < 10; ++i) turn(Faults::off);
    CHECK(router_.stats().queued + router_.stats().running == 0);
    for (const ModelGroup& group : groups_) CHECK(group.running.empty());
    CHECK(store_.entries() == 0);
  }
  int answered = 0, failed = 0, journal_checks = 0;
  RouterStats stats() const { return router_.stats(); }

 private:
  enum class Faults : uint8_t { off, on };

  static RouterConfig config() {
    RouterConfig config;
    config.boot = Incarnation(31);
    config.limits.router_requests = 60;
    config.limits.queue_wait = 2s;
    return config;
  }
  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  uint64_t pick(uint64_t n) { return random_() % n; }
  size_t open() const {
    size_t n = 0;
    for (const auto& [id, client] : clients_) n += client.ends == 0 && !client.gone ? 1 : 0;
    return n;
  }

  void turn(Faults faults) {
    faulty_ = faults == Faults::on;
    const Duration step = std::chrono::milliseconds(1 + pick(40));
    now_ += step;
    give(router_in::Tick{});
    if (faulty_) {
      if (chance(0.5)) submit();
      if (chance(0.03)) leave();
      if (chance(0.02)) kill(groups_[pick(groups_.size())]);
      if (chance(0.01)) cut(groups_[pick(groups_.size())]);
    }
    for (ModelGroup& group : groups_) {
      if (!group.alive && now_ >= group.back) revive(group);
      if (group.alive && !group.linked && chance(0.3)) link(group, true);
      if (group.alive && group.linked) work(group);
    }
    flush_inbox();
  }

  void submit() {
    ClientRequest r;
    r.id = RequestId{7, ++ids_};
    r.model = "m";
    r.tokenizer = oracle_tokenizer();
    r.prompt = tokens_of("prompt " + std::to_string(pick(30)));
    r.choices = static_cast<int32_t>(1 + pick(3));
    r.max_new = static_cast<int32_t>(1 + pick(60));
    r.deadline = std::chrono::milliseconds(500 + pick(20'000));
    r.stop_ids = {TokenId(0)};
    if (chance(0.2)) r.stop_strings = {"e"};
    if (chance(0.4)) {
      Digest key{};
      key[0] = static_cast<uint8_t>(r.prompt.back().value);
      key[1] = static_cast<uint8_t>(r.prompt.size());
      key[2] = static_cast<uint8_t>(r.choices);
      key[3] = static_cast<uint8_t>(r.max_new);
      key[4] = static_cast<uint8_t>(r.stop_strings.size());
      key[5] = static_cast<uint8_t>(r.prompt[r.prompt.size() - 2].value);
      r.cache_key = key;
    }
    Client& client = clients_[r.id.low];
    client.request = r;
    client.whole = oracle_answer(r.prompt, static_cast<size_t>(r.max_new));
    client.tokens.resize(static_cast<size_t>(r.choices));
    client.text.resize(static_cast<size_t>(r.choices));
    client.finish.resize(static_cast<size_t>(r.choices));
    give(router_in::Submit{std::move(r)});
  }
  void leave() {
    std::vector<uint64_t> candidates;
    for (const auto& [id, client] : clients_)
      if (client.ends == 0 && !client.gone) candidates.push_back(id);
    if (candidates.empty()) return;
    const uint64_t id = candidates[pick(candidates.size())];
    clients_[id].gone = true;
    give(router_in::ClientGone{RequestId{7, id}});
  }

  void publish() {
    RoutingTable table;
    table.node = Incarnation(1);
    table.version = ++version_;
    for (const ModelGroup& group : groups_) {
      GroupEndpoint endpoint;
      endpoint.group = group.id;
      endpoint.model = "m";
      endpoint.generation = Generation(group.generation);
      endpoint.state = group.alive ? GroupState::ready : GroupState::starting;
      endpoint.incarnation = group.process();
      table.groups.push_back(endpoint);
    }
    give(router_in::Routing{table});
  }
  void link(ModelGroup& group, bool up) {
    group.linked = up;
    give(router_in::GroupLink{group.id, group.process(), up});
    if (up) status(group);
  }
  void kill(ModelGroup& group) {
    if (!group.alive) return;
    group.alive = false;
    group.back = now_ + std::chrono::milliseconds(pick(3'000));
    for (const auto& [key, running] : group.running)
      if (chance(0.5) && group.linked)
        send(group, Refused{key, running.enqueue.attempt, Error{ErrorCode::aborted, "died", {}}});
    group.running.clear();
    if (chance(0.5) && group.linked) link(group, false);
    group.linked = false;
    ++group.generation;
    publish();
  }
  void revive(ModelGroup& group) {
    if (group.alive && group.linked) return;
    const bool died = !group.alive;
    group.alive = true;
    if (died) publish();
    link(group, true);
  }
  void cut(ModelGroup& group) {
    if (!group.alive || !group.linked) return;
    group.running.clear();  // the batcher cancels a lost router's sequences
    link(group, false);
  }
  void status(ModelGroup& group) {
    GroupStatus status;
    status.group = group.id;
    status.generation = Generation(group.generation);
    status.step_p99 = 1ms;
    status.running = static_cast<int32_t>(group.running.size());
    send(group, status);
  }

  void work(ModelGroup& group) {
    TokenBatch batch;
    batch.generation = Generation(group.generation);
    std::vector<SequenceKey> over;
    for (auto& [key, running] : group.running) {
      if (chance(0.3)) continue;
      TokenChunk chunk;
      chunk.key = key;
      chunk.attempt = running.enqueue.attempt;
      chunk.seq = running.next;
      const size_t end = std::min(running.answer.size(), running.next + 1 + pick(3));
      for (; running.next < end; ++running.next)
        chunk.tokens.push_back(running.answer[running.next]);
      if (end == running.answer.size()) {
        chunk.finish =
            end == static_cast<size_t>(running.enqueue.max_new) ? Finish::length : Finish::stop;
        over.push_back(key);
      }
      if (faulty_ && chance(0.01)) continue;  // lost on its way
      if (faulty_ && chance(0.01)) batch.chunks.push_back(chunk);
      batch.chunks.push_back(std::move(chunk));
    }
    for (const SequenceKey& key : over) group.running.erase(key);
    if (!batch.chunks.empty()) send(group, std::move(batch));
    if (chance(0.5)) status(group);
  }

  /// Over the link, in order, some time.
  template <class M>
  void send(ModelGroup& group, M message) {
    inbox_.push_back({group.id, group.process(), std::move(message)});
  }
  void flush_inbox() {
    while (!inbox_.empty() && !chance(0.1)) {
      router_in::FromGroup message = std::move(inbox_.front());
      inbox_.pop_front();
      give(std::move(message));
    }
  }

  void give(RouterInput input) {
    RouterEffects effects;
    router_.step(now_, input, effects);
    router_.check();
    for (RouterEffect& effect : effects) std::visit([&](auto& e) { on(e); }, effect);
    while (!replies_.empty()) {
      RouterInput reply = std::move(replies_.front());
      replies_.pop_front();
      give(std::move(reply));
    }
  }
  void on(router_out::ToGroup& e) {
    ModelGroup& group = groups_[e.group.value - 1];
    if (!group.alive || !group.linked || group.process() != e.incarnation) return;
    if (const auto* cancel = std::get_if<Cancel>(&e.message)) {
      const auto running = group.running.find(cancel->key);
      if (running != group.running.end() && running->second.enqueue.attempt == cancel->attempt)
        group.running.erase(running);
      return;
    }
    Enqueue& enqueue = std::get<Enqueue>(e.message);
    if (faulty_ && chance(0.02)) return;  // lost on its way
    if (faulty_ && chance(0.05))
      return send(
          group, Refused{enqueue.key, enqueue.attempt, Error{ErrorCode::rate_limited, "full", {}}});
    const auto most = static_cast<size_t>(enqueue.max_new);
    Running running{enqueue, oracle_answer(enqueue.prompt, most), enqueue.accepted.size()};
    // A token is computed from exactly the tokens shown and held so far.
    REQUIRE(running.answer.size() >= enqueue.accepted.size());
    CHECK(std::equal(enqueue.accepted.begin(), enqueue.accepted.end(), running.answer.begin()));
    TokenChunk taken;
    taken.key = enqueue.key;
    taken.attempt = enqueue.attempt;
    taken.seq = running.next;
    send(group, TokenBatch{Generation(group.generation), StepId{}, {taken}});
    group.running.insert_or_assign(enqueue.key, std::move(running));
  }
  void on(router_out::Deliver& e) {
    Client& client = clients_.at(e.id.low);
    CHECK(client.ends == 0);
    CHECK_FALSE(client.gone);
    for (const router_out::Piece& piece : e.pieces) {
      const auto choice = static_cast<size_t>(piece.choice);
      CHECK(client.finish[choice] == Finish::none);
      for (TokenId token : piece.tokens) client.tokens[choice].push_back(token);
      client.text[choice] += piece.text;
      client.finish[choice] = piece.finish;
    }
    for (size_t choice = 0; choice < client.tokens.size(); ++choice) check_prefix(client, choice);
    if (!e.last && !client.request.cache_key) check_journalled(client);
    if (!e.last) return;
    ++client.ends;
    ++answered;
    for (size_t choice = 0; choice < client.tokens.size(); ++choice) check_whole(client, choice);
  }
  void check_prefix(const Client& client, size_t choice) {
    const auto& seen = client.tokens[choice];
    REQUIRE(seen.size() <= client.whole.size());
    CHECK(std::equal(seen.begin(), seen.end(), client.whole.begin()));
  }
  void check_journalled(const Client& client) {
    if (router_.stats().journal_timeouts > 0) return;
    const JournalEntry entry = store_.read(client.request.id);
    REQUIRE(entry.known);
    for (size_t choice = 0; choice < client.tokens.size(); ++choice)
      CHECK(entry.accepted[choice].size() >= client.tokens[choice].size());
    ++journal_checks;
  }
  void check_whole(const Client& client, size_t choice) {
    const std::string all = oracle_tokenizer()->decode(client.whole);
    const auto& stops = client.request.stop_strings;
    const size_t stop = stops.empty() ? std::string::npos : all.find(stops[0]);
    CHECK(client.text[choice] == all.substr(0, stop));
    if (stop != std::string::npos) CHECK(client.finish[choice] == Finish::stop);
    CHECK(client.finish[choice] != Finish::none);
  }
  void on(router_out::Fail& e) {
    Client& client = clients_.at(e.id.low);
    CHECK(client.ends == 0);
    CHECK_FALSE(e.error.message.empty());
    client.failed = true;
    ++client.ends;
    ++failed;
  }
  void on(router_out::CacheLookup& e) {
    if (faulty_ && chance(0.3)) return;  // a slow cache
    const auto found = cache_.find(e.key);
    router_in::CacheReply reply{e.id, CacheTier::none, nullptr};
    if (found != cache_.end()) reply = {e.id, CacheTier::memory, found->second};
    replies_.push_back(reply);
  }
  void on(router_out::CacheStore& e) { cache_[e.key] = e.response; }
  void on(router_out::Journal& e) {
    if (faulty_ && chance(0.02)) return;  // lost on its way
    const auto ack = store_.append(now_, e.append);
    store_.check();
    if (ack && !(faulty_ && chance(0.05))) replies_.push_back(router_in::JournalAcked{*ack});
  }
  void on(router_out::Drained&) { FAIL("nobody asked it to drain"); }
  void on(router_out::Drop&) {}

  std::mt19937_64 random_;
  Router router_;
  Time now_{std::chrono::seconds(1)};
  bool faulty_ = true;
  std::vector<ModelGroup> groups_;
  std::map<uint64_t, Client> clients_;
  std::map<Digest, std::shared_ptr<const CachedResponse>> cache_;
  std::deque<router_in::FromGroup> inbox_;
  std::deque<RouterInput> replies_;
  JournalStore store_;
  uint64_t ids_ = 0, version_ = 0;
};

TEST_CASE("router: under random faults every client sees the oracle's answer once and in order") {
  const char* one = std::getenv("ROUTER_SEED");
  const uint64_t first = one ? std::strtoull(one, nullptr, 10) : 1;
  const uint64_t last = one ? first : 60;
  int answered = 0, failed = 0;
  uint64_t retries = 0, journal_checks = 0;
  for (uint64_t seed = first; seed <= last; ++seed) {
    CAPTURE(seed);
    Storm storm(seed);
    storm.run();
    answered += storm.answered;
    failed += storm.failed;
    journal_checks += static_cast<uint64_t>(storm.journal_checks);
    retries += storm.stats().retries;
  }
  MESSAGE(answered, " answered, ", failed, " failed by name, ", retries, " retries");
  if (one) return;
  CHECK(answered > 3'000);
  CHECK(retries > 1'000);
  CHECK(journal_checks > 1'000);
}

}  // namespace
}  // namespace router_random_test
}  // namespace troupe
