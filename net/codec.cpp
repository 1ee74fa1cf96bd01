#include "net/codec.h"

#include <fmt/format.h>

#include <array>

#include "config/check.h"
#include "net/codec_messages.h"

namespace troupe {

namespace {

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
TROUPE_KIND(PrefixReport, 30);
TROUPE_KIND(PrefixRequest, 31);
TROUPE_KIND(NodeReport, 40);
TROUPE_KIND(CutOrder, 41);
TROUPE_KIND(RankListening, 42);
TROUPE_KIND(RankJoin, 43);
TROUPE_KIND(RanksOrder, 44);
TROUPE_KIND(RanksReport, 45);
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
    return Message(codec::take(wire));
  } catch (const codec::BadField& bad) {
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
        codec::put(&wire, plain);
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
