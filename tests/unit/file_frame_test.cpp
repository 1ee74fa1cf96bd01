#include "net/file_frame.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "config/limits.h"

using namespace troupe;

namespace file_frame_test {
namespace {

FileRequest example() {
  FileRequest request;
  for (size_t i = 0; i < request.digest.size(); ++i) request.digest[i] = static_cast<uint8_t>(i);
  request.from = 0x0102030405060708;
  return request;
}

std::string text(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

/// An answer that begins at `from` of a file and comes in chunks of these lengths.
std::string stream(const std::string& file, uint64_t from, const std::vector<uint32_t>& chunks) {
  std::string out = text(encode_file_answer({std::nullopt, file.size()}));
  for (const uint32_t chunk : chunks) {
    out += text(encode_file_chunk_head(chunk)) + file.substr(from, chunk);
    from += chunk;
  }
  return out;
}

struct Got {
  std::string file, error;
  FileAnswerReader reader;
};

/// In parts of up to `cut` bytes.
Got read(const std::string& bytes, uint64_t from, size_t cut = 1 << 20) {
  Got got{{}, {}, FileAnswerReader(from)};
  for (size_t at = 0; at < bytes.size(); at += cut) {
    std::span part(reinterpret_cast<const uint8_t*>(bytes.data()) + at,
                   std::min(cut, bytes.size() - at));
    while (!part.empty()) {
      const auto data = got.reader.take(part);
      if (!data) {
        CHECK(data.error().code == ErrorCode::data_loss);
        got.error = data.error().message;
        return got;
      }
      got.file += text(*data);
    }
  }
  return got;
}

}  // namespace

TEST_CASE("file frame: requests and answers are the bytes of the table in the header") {
  std::string expected("TRFQ\x01\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01", 16);
  for (char i = 0; i < 32; ++i) expected += i;
  const auto request = encode_file_request(example());
  CHECK(text(request) == expected);
  CHECK(decode_file_request(request).value() == example());

  const auto yes = encode_file_answer({std::nullopt, 0x1234});
  CHECK(text(yes) == std::string("TRFA\x01\0\0\0\x34\x12\0\0\0\0\0\0", 16));
  CHECK(decode_file_answer(yes).value() == FileAnswer{std::nullopt, 0x1234});
  const auto no = encode_file_answer({FileRefusal::busy, 0});
  CHECK(text(no) == std::string("TRFA\x01\x03\0\0\0\0\0\0\0\0\0\0", 16));
  CHECK(decode_file_answer(no).value() == FileAnswer{FileRefusal::busy, 0});
  CHECK(text(encode_file_chunk_head(kFileChunkBytesMax)) == std::string("\0\0\x10\0", 4));
}

TEST_CASE("file frame: a request with a wrong byte is refused with what is wrong") {
  auto refusal = [](size_t at, uint8_t value) {
    auto bytes = encode_file_request(example());
    bytes.at(at) = value;
    const auto decoded = decode_file_request(bytes);
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().code == ErrorCode::data_loss);
    return decoded.error().message;
  };
  CHECK(refusal(3, 'A') == "the request for a model file is wrong: its magic");
  CHECK(refusal(4, 2) ==
        "the request for a model file is wrong: version 2, this is 1; run the same build on both "
        "hosts");
  for (const size_t reserved : {5, 6, 7})
    CHECK(refusal(reserved, 1) ==
          "the request for a model file is wrong: its reserved bytes are set");
}

TEST_CASE("file frame: a file comes out of its answer however the stream is cut") {
  std::string file;
  for (int i = 0; i < 1000; ++i) file += static_cast<char>(i * 7);
  for (const uint64_t from : {0, 300, 999}) {
    std::vector<uint32_t> chunks(3, static_cast<uint32_t>((1000 - from) / 4));
    chunks.push_back(static_cast<uint32_t>(1000 - from) - 3 * chunks.front());
    std::erase(chunks, 0);
    const std::string bytes = stream(file, from, chunks);
    for (const size_t cut : {1, 3, 17, 100'000}) {
      const Got got = read(bytes, from, cut);
      CHECK(got.error.empty());
      CHECK(got.file == file.substr(from));
      CHECK(got.reader.at() == 1000);
      CHECK(got.reader.answer()->size == 1000);
      CHECK_FALSE(got.reader.gave_up());
    }
  }
  // All of it was there: nothing is left to send.
  CHECK(read(stream(file, 1000, {}), 1000).reader.at() == 1000);
}

TEST_CASE("file frame: the reader stops where the answer is known") {
  const std::string bytes = stream("abcdef", 2, {4});
  std::span left(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  FileAnswerReader reader(2);
  REQUIRE(reader.take(left).has_value());
  REQUIRE(reader.answer().has_value());
  CHECK(reader.answer()->size == 6);
  CHECK(left.size() == bytes.size() - kFileAnswerBytes);
}

TEST_CASE("file frame: refusals are told, and unknown ones are not taken for an answer") {
  for (uint8_t why = 1; why <= kFileRefusals; ++why) {
    const auto refusal = static_cast<FileRefusal>(why);
    const Got got = read(text(encode_file_answer({refusal, 0})), 5);
    CHECK(got.error.empty());
    CHECK(got.reader.answer()->refusal == refusal);
  }
  std::string bytes = text(encode_file_answer({FileRefusal::busy, 0}));
  bytes[5] = static_cast<char>(kFileRefusals + 1);
  CHECK(read(bytes, 0).error == "the answer for a model file is wrong: verdict 5");
  bytes[5] = 1;
  bytes[8] = 1;
  CHECK(read(bytes, 0).error == "the answer for a model file is wrong: a refusal with a size");
}

TEST_CASE("file frame: an answer that says more than it may is refused with what is wrong") {
  const std::string wrong = "the answer for a model file is wrong: ";
  std::string bytes = stream("abcdef", 0, {6});
  CHECK(read(bytes + "x", 0).error == wrong + "bytes follow its end");
  CHECK(read(text(encode_file_answer({FileRefusal::unknown, 0})) + "x", 0).error ==
        wrong + "bytes follow its end");
  CHECK(read(stream("abcdef", 0, {3, 0}) + "x", 0).error == wrong + "bytes follow its end");
  CHECK(read(stream("abcdef", 0, {3}) + text(encode_file_chunk_head(4)), 0).error ==
        wrong + "a chunk of 4 bytes at byte 3 of 6");
  CHECK(read(stream(std::string(kFileChunkBytesMax + 1, 'x'), 0, {}) + std::string("\1\0\x10\0", 4),
             0)
            .error == wrong + "a chunk of 1048577 bytes, the limit is 1048576");
  CHECK(read(bytes, 7).error == wrong + "6 bytes, where 7 are to be left out");
  bytes[6] = 1;
  CHECK(read(bytes, 0).error == wrong + "its reserved bytes are set");
  CHECK(read(std::string(16, 'x'), 0).error == wrong + "its magic");
}

TEST_CASE("file frame: a sender that can't go on says so") {
  const Got got = read(stream("abcdef", 0, {3, 0}), 0);
  CHECK(got.error.empty());
  CHECK(got.file == "abc");
  CHECK(got.reader.gave_up());
  CHECK(got.reader.at() == 3);
}

TEST_CASE("file frame: with any bit of the heads wrong, no byte comes from outside the file") {
  const uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const std::string good = stream("abcdefghij", 4, {2, 4});
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    const Got got = read(bad, 4, 1 + random() % 8);
    refused += !got.error.empty();
    if (const auto& answer = got.reader.answer(); answer && !answer->refusal)
      CHECK(got.reader.at() <= answer->size);
    CHECK(got.reader.at() == 4 + got.file.size());
  }
  CHECK(refused > 100);
}

}  // namespace file_frame_test
