#include <doctest/doctest.h>

#include <random>

#include "net/codec.h"
#include "net/envelope.h"
#include "tests/unit/wire_samples.h"

using namespace troupe;

TEST_CASE("codec: every kind of message comes back equal") {
  const auto samples = testing::wire_samples();
  REQUIRE(samples.size() == std::variant_size_v<Message>);
  for (size_t i = 0; i < samples.size(); ++i) {
    REQUIRE(samples[i].index() == i);
    Envelope sent{Incarnation(42), {}, samples[i]};
    if (const auto* enqueue = std::get_if<Enqueue>(&samples[i])) sent.trace = enqueue->trace;
    auto got = decode(encode(sent));
    REQUIRE_MESSAGE(got.has_value(), (got.has_value() ? std::string() : got.error().message));
    CHECK(*got == sent);
  }
}

TEST_CASE("codec: the header is 48 bytes as documented") {
  auto bytes = encode({Incarnation(0x0102030405060708), {}, Drained{"p"}});
  CHECK(bytes.size() == 48 + 3);
  CHECK(std::string(bytes.begin(), bytes.begin() + 4) == "TRP1");
  CHECK(bytes[4] == 1);
  CHECK(bytes[6] == 16);
  CHECK(bytes[8] == 8);
  CHECK(bytes[15] == 1);
  CHECK(bytes[40] == 3);
}

TEST_CASE("codec: damaged envelopes give data_loss with the reason") {
  auto good = encode({Incarnation(1), {}, Drained{"p"}});
  auto message_of = [](std::vector<uint8_t> bytes) {
    auto got = decode(bytes);
    REQUIRE_FALSE(got.has_value());
    return got.error().message;
  };
  auto with = [&](size_t at, uint8_t value) {
    auto copy = good;
    copy[at] = value;
    return copy;
  };
  CHECK(message_of({}) == "a message was dropped: 0 bytes are no envelope");
  CHECK(message_of(with(0, 0)) == "a message was dropped: its magic is wrong");
  CHECK(message_of(with(4, 9)) == "a message was dropped: it speaks wire version 9, this is 1");
  CHECK(message_of(with(6, 99)) == "a message of unknown kind 99 was dropped");
  CHECK(message_of(with(40, 4)) == "a message was dropped: its length is wrong");
  CHECK(message_of(with(44, 1)) == "a message was dropped: its reserved field is set");
  CHECK(message_of(with(48, 0xff)) == "a message was dropped: its body does not parse");
}

TEST_CASE("codec: impossible fields are refused by name") {
  Hello hello = std::get<Hello>(testing::wire_samples()[0]);
  auto bytes = encode({Incarnation(1), {}, hello});
  // The digest is the last field: cut it to 31 bytes and mend the lengths.
  bytes.pop_back();
  bytes[bytes.size() - 32] = 31;
  bytes[40] -= 1;
  auto got = decode(bytes);
  REQUIRE_FALSE(got.has_value());
  CHECK(got.error().message == "a message was dropped: its config digest is impossible");
}

TEST_CASE("codec: truncated and flipped bytes never crash, and what still decodes can be encoded") {
  const uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (const Message& sample : testing::wire_samples()) {
    const auto good = encode({Incarnation(1), {}, sample});
    for (size_t cut = 0; cut < good.size(); ++cut)
      CHECK_FALSE(decode(std::span(good).first(cut)).has_value());
    for (int i = 0; i < 300; ++i) {
      auto bad = good;
      bad[random() % bad.size()] ^= static_cast<uint8_t>(1u << random() % 8);
      if (auto got = decode(bad)) CHECK(decode(encode(*got)).has_value());
    }
  }
}
