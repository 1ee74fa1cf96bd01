#include "net/envelope.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <type_traits>

#include "config/limits.h"
#include "net/codec.h"

namespace troupe {

static_assert(std::endian::native == std::endian::little);

namespace {

template <class T>
void put(std::vector<uint8_t>& out, size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof value);
}
template <class T>
T get(std::span<const uint8_t> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

std::vector<uint8_t> encode(const Envelope& envelope) {
  std::vector<uint8_t> out(kEnvelopeBytes);
  // A placement carries its request's trace in the header, where every kind has room for it.
  const auto* enqueue = std::get_if<Enqueue>(&envelope.message);
  const TraceContext& trace = enqueue ? enqueue->trace : envelope.trace;
  const uint16_t kind = encode_payload(envelope.message, out);
  put(out, 0, kWireMagic);
  put(out, 4, kWireVersion);
  put(out, 6, kind);
  put(out, 8, envelope.sender.value);
  std::memcpy(out.data() + 16, trace.trace.data(), 16);
  std::memcpy(out.data() + 32, trace.span.data(), 8);
  put(out, 40, static_cast<uint32_t>(out.size() - kEnvelopeBytes));
  put(out, 44, uint32_t{0});
  return out;
}

Result<Envelope> decode(std::span<const uint8_t> bytes) {
  auto bad = [](std::string what) {
    return fail(ErrorCode::data_loss, "a message was dropped: " + what);
  };
  if (bytes.size() < kEnvelopeBytes)
    return bad(fmt::format("{} bytes are no envelope", bytes.size()));
  if (bytes.size() > kWireMessageBytesMax + kEnvelopeBytes)
    return bad(fmt::format("{} bytes are too many", bytes.size()));
  if (get<uint32_t>(bytes, 0) != kWireMagic) return bad("its magic is wrong");
  if (uint16_t version = get<uint16_t>(bytes, 4); version != kWireVersion)
    return bad(fmt::format("it speaks wire version {}, this is {}", version, kWireVersion));
  if (get<uint32_t>(bytes, 40) != bytes.size() - kEnvelopeBytes) return bad("its length is wrong");
  if (get<uint32_t>(bytes, 44) != 0) return bad("its reserved field is set");
  Envelope envelope;
  envelope.sender = Incarnation(get<uint64_t>(bytes, 8));
  std::memcpy(envelope.trace.trace.data(), bytes.data() + 16, 16);
  std::memcpy(envelope.trace.span.data(), bytes.data() + 32, 8);
  auto message = decode_payload(get<uint16_t>(bytes, 6), bytes.subspan(kEnvelopeBytes));
  if (!message) return std::unexpected(message.error());
  envelope.message = std::move(*message);
  if (auto* enqueue = std::get_if<Enqueue>(&envelope.message)) enqueue->trace = envelope.trace;
  return envelope;
}

}  // namespace troupe
