#include "net/codec_parts.h"

namespace troupe::codec {

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

}  // namespace troupe::codec
