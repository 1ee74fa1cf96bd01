#include "net/codec_messages.h"

namespace troupe::codec {

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

}  // namespace troupe::codec
