#include "net/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "config/check.h"
#include "config/limits.h"
#include "wire.pb.h"

namespace troupe {

namespace {

/// Thrown in this file only: a field that cannot be.
struct BadField {
  const char* what;
};

// -- small parts
// ---------------------------------------------------------------------------------------------

template <size_t N>
void put(std::string* to, const std::array<uint8_t, N>& from) {
  to->assign(reinterpret_cast<const char*>(from.data()), N);
}
template <size_t N>
void take(std::array<uint8_t, N>& to, const std::string& from, const char* what) {
  if (from.size() != N) throw BadField{what};
  std::memcpy(to.data(), from.data(), N);
}
template <class E>
E take_enum(uint32_t value, E last, const char* what) {
  if (value > static_cast<uint32_t>(last)) throw BadField{what};
  return static_cast<E>(value);
}

void put(wire::RequestId* to, const RequestId& from) {
  to->set_high(from.high);
  to->set_low(from.low);
}
RequestId take(const wire::RequestId& from) { return {from.high(), from.low()}; }

void put(wire::AttemptId* to, const AttemptId& from) {
  to->set_boot(from.boot.value);
  to->set_owner(from.owner.value);
  to->set_counter(from.counter.value);
}
AttemptId take(const wire::AttemptId& from) {
  return {Incarnation(from.boot()), OwnerEpoch(from.owner()), Attempt(from.counter())};
}

void put(wire::SequenceKey* to, const SequenceKey& from) {
  put(to->mutable_id(), from.id);
  to->set_choice(from.choice);
}
SequenceKey take(const wire::SequenceKey& from) { return {take(from.id()), from.choice()}; }

void put(wire::Error* to, const Error& from) {
  to->set_code(static_cast<uint32_t>(from.code));
  to->set_message(from.message);
  to->set_param(from.param);
}
Error take(const wire::Error& from) {
  return {take_enum(from.code(), ErrorCode::internal, "error code"), from.message(), from.param()};
}

using Ints = google::protobuf::RepeatedField<int32_t>;
void put(Ints* to, const std::vector<TokenId>& from) {
  to->Reserve(static_cast<int>(from.size()));
  for (TokenId token : from) to->AddAlreadyReserved(token.value);
}
std::vector<TokenId> take_tokens(const Ints& from) {
  std::vector<TokenId> to;
  to.reserve(static_cast<size_t>(from.size()));
  for (int32_t token : from) to.emplace_back(token);
  return to;
}

void put(wire::Sampling* to, const Sampling& from) {
  to->set_temperature(from.temperature);
  to->set_top_p(from.top_p);
  to->set_min_p(from.min_p);
  to->set_repetition(from.repetition);
  to->set_presence(from.presence);
  to->set_frequency(from.frequency);
  to->set_top_k(from.top_k);
  to->set_seed(from.seed);
  to->set_n_logprobs(from.n_logprobs);
  to->set_min_new(from.min_new);
  to->set_ignore_eos(from.ignore_eos);
  for (auto [token, value] : from.bias) {
    auto* bias = to->add_bias();
    bias->set_token(token);
    bias->set_value(value);
  }
}
Sampling take(const wire::Sampling& from) {
  Sampling to;
  to.temperature = from.temperature();
  to.top_p = from.top_p();
  to.min_p = from.min_p();
  to.repetition = from.repetition();
  to.presence = from.presence();
  to.frequency = from.frequency();
  to.top_k = from.top_k();
  to.seed = from.seed();
  to.n_logprobs = from.n_logprobs();
  to.min_new = from.min_new();
  to.ignore_eos = from.ignore_eos();
  for (const auto& bias : from.bias()) to.bias.emplace_back(bias.token(), bias.value());
  return to;
}

void put(wire::LogProbs* to, const LogProbs& from) {
  to->set_logprob(from.logprob);
  for (TokenLogprob top : from.top) {
    to->add_top_tokens(top.token);
    to->add_top_logprobs(top.logprob);
  }
}
LogProbs take(const wire::LogProbs& from) {
  if (from.top_tokens_size() != from.top_logprobs_size()) throw BadField{"logprobs"};
  LogProbs to;
  to.logprob = from.logprob();
  for (int i = 0; i < from.top_tokens_size(); ++i)
    to.top.push_back({from.top_tokens(i), from.top_logprobs(i)});
  return to;
}

// -- messages, in wire order
// -----------------------------------------------------------------------------------

void put(wire::Hello* to, const Hello& from) {
  to->set_cluster(from.cluster);
  to->set_wire_version(from.wire_version);
  to->set_build(from.build);
  to->set_node(from.node);
  to->set_role(static_cast<uint32_t>(from.role));
  to->set_process(from.process);
  to->set_incarnation(from.incarnation.value);
  put(to->mutable_config_digest(), from.config_digest);
}
Hello take(const wire::Hello& from) {
  Hello to;
  to.cluster = from.cluster();
  to.wire_version = from.wire_version();
  to.build = from.build();
  to.node = from.node();
  to.role = take_enum(from.role(), Role::client, "role");
  to.process = from.process();
  to.incarnation = Incarnation(from.incarnation());
  take(to.config_digest, from.config_digest(), "config digest");
  return to;
}

void put(wire::HelloReply* to, const HelloReply& from) {
  to->set_incarnation(from.incarnation.value);
  to->set_accepted(from.accepted);
  to->set_reason(from.reason);
}
HelloReply take(const wire::HelloReply& from) {
  return {Incarnation(from.incarnation()), from.accepted(), from.reason()};
}

void put(wire::Enqueue* to, const Enqueue& from) {
  put(to->mutable_key(), from.key);
  put(to->mutable_attempt(), from.attempt);
  to->set_generation(from.generation.value);
  put(to->mutable_weights_id(), from.weights_id);
  put(to->mutable_prompt(), from.prompt);
  put(to->mutable_accepted(), from.accepted);
  to->set_max_new(from.max_new);
  put(to->mutable_sampling(), from.sampling);
  put(to->mutable_stop_ids(), from.stop_ids);
  to->set_deadline_left(from.deadline_left.count());
  to->set_adapter(from.adapter);
  to->set_priority(from.priority);
  put(to->mutable_tenant(), from.tenant);
  to->set_score_prompt(from.score_prompt);
}
Enqueue take(const wire::Enqueue& from) {
  Enqueue to;
  to.key = take(from.key());
  to.attempt = take(from.attempt());
  to.generation = Generation(from.generation());
  take(to.weights_id, from.weights_id(), "weights id");
  to.prompt = take_tokens(from.prompt());
  to.accepted = take_tokens(from.accepted());
  to.max_new = from.max_new();
  to.sampling = take(from.sampling());
  to.stop_ids = take_tokens(from.stop_ids());
  to.deadline_left = Duration(from.deadline_left());
  to.adapter = from.adapter();
  to.priority = from.priority();
  take(to.tenant, from.tenant(), "tenant");
  to.score_prompt = from.score_prompt();
  return to;
}

void put(wire::Cancel* to, const Cancel& from) {
  put(to->mutable_key(), from.key);
  put(to->mutable_attempt(), from.attempt);
}
Cancel take(const wire::Cancel& from) { return {take(from.key()), take(from.attempt())}; }

void put(wire::TokenBatch* to, const TokenBatch& from) {
  to->set_generation(from.generation.value);
  to->set_step(from.step.value);
  for (const TokenChunk& chunk : from.chunks) {
    auto* c = to->add_chunks();
    put(c->mutable_key(), chunk.key);
    put(c->mutable_attempt(), chunk.attempt);
    c->set_seq(chunk.seq);
    put(c->mutable_tokens(), chunk.tokens);
    for (const LogProbs& l : chunk.logprobs) put(c->add_logprobs(), l);
    for (const LogProbs& l : chunk.prompt_logprobs) put(c->add_prompt_logprobs(), l);
    c->set_finish(static_cast<uint32_t>(chunk.finish));
    c->set_cached_tokens(chunk.cached_tokens);
    c->set_queued(chunk.queued.count());
    c->set_prefill(chunk.prefill.count());
  }
}
TokenBatch take(const wire::TokenBatch& from) {
  TokenBatch to;
  to.generation = Generation(from.generation());
  to.step = StepId(from.step());
  to.chunks.reserve(static_cast<size_t>(from.chunks_size()));
  for (const auto& c : from.chunks()) {
    TokenChunk& chunk = to.chunks.emplace_back();
    chunk.key = take(c.key());
    chunk.attempt = take(c.attempt());
    chunk.seq = c.seq();
    chunk.tokens = take_tokens(c.tokens());
    for (const auto& l : c.logprobs()) chunk.logprobs.push_back(take(l));
    for (const auto& l : c.prompt_logprobs()) chunk.prompt_logprobs.push_back(take(l));
    chunk.finish = take_enum(c.finish(), Finish::cancelled, "finish");
    chunk.cached_tokens = c.cached_tokens();
    chunk.queued = Duration(c.queued());
    chunk.prefill = Duration(c.prefill());
  }
  return to;
}

void put(wire::Refused* to, const Refused& from) {
  put(to->mutable_key(), from.key);
  put(to->mutable_attempt(), from.attempt);
  put(to->mutable_error(), from.error);
}
Refused take(const wire::Refused& from) {
  return {take(from.key()), take(from.attempt()), take(from.error())};
}

void put(wire::GroupStatus* to, const GroupStatus& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
  to->set_steps_done(from.steps_done);
  to->set_last_step_age(from.last_step_age.count());
  to->set_step_running(from.step_running.count());
  to->set_step_p99(from.step_p99.count());
  to->set_queued(from.queued);
  to->set_running(from.running);
  to->set_queued_tokens(from.queued_tokens);
  to->set_blocks_used(from.blocks_used);
  to->set_blocks_total(from.blocks_total);
  to->set_blocks_cached(from.blocks_cached);
  to->set_preemptions(from.preemptions);
  to->set_prefix_queries(from.prefix_queries);
  to->set_prefix_hits(from.prefix_hits);
  to->set_drafted(from.drafted);
  to->set_drafts_right(from.drafts_right);
  for (uint64_t us : from.phase_us) to->add_phase_us(us);
  to->set_prompt_rows(from.prompt_rows);
  to->set_draining(from.draining);
}
GroupStatus take(const wire::GroupStatus& from) {
  GroupStatus to;
  to.group = GroupId(from.group());
  to.generation = Generation(from.generation());
  to.steps_done = from.steps_done();
  to.last_step_age = Duration(from.last_step_age());
  to.step_running = Duration(from.step_running());
  to.step_p99 = Duration(from.step_p99());
  to.queued = from.queued();
  to.running = from.running();
  to.queued_tokens = from.queued_tokens();
  to.blocks_used = from.blocks_used();
  to.blocks_total = from.blocks_total();
  to.blocks_cached = from.blocks_cached();
  to.preemptions = from.preemptions();
  to.prefix_queries = from.prefix_queries();
  to.prefix_hits = from.prefix_hits();
  to.drafted = from.drafted();
  to.drafts_right = from.drafts_right();
  const auto phases = std::min(to.phase_us.size(), static_cast<size_t>(from.phase_us_size()));
  std::copy_n(from.phase_us().begin(), phases, to.phase_us.begin());
  to.prompt_rows = from.prompt_rows();
  to.draining = from.draining();
  return to;
}

void put(wire::BundleRequest* to, const BundleRequest& from) {
  to->set_group(from.group.value);
  to->set_offset(from.offset);
}
BundleRequest take(const wire::BundleRequest& from) {
  return {GroupId(from.group()), from.offset()};
}

void put(wire::BundleChunk* to, const BundleChunk& from) {
  to->set_group(from.group.value);
  put(to->mutable_digest(), from.digest);
  to->set_offset(from.offset);
  to->set_total(from.total);
  to->set_bytes(from.bytes.data(), from.bytes.size());
}
BundleChunk take(const wire::BundleChunk& from) {
  BundleChunk to;
  to.group = GroupId(from.group());
  take(to.digest, from.digest(), "bundle digest");
  to.offset = from.offset();
  to.total = from.total();
  if (from.bytes().size() > kWireChunkBytesMax) throw BadField{"bundle chunk"};
  const auto* data = reinterpret_cast<const std::byte*>(from.bytes().data());
  to.bytes.assign(data, data + from.bytes().size());
  return to;
}

void put(wire::RoutingTable* to, const RoutingTable& from) {
  to->set_node(from.node.value);
  to->set_version(from.version);
  for (const GroupEndpoint& group : from.groups) {
    auto* g = to->add_groups();
    g->set_group(group.group.value);
    g->set_model(group.model);
    g->set_node(group.node);
    g->set_generation(group.generation.value);
    g->set_state(static_cast<uint32_t>(group.state));
    g->set_reason(group.reason);
    g->set_socket(group.socket);
    g->set_incarnation(group.incarnation.value);
    put(g->mutable_weights_id(), group.weights_id);
    put(g->mutable_numerics_id(), group.numerics_id);
    g->set_context(group.context);
  }
}
RoutingTable take(const wire::RoutingTable& from) {
  RoutingTable to{Incarnation(from.node()), from.version(), {}};
  for (const auto& g : from.groups()) {
    GroupEndpoint& group = to.groups.emplace_back();
    group.group = GroupId(g.group());
    group.model = g.model();
    group.node = g.node();
    group.generation = Generation(g.generation());
    group.state = take_enum(g.state(), GroupState::stopped, "group state");
    group.reason = g.reason();
    group.socket = g.socket();
    group.incarnation = Incarnation(g.incarnation());
    take(group.weights_id, g.weights_id(), "weights id");
    take(group.numerics_id, g.numerics_id(), "numerics id");
    group.context = g.context();
  }
  return to;
}

void put(wire::LoadOrder* to, const LoadOrder& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
  to->set_rank(from.rank);
  to->set_model(from.model);
  to->set_source(from.source);
  to->set_backend(from.backend);
  to->set_tensor_parallel(from.tensor_parallel);
  to->set_pipeline_parallel(from.pipeline_parallel);
  to->set_threads(from.threads);
  to->set_context(from.context);
  to->set_kv_blocks(from.kv_blocks);
  to->set_max_rows(from.max_rows);
  to->set_max_slots(from.max_slots);
  to->set_kv_memory(from.kv_memory);
  to->set_oracle_step(from.oracle_step.count());
  to->set_timing_scale(from.timing_scale);
  to->set_queue_max(from.queue_max);
  to->set_isa(from.isa);
  to->set_kv_type(static_cast<uint32_t>(from.kv_type));
}
LoadOrder take(const wire::LoadOrder& from) {
  LoadOrder to;
  to.group = GroupId(from.group());
  to.generation = Generation(from.generation());
  to.rank = from.rank();
  to.model = from.model();
  to.source = from.source();
  to.backend = from.backend();
  to.tensor_parallel = from.tensor_parallel();
  to.pipeline_parallel = from.pipeline_parallel();
  to.threads = from.threads();
  to.context = from.context();
  to.kv_blocks = from.kv_blocks();
  to.max_rows = from.max_rows();
  to.max_slots = from.max_slots();
  to.kv_memory = from.kv_memory();
  to.oracle_step = Duration(from.oracle_step());
  to.timing_scale = from.timing_scale();
  to.queue_max = from.queue_max();
  to.isa = from.isa();
  to.kv_type = take_enum(from.kv_type(), KvType::int8, "KV type");
  return to;
}

void put(wire::AbortOrder* to, const AbortOrder& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
}
AbortOrder take(const wire::AbortOrder& from) {
  return {GroupId(from.group()), Generation(from.generation())};
}

void put(wire::DrainOrder* to, const DrainOrder& from) { to->set_within(from.within.count()); }
DrainOrder take(const wire::DrainOrder& from) { return {Duration(from.within())}; }

void put(wire::LoadReport* to, const LoadReport& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
  to->set_rank(from.rank);
  to->set_ok(from.ok);
  put(to->mutable_error(), from.error);
  put(to->mutable_weights_id(), from.weights_id);
  put(to->mutable_numerics_id(), from.numerics_id);
  to->set_context(from.context);
  to->set_kv_blocks(from.kv_blocks);
  to->set_describe(from.describe);
}
LoadReport take(const wire::LoadReport& from) {
  LoadReport to;
  to.group = GroupId(from.group());
  to.generation = Generation(from.generation());
  to.rank = from.rank();
  to.ok = from.ok();
  to.error = take(from.error());
  take(to.weights_id, from.weights_id(), "weights id");
  take(to.numerics_id, from.numerics_id(), "numerics id");
  to.context = from.context();
  to.kv_blocks = from.kv_blocks();
  to.describe = from.describe();
  return to;
}

void put(wire::StepFault* to, const StepFault& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
  put(to->mutable_error(), from.error);
}
StepFault take(const wire::StepFault& from) {
  return {GroupId(from.group()), Generation(from.generation()), take(from.error())};
}

void put(wire::Drained* to, const Drained& from) { to->set_process(from.process); }
Drained take(const wire::Drained& from) { return {from.process()}; }

void put(wire::ProcessReport* to, const ProcessReport& from) {
  to->set_process(from.process);
  to->set_incarnation(from.incarnation.value);
  for (const ActorReport& actor : from.actors) {
    auto* a = to->add_actors();
    a->set_id(actor.id);
    a->set_role(static_cast<uint32_t>(actor.role));
    a->set_restarts(actor.restarts);
    a->set_last_error(actor.last_error);
    a->set_mailbox_depth(actor.mailbox_depth);
    a->set_mailbox_age(actor.mailbox_age.count());
    a->set_last_step_age(actor.last_step_age.count());
  }
  for (const GroupStatus& group : from.groups) put(to->add_groups(), group);
  to->set_requests_running(from.requests_running);
  to->set_serving(from.serving);
  to->set_describe(from.describe);
}
ProcessReport take(const wire::ProcessReport& from) {
  ProcessReport to;
  to.process = from.process();
  to.incarnation = Incarnation(from.incarnation());
  for (const auto& a : from.actors()) {
    ActorReport& actor = to.actors.emplace_back();
    actor.id = a.id();
    actor.role = take_enum(a.role(), Role::client, "role");
    actor.restarts = a.restarts();
    actor.last_error = a.last_error();
    actor.mailbox_depth = a.mailbox_depth();
    actor.mailbox_age = Duration(a.mailbox_age());
    actor.last_step_age = Duration(a.last_step_age());
  }
  for (const auto& group : from.groups()) to.groups.push_back(take(group));
  to.requests_running = from.requests_running();
  to.serving = from.serving();
  to.describe = from.describe();
  return to;
}

void put(wire::JournalOpen* to, const JournalOpen& from) {
  put(to->mutable_id(), from.id);
  to->set_owner(from.owner.value);
  to->set_model(from.model);
  put(to->mutable_prompt(), from.prompt);
  to->set_choices(from.choices);
  to->set_max_new(from.max_new);
  put(to->mutable_sampling(), from.sampling);
  put(to->mutable_stop_ids(), from.stop_ids);
  for (const std::string& stop : from.stop_strings) to->add_stop_strings(stop);
  to->set_deadline_left(from.deadline_left.count());
  put(to->mutable_tenant(), from.tenant);
}
JournalOpen take(const wire::JournalOpen& from) {
  JournalOpen to;
  to.id = take(from.id());
  to.owner = OwnerEpoch(from.owner());
  to.model = from.model();
  to.prompt = take_tokens(from.prompt());
  to.choices = from.choices();
  to.max_new = from.max_new();
  to.sampling = take(from.sampling());
  to.stop_ids = take_tokens(from.stop_ids());
  to.stop_strings.assign(from.stop_strings().begin(), from.stop_strings().end());
  to.deadline_left = Duration(from.deadline_left());
  take(to.tenant, from.tenant(), "tenant");
  return to;
}

void put(wire::JournalAppend* to, const JournalAppend& from) {
  to->set_router(from.router.value);
  to->set_number(from.number);
  to->set_whole(from.whole);
  for (const JournalOpen& open : from.opened) put(to->add_opened(), open);
  for (const JournalTokens& tokens : from.tokens) {
    auto* t = to->add_tokens();
    put(t->mutable_key(), tokens.key);
    t->set_seq(tokens.seq);
    put(t->mutable_tokens(), tokens.tokens);
  }
  for (RequestId id : from.closed) put(to->add_closed(), id);
}
JournalAppend take(const wire::JournalAppend& from) {
  JournalAppend to;
  to.router = Incarnation(from.router());
  to.number = from.number();
  to.whole = from.whole();
  for (const auto& open : from.opened()) to.opened.push_back(take(open));
  for (const auto& t : from.tokens())
    to.tokens.push_back({take(t.key()), t.seq(), take_tokens(t.tokens())});
  for (const auto& id : from.closed()) to.closed.push_back(take(id));
  return to;
}

void put(wire::JournalAck* to, const JournalAck& from) {
  to->set_router(from.router.value);
  to->set_number(from.number);
}
JournalAck take(const wire::JournalAck& from) {
  return {Incarnation(from.router()), from.number()};
}

void put(wire::JournalRead* to, const JournalRead& from) { put(to->mutable_id(), from.id); }
JournalRead take(const wire::JournalRead& from) { return {take(from.id())}; }

void put(wire::JournalEntry* to, const JournalEntry& from) {
  put(to->mutable_id(), from.id);
  to->set_known(from.known);
  put(to->mutable_open(), from.open);
  for (const auto& tokens : from.accepted) put(to->add_accepted()->mutable_tokens(), tokens);
}
JournalEntry take(const wire::JournalEntry& from) {
  JournalEntry to;
  to.id = take(from.id());
  to.known = from.known();
  to.open = take(from.open());
  for (const auto& tokens : from.accepted()) to.accepted.push_back(take_tokens(tokens.tokens()));
  return to;
}

// -- the table of kinds
// ------------------------------------------------------------------------------------------

/// Wire number and protobuf type of each struct. Numbers are for ever.
template <class Plain>
struct Kind;
#define TROUPE_KIND(plain, number)              \
  template <>                                   \
  struct Kind<plain> {                          \
    using Wire = wire::plain;                   \
    static constexpr uint16_t kNumber = number; \
  }
TROUPE_KIND(Hello, 1);
TROUPE_KIND(HelloReply, 2);
TROUPE_KIND(Enqueue, 3);
TROUPE_KIND(Cancel, 4);
TROUPE_KIND(TokenBatch, 5);
TROUPE_KIND(Refused, 6);
TROUPE_KIND(GroupStatus, 7);
TROUPE_KIND(BundleRequest, 8);
TROUPE_KIND(BundleChunk, 9);
TROUPE_KIND(RoutingTable, 10);
TROUPE_KIND(LoadOrder, 11);
TROUPE_KIND(AbortOrder, 12);
TROUPE_KIND(DrainOrder, 13);
TROUPE_KIND(LoadReport, 14);
TROUPE_KIND(StepFault, 15);
TROUPE_KIND(Drained, 16);
TROUPE_KIND(ProcessReport, 17);
TROUPE_KIND(JournalAppend, 18);
TROUPE_KIND(JournalAck, 19);
TROUPE_KIND(JournalRead, 20);
TROUPE_KIND(JournalEntry, 21);
#undef TROUPE_KIND

template <class Plain>
Result<Message> parse(std::span<const uint8_t> bytes) {
  // What is wrong comes back as an error; protobuf's own log lines would go to standard error
  // unasked.
  [[maybe_unused]] static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  typename Kind<Plain>::Wire wire;
  if (!wire.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(ErrorCode::data_loss, "a message was dropped: its body does not parse");
  try {
    return Message(take(wire));
  } catch (const BadField& bad) {
    return fail(ErrorCode::data_loss,
                fmt::format("a message was dropped: its {} is impossible", bad.what));
  }
}

using Parser = Result<Message> (*)(std::span<const uint8_t>);
struct ParserEntry {
  uint16_t number;
  Parser parse;
};
template <class... Plain>
constexpr std::array<ParserEntry, sizeof...(Plain)> parsers_of(const std::variant<Plain...>*) {
  return {ParserEntry{Kind<Plain>::kNumber, &parse<Plain>}...};
}

}  // namespace

uint16_t encode_payload(const Message& message, std::vector<uint8_t>& out) {
  return std::visit(
      [&]<class Plain>(const Plain& plain) {
        typename Kind<Plain>::Wire wire;
        put(&wire, plain);
        const size_t size = wire.ByteSizeLong(), at = out.size();
        out.resize(at + size);
        TROUPE_CHECK(wire.SerializeToArray(out.data() + at, static_cast<int>(size)));
        return Kind<Plain>::kNumber;
      },
      message);
}

Result<Message> decode_payload(uint16_t kind, std::span<const uint8_t> bytes) {
  static constexpr auto kParsers = parsers_of(static_cast<const Message*>(nullptr));
  for (const ParserEntry& entry : kParsers)
    if (entry.number == kind) return entry.parse(bytes);
  return fail(ErrorCode::unsupported,
              fmt::format("a message of unknown kind {} was dropped", kind));
}

}  // namespace troupe
