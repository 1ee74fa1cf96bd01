// What strangers, scanners and misconfigured nodes do to a link, while a good stream runs.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <vector>

#include "tests/link/link_fixture.h"

namespace troupe::testing {
namespace scanner_test {
namespace {

/// A stream through both links that must work at any time.
struct GoodStream {
  explicit GoodStream(const TwoLinks& links)
      : here(Socket::to_unix(links.door("router"))), there(links.router.accept()) {}
  bool works() {
    const std::string word = "message " + std::to_string(++count);
    return here.send(word) && there.read(word.size()) == word && there.send(word) &&
           here.read(word.size()) == word;
  }
  Socket here, there;
  int count = 0;
};

LinkPreamble preamble_from_n1(const RawPeer& peer) {
  return {Incarnation(1), peer.binding(), "n1", "n1/router", "n2/router"};
}

std::optional<LinkRefusal> answer_to(const RawPeer& peer) {
  const std::string bytes = peer.read(kLinkAnswerBytes);
  REQUIRE(bytes.size() == kLinkAnswerBytes);
  std::array<uint8_t, kLinkAnswerBytes> raw{};
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  const auto answer = decode_answer(raw);
  REQUIRE(answer.has_value());
  return *answer;
}

bool counted(const TwoLinks& links, LinkRefusal why, uint64_t count) {
  return wait_until([&] { return links.n2->stats().refusals(why) >= count; }) &&
         links.n2->stats().refusals(why) == count;
}

}  // namespace

TEST_CASE("scanner: 1,000 idle sockets keep nobody out and are all given back") {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  TwoLinks links;
  GoodStream good(links);
  REQUIRE(good.works());
  const size_t base = open_descriptors();
  {
    std::vector<Socket> idle;
    for (int i = 0; i < 1000; ++i) {
      idle.push_back(Socket::to_tcp(links.port2.address.port));
      REQUIRE(idle.back().connected());
      CHECK(links.n2->stats().unauthenticated <= kLinkUnauthenticatedMax);
      if (i % 100 == 0) CHECK(good.works());
    }
    // A node gets in among them.
    Socket newcomer = Socket::to_unix(links.door("n2"));
    CHECK(newcomer.send("hello"));
    CHECK(links.node.accept().read(5) == "hello");
    for (const Socket& socket : idle) CHECK(socket.at_end());
    CHECK(good.works());
  }
  CHECK(wait_until([&] {
    const LinkStats now = links.n2->stats();
    return now.refusals(LinkRefusal::crowded) + now.refusals(LinkRefusal::too_slow) == 1000;
  }));
  // All but the last ones were pushed out by newer sockets; those reached their deadline.
  CHECK(links.n2->stats().refusals(LinkRefusal::crowded) >= 1000 - kLinkUnauthenticatedMax);
  CHECK(links.n2->stats().refusals(LinkRefusal::too_slow) >= 1);
  CHECK(wait_until([&] { return links.n2->stats().unauthenticated == 0; }));
  CHECK(wait_until([&] { return open_descriptors() == base; }));
  CHECK(good.works());
}

TEST_CASE("scanner: garbage, plain HTTP and sockets that hang up are refused, each by its name") {
  TwoLinks links;
  GoodStream good(links);
  const size_t base = open_descriptors();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Socket garbage = Socket::to_tcp(links.port2.address.port);
    garbage.send("\xff" + random_bytes(2000, seed));  // 0xff begins no TLS record
    CHECK(garbage.read(4096).size() < 4096);          // at most an alert, then the end
  }
  CHECK(counted(links, LinkRefusal::not_tls, 20));
  Socket http = Socket::to_tcp(links.port2.address.port);
  http.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  http.read(4096);
  CHECK(counted(links, LinkRefusal::not_tls, 21));
  Socket::to_tcp(links.port2.address.port).close();
  CHECK(counted(links, LinkRefusal::hung_up, 1));
  Socket::to_tcp(links.port2.address.port).reset();
  CHECK(counted(links, LinkRefusal::hung_up, 2));
  // Half of a handshake, then silence: its deadline ends it.
  Socket half = Socket::to_tcp(links.port2.address.port);
  half.send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  CHECK(half.at_end());
  CHECK(counted(links, LinkRefusal::too_slow, 1));
  CHECK(good.works());
  http.close();
  half.close();
  CHECK(wait_until([&] { return open_descriptors() == base; }));
  CHECK(links.n2->stats().last_refused.starts_with("127.0.0.1:"));
  CHECK(links.n2->stats().last_refused.ends_with(" too_slow"));
}

TEST_CASE("scanner: old TLS, wrong, expired and foreign certificates, and no service are refused") {
  TwoLinks links;
  GoodStream good(links);
  const uint16_t port = links.port2.address.port;
  const std::string certs = links.dir / "certs";
  TempDir other;
  make_certificates(other / "certs", {"n1"});
  NodeOrder order;
  order.folder = certs;
  order.now = wall_now() - std::chrono::days(100);
  order.node = "n1-old";
  order.hosts = {"n1"};  // it names the node, 100 days ago
  REQUIRE(issue_certificate(order).has_value());
  order.now = wall_now();
  order.node = "stranger";
  order.hosts = {};
  REQUIRE(issue_certificate(order).has_value());
  order.node = "both";
  order.hosts = {"n1", "n3"};
  REQUIRE(issue_certificate(order).has_value());

  auto refused = [&](const RawPeer::Options& options) {
    RawPeer peer(port, options);
    // A TLS 1.3 client is done before the acceptor judges its certificate; then it reads the end.
    return !peer.connected() || peer.read(1).empty();
  };
  const LinkFiles good_files = link_files(certs, "n1");
  CHECK(refused({good_files, "basp", 0x0303}));
  CHECK(counted(links, LinkRefusal::old_tls, 1));
  CHECK(refused({LinkFiles(), "basp"}));
  CHECK(counted(links, LinkRefusal::no_certificate, 1));
  CHECK(refused({link_files(other / "certs", "n1"), "basp"}));
  CHECK(counted(links, LinkRefusal::untrusted, 1));
  CHECK(refused({link_files(certs, "n1-old"), "basp"}));
  CHECK(counted(links, LinkRefusal::expired, 1));
  CHECK(refused({link_files(certs, "stranger"), "basp"}));
  CHECK(counted(links, LinkRefusal::foreign_node, 1));
  CHECK(refused({link_files(certs, "both"), "basp"}));
  CHECK(counted(links, LinkRefusal::foreign_node, 2));
  CHECK(refused({link_files(certs, "n2"), "basp"}));  // its own name: a stolen key
  CHECK(counted(links, LinkRefusal::foreign_node, 3));
  CHECK(refused({good_files, "h2"}));
  CHECK(counted(links, LinkRefusal::no_service, 1));
  CHECK(refused({good_files, ""}));
  CHECK(counted(links, LinkRefusal::no_service, 2));
  CHECK(good.works());
  CHECK(links.n2->stats().accepted == 1);
}

TEST_CASE(
    "scanner: a preamble that is replayed, lies or asks for nobody is refused with an answer") {
  TwoLinks links;
  GoodStream good(links);
  const uint16_t port = links.port2.address.port;
  const RawPeer::Options n1{link_files(links.dir / "certs", "n1")};

  std::string recorded;
  {
    RawPeer honest(port, n1);
    REQUIRE(honest.connected());
    recorded = text(encode_preamble(preamble_from_n1(honest)));
    REQUIRE(honest.send(recorded));
    CHECK(answer_to(honest) == std::nullopt);
    Socket there = links.router.accept();
    REQUIRE(honest.send("spliced"));
    CHECK(there.read(7) == "spliced");
  }
  RawPeer replay(port, n1);
  REQUIRE(replay.send(recorded));
  CHECK(answer_to(replay) == LinkRefusal::replayed);
  CHECK(counted(links, LinkRefusal::replayed, 1));

  RawPeer liar(port, n1);
  LinkPreamble preamble = preamble_from_n1(liar);
  preamble.source_node = "n3";
  REQUIRE(liar.send(text(encode_preamble(preamble))));
  CHECK(answer_to(liar) == LinkRefusal::wrong_source);
  CHECK(counted(links, LinkRefusal::wrong_source, 1));

  RawPeer lost(port, n1);
  preamble = preamble_from_n1(lost);
  preamble.target_process = "n2/../n.sock";
  REQUIRE(lost.send(text(encode_preamble(preamble))));
  CHECK(answer_to(lost) == LinkRefusal::unknown_target);
  CHECK(counted(links, LinkRefusal::unknown_target, 1));

  RawPeer babble(port, n1);
  REQUIRE(babble.send(random_bytes(64, 7)));
  CHECK(answer_to(babble) == LinkRefusal::bad_preamble);
  CHECK(counted(links, LinkRefusal::bad_preamble, 1));

  RawPeer silent(port, n1);  // authenticated, and still bound to the deadline
  CHECK(silent.read(1).empty());
  CHECK(counted(links, LinkRefusal::too_slow, 1));
  CHECK(good.works());
}

}  // namespace scanner_test
}  // namespace troupe::testing
