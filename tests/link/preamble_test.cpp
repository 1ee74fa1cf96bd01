#include <doctest/doctest.h>

#include <random>

#include "tests/link/link_fixture.h"

namespace troupe::testing {
namespace preamble_test {
namespace {

LinkPreamble example() {
  LinkPreamble preamble;
  preamble.incarnation = Incarnation(0x0123456789abcdef);
  for (size_t i = 0; i < 32; ++i) preamble.binding[i] = static_cast<uint8_t>(i);
  preamble.source_node = "n1";
  preamble.source_process = "n1/router";
  preamble.target_process = "n2/shard/smollm2.0.0";
  return preamble;
}

}  // namespace

TEST_CASE("preamble: its bytes are those of the table in the header") {
  const auto bytes = encode_preamble(example());
  std::string expected("TRLK\x01\x00\x52\x00\xef\xcd\xab\x89\x67\x45\x23\x01", 16);
  for (int i = 0; i < 32; ++i) expected += static_cast<char>(i);
  expected += "\x02n1\x09n1/router\x14n2/shard/smollm2.0.0";
  CHECK(text(bytes) == expected);
  CHECK(preamble_size(std::span(bytes).first<kLinkHeadBytes>()).value() == bytes.size());
  const auto back = decode_preamble(bytes);
  REQUIRE(back.has_value());
  CHECK(*back == example());
}

TEST_CASE("preamble: cut off, lengthened or with a wrong byte it is refused with what is wrong") {
  const auto good = encode_preamble(example());
  for (size_t size = 0; size < good.size(); ++size)
    CHECK_FALSE(decode_preamble(std::span(good).first(size)).has_value());
  auto refusal = [&](size_t at, uint8_t value) {
    auto bytes = good;
    bytes.at(at) = value;
    const auto decoded = decode_preamble(bytes);
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().code == ErrorCode::data_loss);
    return decoded.error().message;
  };
  CHECK(refusal(0, 'X') == "the preamble of a link is wrong: its magic");
  CHECK(refusal(4, 2) ==
        "the preamble of a link is wrong: version 2, this is 1; run the same build on both hosts");
  CHECK(refusal(5, 1) == "the preamble of a link is wrong: its reserved byte is set");
  CHECK(refusal(6, 0x53) == "the preamble of a link is wrong: its length");
  CHECK(refusal(6, 0x10) == "the preamble of a link is wrong: a length of 16 bytes");
  CHECK(refusal(7, 0x40) == "the preamble of a link is wrong: a length of 16466 bytes");
  CHECK(refusal(48, 0) ==
        "the preamble of a link is wrong: a name is empty, too long or has other characters");
  CHECK(refusal(49, ' ') ==
        "the preamble of a link is wrong: a name is empty, too long or has other characters");
  CHECK(refusal(48, 200) == "the preamble of a link is wrong: a name is cut off");
  CHECK(refusal(61, 0x13) == "the preamble of a link is wrong: bytes follow the names");
}

TEST_CASE("preamble: the longest names fit") {
  LinkPreamble preamble = example();
  preamble.source_node = preamble.source_process = preamble.target_process =
      std::string(kLinkNameBytesMax, 'x');
  const auto bytes = encode_preamble(preamble);
  CHECK(bytes.size() <= kLinkPreambleBytesMax);
  CHECK(decode_preamble(bytes).value() == preamble);
  CHECK_FALSE(is_link_name(std::string(kLinkNameBytesMax + 1, 'x')));
}

TEST_CASE("preamble: answers carry every refusal, and nothing else passes for one") {
  const auto yes = decode_answer(encode_answer(std::nullopt));
  REQUIRE(yes.has_value());
  CHECK_FALSE(yes->has_value());
  for (size_t i = 0; i < kLinkRefusals; ++i) {
    const auto why = static_cast<LinkRefusal>(i);
    const auto decoded = decode_answer(encode_answer(why));
    REQUIRE(decoded.has_value());
    CHECK(*decoded == why);
  }
  for (size_t at : {0u, 3u, 4u, 5u, 6u, 7u}) {
    auto bytes = encode_answer(std::nullopt);
    bytes[at] = 0xff;
    const auto decoded = decode_answer(bytes);
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().message ==
          "the answer of a link is wrong; run the same build on both hosts");
  }
}

TEST_CASE("link stats: one line says what was refused between two looks, and nothing when quiet") {
  LinkStats before, now;
  CHECK(refusals_between(before, now).empty());
  before.refused[static_cast<size_t>(LinkRefusal::not_tls)] = 3;
  now = before;
  now.accepted = 7;  // no refusal
  CHECK(refusals_between(before, now).empty());
  now.refused[static_cast<size_t>(LinkRefusal::not_tls)] = 5;
  now.refused[static_cast<size_t>(LinkRefusal::too_slow)] = 9;
  now.last_refused = "10.0.0.7:4711 too_slow";
  CHECK(refusals_between(before, now) ==
        "refused 11 connections (9 too_slow, 2 not_tls; last 10.0.0.7:4711 too_slow)");
  now.failed[static_cast<size_t>(LinkRefusal::unreachable)] = 1;
  now.last_failed = "n2: unreachable (Connection refused)";
  CHECK(refusals_between(before, now) ==
        "refused 11 connections (9 too_slow, 2 not_tls; last 10.0.0.7:4711 too_slow); "
        "1 dials failed (1 unreachable; last n2: unreachable (Connection refused))");
}

}  // namespace preamble_test
}  // namespace troupe::testing
