#include <algorithm>

#include "config/limits.h"
#include "net/codec_messages.h"

namespace troupe::codec {

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
  for (uint64_t count : from.dropped) to->add_dropped(count);
  to->set_prefix_version(from.prefix_version);
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
  const auto drops = std::min(to.dropped.size(), static_cast<size_t>(from.dropped_size()));
  std::copy_n(from.dropped().begin(), drops, to.dropped.begin());
  to.prefix_version = from.prefix_version();
  return to;
}

namespace {
using Marks = google::protobuf::RepeatedField<uint64_t>;
std::vector<uint64_t> take_marks(const Marks& from) {
  if (static_cast<size_t>(from.size()) > kPrefixMarksMax) throw BadField{"number of blocks"};
  return {from.begin(), from.end()};
}
}  // namespace

void put(wire::PrefixReport* to, const PrefixReport& from) {
  to->set_group(from.group.value);
  to->set_version(from.version);
  to->set_whole(from.whole);
  to->mutable_added()->Add(from.added.begin(), from.added.end());
  to->mutable_evicted()->Add(from.evicted.begin(), from.evicted.end());
}
PrefixReport take(const wire::PrefixReport& from) {
  return {GroupId(from.group()), from.version(), from.whole(), take_marks(from.added()),
          take_marks(from.evicted())};
}

void put(wire::PrefixRequest* to, const PrefixRequest& from) { to->set_group(from.group.value); }
PrefixRequest take(const wire::PrefixRequest& from) { return {GroupId(from.group())}; }

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

}  // namespace troupe::codec
