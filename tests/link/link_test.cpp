// Streams through two links, over real sockets.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "net/unix_socket.h"
#include "tests/link/link_fixture.h"

namespace troupe::testing {

TEST_CASE("link: bytes pass both ways at once, whole and in order") {
  TwoLinks links;
  Socket here = Socket::to_unix(links.door("router"));
  REQUIRE(here.connected());
  Socket there = links.router.accept();
  const std::string up = random_bytes(24 << 20, 1), down = random_bytes(16 << 20, 2);
  std::string got_up, got_down;
  std::thread a([&] { CHECK(here.send(up)); });
  std::thread b([&] { CHECK(there.send(down)); });
  std::thread c([&] { got_up = there.read(up.size()); });
  got_down = here.read(down.size());
  for (std::thread* thread : {&a, &b, &c}) thread->join();
  CHECK(got_up == up);
  CHECK(got_down == down);
  CHECK(wait_until([&] { return links.n1->stats().bytes_out == up.size(); }));
  CHECK(links.n1->stats().dialled == 1);
  CHECK(links.n2->stats().accepted == 1);
  CHECK(links.n2->stats().buffered_max <= 2 * kLinkBufferBytes);
}

TEST_CASE("link: the preamble leads each door to its own process and service") {
  TwoLinks links;
  Socket to_node = Socket::to_unix(links.door("n2"));
  Socket to_files = Socket::to_unix(links.door("files"));
  Socket node = links.node.accept(), files = links.files.accept();
  CHECK(to_files.send("file bytes"));
  CHECK(to_node.send("beat bytes"));
  CHECK(node.read(10) == "beat bytes");
  CHECK(files.read(10) == "file bytes");
}

TEST_CASE("link: a side that ends its sending still hears the other one") {
  TwoLinks links;
  Socket here = Socket::to_unix(links.door("router"));
  Socket there = links.router.accept();
  CHECK(here.send("question"));
  here.end_sending();
  CHECK(there.read(100) == "question");  // to the end of the stream
  CHECK(there.send("answer"));
  CHECK(here.read(6) == "answer");
  there.end_sending();
  CHECK(here.at_end());
  CHECK(wait_until([&] { return links.n1->stats().open == 0 && links.n2->stats().open == 0; }));
}

TEST_CASE("link: a process that closes is seen to close, in both directions of dialing") {
  TwoLinks links;
  {
    Socket here = Socket::to_unix(links.door("router"));
    Socket there = links.router.accept();
    CHECK(here.send("last words"));
    here.close();
    CHECK(there.read(100) == "last words");
  }
  {
    Socket here = Socket::to_unix(links.door("router"));
    Socket there = links.router.accept();
    CHECK(there.send("last words"));
    there.close();
    CHECK(here.read(100) == "last words");
  }
  CHECK(wait_until([&] { return links.n1->stats().open == 0 && links.n2->stats().open == 0; }));
}

TEST_CASE("link: a process that closes while the other one still sends ends the stream at once") {
  TwoLinks links;
  Socket here = Socket::to_unix(links.door("router"));
  Socket there = links.router.accept();
  std::thread flood([&] {
    const std::string bytes = random_bytes(1 << 20, 3);
    while (there.send(bytes)) {
    }
  });
  CHECK(here.read(1 << 20) == random_bytes(1 << 20, 3));
  here.close();
  flood.join();  // its sending failed
  CHECK(wait_until([&] { return links.n1->stats().open == 0 && links.n2->stats().open == 0; }));
}

TEST_CASE("link: a reader that reads nothing stops its sender, and holds a bounded buffer") {
  TwoLinks links;
  Socket slow = Socket::to_unix(links.door("router"));
  Socket sender = links.router.accept();
  Socket other = Socket::to_unix(links.door("n2"));
  Socket other_end = links.node.accept();
  const timeval soon{1, 0};
  ::setsockopt(sender.fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
  const std::string bytes = random_bytes(1 << 20, 4);
  size_t sent = 0;
  for (ssize_t put = 1; put > 0;) {
    put = ::send(sender.fd(), bytes.data() + sent % bytes.size(),
                 bytes.size() - sent % bytes.size(), MSG_NOSIGNAL);
    if (put > 0) sent += static_cast<size_t>(put);
    REQUIRE(sent < size_t{64} << 20);  // sockets' own buffers take some MiB, the links almost none
  }
  CHECK(links.n1->stats().buffered_max <= 2 * kLinkBufferBytes);
  CHECK(links.n2->stats().buffered_max <= 2 * kLinkBufferBytes);
  CHECK(other.send("not stuck"));
  CHECK(other_end.read(9) == "not stuck");
  // Nothing of it was lost.
  for (size_t at = 0; at < sent; at += bytes.size()) {
    const size_t part = std::min(bytes.size(), sent - at);
    CHECK(slow.read(part) == bytes.substr(0, part));
  }
}

TEST_CASE("link: a refused dial closes the door's connection, and both sides count why") {
  TwoLinks links;
  auto refused = [&](std::string_view door) {
    Socket socket = Socket::to_unix(links.door(door));
    REQUIRE(socket.connected());
    return socket.at_end();
  };
  CHECK(refused("nobody"));
  CHECK(wait_until([&] { return links.n2->stats().refusals(LinkRefusal::unknown_target) == 1; }));
  CHECK(wait_until([&] { return links.n1->stats().failures(LinkRefusal::refused_there) == 1; }));
  CHECK(links.n1->stats().last_failed == "n2/nobody: refused_there (unknown_target)");
  CHECK(refused("wrong-service"));
  CHECK(wait_until([&] { return links.n2->stats().refusals(LinkRefusal::unknown_target) == 2; }));
  ::unlink(links.files.path().c_str());
  CHECK(refused("files"));
  CHECK(wait_until([&] { return links.n2->stats().refusals(LinkRefusal::target_down) == 1; }));
  CHECK(refused("n3"));
  CHECK(wait_until([&] { return links.n1->stats().failures(LinkRefusal::unreachable) == 1; }));
  CHECK(links.n1->stats().last_failed == "n3: unreachable (Connection refused)");
}

TEST_CASE("link: a host that does not answer is given up after the deadline") {
  TwoLinks::Options options;
  options.dial_timeout = 200ms;
  TwoLinks links(options);
  links.n2.reset();  // the port still listens: the kernel connects, nobody speaks TLS
  Socket socket = Socket::to_unix(links.door("router"));
  CHECK(socket.at_end());
  CHECK(wait_until([&] { return links.n1->stats().failures(LinkRefusal::too_slow) == 1; }));
  // The stream works again as soon as the other link is back; n1 kept nothing of the old one.
  links.start_n2();
  Socket again = Socket::to_unix(links.door("router"));
  CHECK(again.send("hello"));
  CHECK(links.router.accept().read(5) == "hello");
}

TEST_CASE("link: another node at the address of the one that was meant is refused by the dialer") {
  TwoLinks links;
  LinkConfig config = links.config_of("n1");
  for (LinkPeer& peer : config.ways.peers)
    if (peer.node == "n3") peer.address = links.port2.address;  // n2 answers there
  links.n1.reset();
  auto n1 = Link::start(config);
  REQUIRE(n1.has_value());
  Socket socket = Socket::to_unix(links.door("n3"));
  CHECK(socket.at_end());
  CHECK(wait_until([&] { return (*n1)->stats().failures(LinkRefusal::wrong_node) == 1; }));
  CHECK((*n1)->stats().last_failed == "n3: wrong_node (n2 answered at the address of n3)");
}

TEST_CASE("link: a node that was found dead loses its streams, and no other node does") {
  TwoLinks links;
  Socket here = Socket::to_unix(links.door("router"));
  Socket there = links.router.accept();
  CHECK(here.send("up"));
  CHECK(there.read(2) == "up");
  links.n2->cut("n3");
  links.n1->cut("n3");
  CHECK(there.send("still"));
  CHECK(here.read(5) == "still");
  links.n1->cut("n2");
  CHECK(here.at_end());
  CHECK(there.at_end());
  CHECK(wait_until([&] { return links.n2->stats().open == 0; }));
}

TEST_CASE("link: a replaced certificate serves new connections, a broken one changes nothing") {
  TwoLinks links;
  const auto before = links.n2->certificate_expires();
  Socket old_here = Socket::to_unix(links.door("router"));
  Socket old_there = links.router.accept();
  NodeOrder order;
  order.folder = links.dir / "certs";
  order.node = "n2";
  order.now = wall_now();
  order.days = 120;
  order.if_issued = IfIssued::replace;
  REQUIRE(issue_certificate(order).has_value());
  REQUIRE(links.n2->reload().has_value());
  CHECK(links.n2->certificate_expires() - before >= std::chrono::days(29));
  Socket here = Socket::to_unix(links.door("n2"));
  CHECK(here.send("new"));
  CHECK(links.node.accept().read(3) == "new");
  CHECK(old_here.send("old"));
  CHECK(old_there.read(3) == "old");

  std::ofstream(links.dir / "certs/n2.pem") << "not a certificate";
  const auto broken = links.n2->reload();
  REQUIRE_FALSE(broken.has_value());
  CHECK(broken.error().message ==
        (links.dir / "certs/n2.pem") +
            ": no certificate can be read from it; troupe certs issue n2 makes one");
  Socket after = Socket::to_unix(links.door("n2"));
  CHECK(after.send("still"));
  CHECK(links.node.accept().read(5) == "still");
}

TEST_CASE("link: a start with wrong files or names is refused in one sentence") {
  TwoLinks links;
  TempDir other;
  make_certificates(other / "certs", {"n1"});
  auto refusal = [&](const std::function<void(LinkConfig&)>& change) {
    LinkConfig config = links.config_of("n1");
    for (LinkDoor& door : config.ways.doors) door.path += "-second";
    change(config);
    auto link = Link::start(std::move(config));
    REQUIRE_FALSE(link.has_value());
    return link.error().message;
  };
  const std::string certs = links.dir / "certs/";
  CHECK(refusal([&](LinkConfig& c) { c.ways.files.ca = certs + "none.pem"; }) ==
        certs + "none.pem: no CA certificate can be read from it; troupe certs init makes one");
  CHECK(refusal([&](LinkConfig& c) { c.ways.files.key = certs + "n2.key"; }) ==
        certs + "n2.key: not the private key of " + certs +
            "n1.pem; copy both from the folder of troupe certs");
  CHECK(refusal([&](LinkConfig& c) { c.ways.files = link_files(links.dir / "certs", "n2"); }) ==
        certs + "n2.pem: is not a certificate of node n1 alone; troupe certs issue n1 makes one");
  CHECK(refusal([&](LinkConfig& c) {
          c.ways.files.ca = other / "certs/ca.pem";
        }).starts_with(certs + "n1.pem: would be refused by every peer ("));
  CHECK(refusal([](LinkConfig& c) {
          c.ways.doors[0].node = "n9";
        }).ends_with("leads to node n9, which is not in the config"));
  CHECK(refusal([](LinkConfig& c) { c.ways.doors[0].source_process = "a b"; }) ==
        "the door from a b to n2 has a name that can't be a process's");
  CHECK(refusal([](LinkConfig& c) { c.ways.peers[0].node = "n1"; }) ==
        "\"n1\" can't be another node's name; rename it in the config");
  CHECK(refusal([](LinkConfig& c) {
          c.ways.doors[0].path = "/tmp/" + std::string(120, 'x');
        }).ends_with("at most 107 are possible; use a shorter state directory"));
}

TEST_CASE("link: when links end, every descriptor is given back and the doors are gone") {
  const size_t base = open_descriptors();
  {
    TwoLinks links;
    Socket here = Socket::to_unix(links.door("router"));
    Socket there = links.router.accept();
    CHECK(here.send("x"));
    CHECK(there.read(1) == "x");
    links.n1.reset();
    CHECK(there.at_end());
    CHECK_FALSE(Socket::to_unix(links.door("router")).connected());
    ::close(links.port1.fd);
    ::close(links.port2.fd);
  }
  CHECK(open_descriptors() == base);
}

}  // namespace troupe::testing
