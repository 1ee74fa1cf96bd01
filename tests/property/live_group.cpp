#include "tests/property/live_group.h"

#include <string>

#include "tests/property/property.h"

namespace troupe::test {

namespace {

std::unique_ptr<Device> device_of(const GroupShape& shape) {
  const DeviceLimits limits{.blocks = shape.blocks,
                            .rows = shape.rows,
                            .slots = shape.slots,
                            .context = LiveGroup::kContext,
                            .lanes = shape.lanes};
  return shape.model == 1 ? make_oracle_device(limits) : make_toy_device(limits, shape.loop);
}

BatcherConfig config_of(const GroupShape& shape, int32_t vocab) {
  return BatcherConfig{.group = GroupId(3),
                       .generation = Generation(7),
                       .epoch = 99,
                       .kv_blocks = shape.blocks,
                       .max_rows = shape.rows,
                       .max_slots = shape.slots,
                       .prefill_chunk = shape.chunk,
                       .plans_in_flight = shape.plans,
                       .lanes = shape.lanes,
                       .context = LiveGroup::kContext,
                       .vocab = vocab,
                       .queue_max = 12,
                       .canary_interval = 2s};
}

}  // namespace

LiveGroup::LiveGroup(const GroupShape& shape)
    : device_(device_of(shape)), batcher_([&] {
        config = config_of(shape, device_->vocab());
        return config;
      }()) {
  input(batcher_in::Tick{});
}

void LiveGroup::input(const BatcherInput& in) {
  BatcherEffects effects;
  batcher_.step(now_, in, effects);
  batcher_.check();
  for (const BatcherEffect& effect : effects)
    std::visit([&](const auto& e) { perform(e); }, effect);
}

void LiveGroup::enqueue(const Enqueue& request, RouterId router) {
  accepted_[{request.key, request.attempt}] = request.accepted.size();
  input(batcher_in::FromRouter{router, request});
}

bool LiveGroup::run_step(Duration took) {
  if (plans_.empty()) return false;
  now_ += took;
  const auto plan = plans_.front();
  plans_.erase(plans_.begin());
  auto output = std::make_shared<const StepOutput>(device_->run(*plan));
  for (int32_t slot : plan->close) open_.erase(slot);
  for (const SlotOpen& slot : plan->open) ++open_[slot.slot];
  copies_ += plan->copy.size();
  input(batcher_in::StepDone{std::move(output)});
  return true;
}

bool LiveGroup::fail_step() {
  if (plans_.empty()) return false;
  failing_ = true;
  input(batcher_in::StepFailed{plans_.front()->key, Error{ErrorCode::internal, "It broke."}});
  const GroupStatus s = status();
  must(s.running == 0 && s.queued == 0 && s.blocks_used == 0, "a dead generation holds nothing");
  return true;
}

void LiveGroup::settle() {
  for (int steps = 0; status().running + status().queued > 0; ++steps) {
    must(steps < 50'000, "every request ends");
    must(run_step(1ms), "while a request waits or runs, a plan is in flight");
  }
  while (run_step(1ms)) continue;
  now_ += config.canary_interval;
  input(batcher_in::Tick{});
  must(run_step(1ms), "an idle group proves itself with a canary");
}

void LiveGroup::check_at_rest() const {
  const GroupStatus s = status();
  must(s.running == 0 && s.queued == 0 && s.queued_tokens == 0, "nothing runs at rest");
  must(s.blocks_used == 0, "at rest all blocks are free or cached");
  must(open_.size() <= 1 && (open_.empty() || open_.begin()->first == config.max_slots - 1),
       "at rest the device has no slot open but the canary's");
}

const Told& LiveGroup::told(const Enqueue& request) {
  return told_[{request.key, request.attempt}];
}

void LiveGroup::perform(const batcher_out::RunStep& effect) {
  plans_.push_back(effect.plan);
  must(static_cast<int32_t>(plans_.size()) < config.plans_in_flight + config.lanes,
       "few plans are in flight");
}

void LiveGroup::perform(const batcher_out::ToRouter& effect) {
  if (const auto* batch = std::get_if<TokenBatch>(&effect.message)) {
    for (const TokenChunk& chunk : batch->chunks) hear(chunk);
  } else if (const auto* refused = std::get_if<Refused>(&effect.message)) {
    Told& told = told_[{refused->key, refused->attempt}];
    must(!told.over(), "an attempt ends once");
    told.refused = refused->error;
  }
}

void LiveGroup::perform(const batcher_out::Fault& effect) {
  if (!failing_) broken(effect.fault.error.message);
}

void LiveGroup::hear(const TokenChunk& chunk) {
  const Attempt attempt{chunk.key, chunk.attempt};
  Told& told = told_[attempt];
  must(!told.over(), "nothing comes after the end");
  must(chunk.seq == accepted_.at(attempt) + told.tokens.size(), "no token is lost or repeated");
  if (!told.taken) {
    must(chunk.tokens.empty(), "the first chunk only says that the request was taken");
    told.taken = true;
  }
  if (!chunk.prompt_logprobs.empty()) told.prompt_logprobs = chunk.prompt_logprobs;
  told.tokens.insert(told.tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
  told.logprobs.insert(told.logprobs.end(), chunk.logprobs.begin(), chunk.logprobs.end());
  told.finish = chunk.finish;
}

}  // namespace troupe::test
