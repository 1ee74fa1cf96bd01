// The pieces that messages on the wire are made of: ids, tokens, sampling, log-probabilities. put()
// fills a protobuf message, take() reads one. Of the codec only (net/codec.h); pure, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "cluster/messages.h"
#include "wire.pb.h"

namespace troupe::codec {

/// A field that cannot be. Thrown by take() and caught in codec.cpp, nowhere else.
struct BadField {
  const char* what;
};

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

void put(wire::RequestId* to, const RequestId& from);
RequestId take(const wire::RequestId& from);

void put(wire::AttemptId* to, const AttemptId& from);
AttemptId take(const wire::AttemptId& from);

void put(wire::SequenceKey* to, const SequenceKey& from);
SequenceKey take(const wire::SequenceKey& from);

void put(wire::Error* to, const Error& from);
Error take(const wire::Error& from);

using Ints = google::protobuf::RepeatedField<int32_t>;
void put(Ints* to, const std::vector<TokenId>& from);
std::vector<TokenId> take_tokens(const Ints& from);

void put(wire::Sampling* to, const Sampling& from);
Sampling take(const wire::Sampling& from);

void put(wire::LogProbs* to, const LogProbs& from);
LogProbs take(const wire::LogProbs& from);

}  // namespace troupe::codec
