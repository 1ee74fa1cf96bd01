#include "net/beat_frame.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

using namespace troupe;

namespace beat_frame_test {
namespace {

NodeBeat example() { return {"n1", Incarnation(0x0123456789abcdef)}; }

std::vector<NodeBeat> read_all(std::span<const uint8_t> bytes) {
  BeatReader reader;
  std::vector<NodeBeat> out;
  REQUIRE(reader.read(bytes, out).has_value());
  return out;
}

}  // namespace

TEST_CASE("beat: its bytes are those of the table in the header") {
  const auto frame = encode_beat(example());
  std::string expected("TRBT\x01\x02\x00\x00\xef\xcd\xab\x89\x67\x45\x23\x01n1", 18);
  expected.resize(80, '\0');
  CHECK(std::string(frame.begin(), frame.end()) == expected);
  const auto back = decode_beat(frame);
  REQUIRE(back.has_value());
  CHECK(*back == example());
  const NodeBeat longest{std::string(64, 'x'), Incarnation(1)};
  const auto whole = decode_beat(encode_beat(longest));
  REQUIRE(whole.has_value());
  CHECK(*whole == longest);
}

TEST_CASE("beat: with a wrong byte it is refused with what is wrong") {
  auto refusal = [](size_t at, uint8_t value) {
    auto frame = encode_beat(example());
    frame.at(at) = value;
    const auto decoded = decode_beat(frame);
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().code == ErrorCode::data_loss);
    return decoded.error().message;
  };
  CHECK(refusal(0, 'X') == "the beat of a node is wrong: its magic");
  CHECK(refusal(4, 2) ==
        "the beat of a node is wrong: version 2, this is 1; run the same build on both hosts");
  CHECK(refusal(6, 1) == "the beat of a node is wrong: its reserved bytes are set");
  CHECK(refusal(7, 1) == "the beat of a node is wrong: its reserved bytes are set");
  const std::string name =
      "the beat of a node is wrong: its name is empty, too long or has other characters";
  CHECK(refusal(5, 0) == name);
  CHECK(refusal(5, 65) == name);
  CHECK(refusal(5, 255) == name);
  CHECK(refusal(16, '/') == name);
  CHECK(refusal(5, 3) == name);  // a zero inside the name
  CHECK(refusal(5, 1) == "the beat of a node is wrong: bytes follow its name");
  CHECK(refusal(79, 1) == "the beat of a node is wrong: bytes follow its name");
}

TEST_CASE("beat: frames come out of a stream however it is cut") {
  std::vector<uint8_t> stream;
  std::vector<NodeBeat> sent;
  for (uint64_t i = 0; i < 5; ++i) {
    sent.push_back({"n" + std::to_string(i), Incarnation(i)});
    const auto frame = encode_beat(sent.back());
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  CHECK(read_all(stream) == sent);
  CHECK(read_all(std::span(stream).first(kBeatFrameBytes - 1)).empty());
  const uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    BeatReader reader;
    std::vector<NodeBeat> got;
    for (std::span<const uint8_t> left = stream; !left.empty();) {
      const size_t part = std::min<size_t>(left.size(), random() % 200);
      REQUIRE(reader.read(left.first(part), got).has_value());
      left = left.subspan(part);
    }
    CHECK(got == sent);
  }
}

TEST_CASE("beat: a stream with a byte too many or too few is refused at the next frame") {
  const auto frame = encode_beat(example());
  for (const bool more : {true, false}) {
    std::vector<uint8_t> stream(frame.begin(), frame.end());
    if (more)
      stream.push_back(0);
    else
      stream.pop_back();
    stream.insert(stream.end(), frame.begin(), frame.end());
    stream.insert(stream.end(), frame.begin(), frame.end());
    BeatReader reader;
    std::vector<NodeBeat> got;
    const auto read = reader.read(stream, got);
    REQUIRE_FALSE(read.has_value());
    CHECK(read.error().code == ErrorCode::data_loss);
    CHECK(got.size() == (more ? 1 : 0));  // what was whole before it counts
  }
}

TEST_CASE("beat: what decodes is what those bytes say, with any bit wrong") {
  const auto good = encode_beat(example());
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    if (const auto beat = decode_beat(bad))
      CHECK(encode_beat(*beat) == bad);
    else
      ++refused;
  }
  CHECK(refused > 8 * good.size() / 2);
}

}  // namespace beat_frame_test
