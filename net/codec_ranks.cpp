#include "config/limits.h"
#include "net/codec_messages.h"

namespace troupe::codec {

namespace {
void check_ranks(int count) {
  if (count > kCollectiveRanksMax) throw BadField{"number of ranks"};
}
void put(wire::RankAddress* to, const HostPort& from) {
  to->set_host(from.host);
  to->set_port(from.port);
}
HostPort take(const wire::RankAddress& from) {
  if (from.port() > UINT16_MAX) throw BadField{"port"};
  return {from.host(), static_cast<uint16_t>(from.port())};
}
}  // namespace

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
  to->mutable_hosts()->Assign(from.hosts.begin(), from.hosts.end());
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
  check_ranks(from.hosts_size());
  to.hosts.assign(from.hosts().begin(), from.hosts().end());
  return to;
}

void put(wire::RankJoin* to, const RankJoin& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
  for (const HostPort& address : from.addresses) put(to->add_addresses(), address);
  put(to->mutable_key(), from.key);
}
RankJoin take(const wire::RankJoin& from) {
  RankJoin to{GroupId(from.group()), Generation(from.generation()), {}, {}};
  check_ranks(from.addresses_size());
  for (const auto& address : from.addresses()) to.addresses.push_back(take(address));
  take(to.key, from.key(), "key of a generation");
  return to;
}

void put(wire::AbortOrder* to, const AbortOrder& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
}
AbortOrder take(const wire::AbortOrder& from) {
  return {GroupId(from.group()), Generation(from.generation())};
}

void put(wire::RankListening* to, const RankListening& from) {
  to->set_group(from.group.value);
  to->set_generation(from.generation.value);
  to->set_rank(from.rank);
  put(to->mutable_address(), from.address);
}
RankListening take(const wire::RankListening& from) {
  return {GroupId(from.group()), Generation(from.generation()), from.rank(), take(from.address())};
}

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

void put(wire::RanksOrder* to, const RanksOrder& from) {
  put(to->mutable_load(), from.load);
  for (const RanksOrder::Rank& rank : from.ranks) {
    auto* r = to->add_ranks();
    r->set_rank(rank.rank);
    r->set_process(rank.process.value);
  }
  if (from.join) put(to->mutable_join(), *from.join);
  to->set_over(from.over);
}
RanksOrder take(const wire::RanksOrder& from) {
  RanksOrder to;
  to.load = take(from.load());
  check_ranks(from.ranks_size());
  for (const auto& rank : from.ranks())
    to.ranks.push_back({rank.rank(), Incarnation(rank.process())});
  if (from.has_join()) to.join = take(from.join());
  to.over = from.over();
  return to;
}

void put(wire::RanksReport* to, const RanksReport& from) {
  to->set_group(from.group.value);
  to->set_over(from.over.value);
  for (const RankState& state : from.ranks) {
    auto* s = to->add_ranks();
    s->set_rank(state.rank);
    s->set_process(state.process.value);
    s->set_why(state.why);
    s->set_suspect(state.suspect);
    if (state.listening) put(s->mutable_listening(), *state.listening);
    if (state.loaded) put(s->mutable_loaded(), *state.loaded);
    if (state.fault) put(s->mutable_fault(), *state.fault);
    s->set_failed(state.failed);
  }
}
RanksReport take(const wire::RanksReport& from) {
  RanksReport to{GroupId(from.group()), Generation(from.over()), {}};
  check_ranks(from.ranks_size());
  for (const auto& s : from.ranks()) {
    RankState& state = to.ranks.emplace_back();
    state.rank = s.rank();
    state.process = Incarnation(s.process());
    state.why = s.why();
    state.suspect = s.suspect();
    if (s.has_listening()) state.listening = take(s.listening());
    if (s.has_loaded()) state.loaded = take(s.loaded());
    if (s.has_fault()) state.fault = take(s.fault());
    state.failed = s.failed();
  }
  return to;
}

}  // namespace troupe::codec
