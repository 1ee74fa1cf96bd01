// What one rank makes of bytes that no healthy rank sends. The other one is a script.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/rank_exchange.h"
#include "tests/collectives/rank_processes.h"

namespace troupe::testing {
namespace rank_exchange_test {
namespace {

/// Rank 0 of two; what rank 1 sends is given, so many bytes at a time.
class ScriptedMesh final : public PipeMesh {
 public:
  ScriptedMesh(std::vector<std::byte> incoming, size_t at_a_time)
      : incoming_(std::move(incoming)), at_a_time_(at_a_time) {}

  int rank() const override { return 0; }
  int size() const override { return 2; }
  size_t direct_bytes_max() const override { return 0; }
  Result<size_t> write(int, std::span<const std::byte> bytes) override { return bytes.size(); }
  Result<bool> flush(int) override { return true; }
  Result<size_t> read(int, std::span<std::byte> into) override {
    const size_t piece = std::min({into.size(), at_a_time_, incoming_.size() - read_});
    std::memcpy(into.data(), incoming_.data() + read_, piece);
    read_ += piece;
    return piece;
  }
  Result<bool> wait(const Interest&, Instant until) override {
    return Instant::clock::now() < until;
  }
  Result<void> check() override { return {}; }
  void end(const Error&, std::span<const char>) noexcept override {}
  void abort() noexcept override {}

 private:
  std::vector<std::byte> incoming_;
  size_t at_a_time_, read_ = 0;
};

std::vector<std::byte> frame(const FrameHeader& header, const std::string& body) {
  std::vector<std::byte> bytes(sizeof header + body.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, body.data(), body.size());
  return bytes;
}

FrameHeader message(uint64_t bytes) {
  return {.generation = kTestGeneration, .step = 40, .seq = 3, .bytes = bytes};
}

/// What a recv of `bytes` says to these.
std::string heard(std::vector<std::byte> incoming, size_t bytes, size_t at_a_time,
                  Duration deadline = 30s) {
  RankExchange exchange(std::make_unique<ScriptedMesh>(std::move(incoming), at_a_time),
                        kTestGeneration);
  std::vector<std::byte> body(bytes);
  if (auto started = exchange.start(tag(3, deadline), CallKind::send); !started)
    return told(started);
  const RankExchange::In in{1, body};
  return told(exchange.run({}, {&in, 1}));
}

}  // namespace

TEST_CASE("rank exchange: a message in any pieces is taken") {
  for (const size_t piece : {1, 5, 31, 32, 33, 1'000})
    CHECK(heard(frame(message(300), std::string(300, 'x')), 300, piece) == "fine");
}

TEST_CASE("rank exchange: a peer that trickles does not outlive the deadline") {
  constexpr size_t kMany = 64 << 20;
  const std::string outcome = heard(frame(message(kMany), std::string(kMany, 'x')), kMany, 1, 20ms);
  CHECK(outcome.starts_with(
      "deadline_exceeded: rank 0 did not hear all from rank 1 for 20 ms in send of 67108864"));
}

TEST_CASE("rank exchange: bytes that start no call are data loss") {
  FrameHeader header = message(4);
  header.magic = 0x12345678;
  CHECK(heard(frame(header, "abcd"), 4, 100)
            .starts_with("data_loss: rank 1 sent bytes that start no call while rank 0 is in send "
                         "of 4 bytes"));
}

TEST_CASE("rank exchange: a header of unknown kind or of another generation is a divergence") {
  FrameHeader header = message(4);
  header.kind = static_cast<CallKind>(99);
  CHECK(heard(frame(header, "abcd"), 4, 100).find("rank 1 is in call of unknown kind 99") !=
        std::string::npos);
  header = message(4);
  header.generation = kTestGeneration + 1;
  CHECK(
      heard(frame(header, "abcd"), 4, 100).find("rank 1 is in generation 8 while rank 0 is in 7") !=
      std::string::npos);
}

TEST_CASE("rank exchange: a longer message than is awaited is not written beyond its place") {
  CHECK(heard(frame(message(400), std::string(400, 'x')), 4, 1'000)
            .find("rank 1 is in send of 400 bytes") != std::string::npos);
}

TEST_CASE("rank exchange: the reason of a peer that gave up is bounded and printable") {
  FrameHeader header = message(3'000);
  header.kind = CallKind::fault;
  header.detail = static_cast<uint16_t>(ErrorCode::unavailable);
  const std::string told_long = heard(frame(header, std::string(3'000, 'y')), 4, 10'000);
  CHECK(told_long == "unavailable: " + std::string(256, 'y'));
  header.detail = 60'000;
  header.bytes = 3;
  CHECK(heard(frame(header, "a\x1b\n"), 4, 100) == "internal: a??");
  header.bytes = 0;
  CHECK(heard(frame(header, ""), 4, 100) == "internal: rank 1 gave up; start another generation");
}

}  // namespace rank_exchange_test
}  // namespace troupe::testing
