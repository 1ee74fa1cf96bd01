// What a node's file store does for other nodes: who gets what, at what rate, and how many.
#include "tests/link/file_store_fixture.h"

namespace troupe::testing {

TEST_CASE("file store: callers get files of the config by digest, and only verified ones") {
  Pair pair;
  CHECK(ask(pair.n1, sha256("another model")) == no(FileRefusal::unknown));
  // Nobody has looked at it yet: asking makes that happen.
  CHECK(ask(pair.n1, pair.digest) == no(FileRefusal::unchecked));
  CHECK(wait_until([&] { return ask(pair.n1, pair.digest, pair.bytes.size() - 3).size() > 16; }));
  CHECK(ask(pair.n1, pair.digest) == Played::rest(pair.bytes, 0));
  CHECK(ask(pair.n1, pair.digest, 2'000'000) == Played::rest(pair.bytes, 2'000'000));
  CHECK(ask(pair.n1, pair.digest, pair.bytes.size()) == Played::yes(pair.bytes.size()));
  CHECK(ask(pair.n1, pair.digest, pair.bytes.size() + 1) == no(FileRefusal::past_end));
  // It is another file by now, under the same name and of the same size.
  write_file(pair.n1.source(), model_bytes(9));
  CHECK(ask(pair.n1, pair.digest) == no(FileRefusal::unchecked));
  CHECK(wait_until([&] { return ask(pair.n1, pair.digest) == no(FileRefusal::unknown); }));
  fs::remove(pair.n1.source());
  CHECK(ask(pair.n1, pair.digest) == no(FileRefusal::unknown));
}

TEST_CASE("file store: a file that changes while it is sent is not sent on") {
  TempDir dir;
  const std::string bytes = model_bytes();
  const Digest digest = sha256(bytes);
  Store n1(dir, "n1", digest, {.bytes_per_second = 2 * kMiB});
  write_file(n1.source(), bytes);
  n1.want();
  CHECK(n1.path() == n1.source());
  Socket caller = Socket::to_unix(n1.socket());
  REQUIRE(caller.send(text(encode_file_request({digest, 0}))));
  const size_t first = kFileAnswerBytes + kFileChunkHeadBytes + kFileChunkBytesMax;
  CHECK(caller.read(first) == Played::rest(bytes, 0).substr(0, first));
  fs::last_write_time(n1.source(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  CHECK(caller.read(100) == std::string(4, '\0'));
}

TEST_CASE("file store: who asks anything else is cut off") {
  Pair pair;
  auto cut = [&](const std::string& bytes) {
    Socket caller = Socket::to_unix(pair.n1.socket());
    REQUIRE(caller.send(bytes));
    return caller.read(100);
  };
  const std::string good(text(encode_file_request({pair.digest, 0})));
  CHECK(cut("GET /etc/passwd HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").empty());
  CHECK(cut("X" + good.substr(1)).empty());
  CHECK(wait_until([&] { return pair.n1->stats().sender.refused == 2; }));
}

TEST_CASE("file store: transfers and callers are bounded, and descriptors come back") {
  TempDir dir;
  const std::string bytes = model_bytes();
  const Digest digest = sha256(bytes);
  size_t before = 0;
  {
    Store n1(dir, "n1", digest);
    write_file(n1.source(), bytes);
    n1.want();
    CHECK(n1.path() == n1.source());
    before = open_descriptors();
    std::vector<Socket> takers;
    for (size_t i = 0; i < kFileTransfersMax; ++i) {
      takers.push_back(Socket::to_unix(n1.socket()));
      REQUIRE(takers.back().send(text(encode_file_request({digest, 0}))));
      CHECK(takers.back().read(16) == Played::yes(bytes.size()));
    }
    CHECK(ask(n1, digest) == no(FileRefusal::busy));
    takers.pop_back();
    CHECK(wait_until([&] { return ask(n1, digest, bytes.size()) == Played::yes(bytes.size()); }));
    CHECK(n1->stats().sender.broken == 1);

    std::vector<Socket> silent;
    while (takers.size() + silent.size() < kFileCallersMax)
      silent.push_back(Socket::to_unix(n1.socket()));
    CHECK(Socket::to_unix(n1.socket()).at_end());
    silent.clear();
    // Those who were served before are served on.
    const std::string rest = Played::rest(bytes, 0).substr(16);
    for (Socket& taker : takers) CHECK(taker.read(rest.size()) == rest);
    takers.clear();
    CHECK(wait_until([&] { return open_descriptors() == before; }));
  }
  CHECK(open_descriptors() < before);
}

TEST_CASE("file store: all that is sent together keeps to its rate") {
  TempDir dir;
  const std::string bytes = model_bytes();
  const Digest digest = sha256(bytes);
  constexpr int64_t kRate = 20 * kMiB;
  Store n1(dir, "n1", digest, {.bytes_per_second = kRate});
  write_file(n1.source(), bytes);
  n1.want();
  CHECK(n1.path() == n1.source());
  const auto start = std::chrono::steady_clock::now();
  std::vector<Socket> takers;
  for (int i = 0; i < 2; ++i) {
    takers.push_back(Socket::to_unix(n1.socket()));
    REQUIRE(takers.back().send(text(encode_file_request({digest, 0}))));
  }
  for (Socket& taker : takers) CHECK(taker.read(10 * kMiB) == Played::rest(bytes, 0));
  // A bound from below: however busy the machine is, it can't have been faster. The last chunk
  // counts for those behind it.
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() >=
        static_cast<double>(2 * bytes.size() - 2 * kFileChunkBytesMax) / kRate - 0.02);
}

}  // namespace troupe::testing
