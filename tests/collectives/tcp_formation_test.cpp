// Ranks that find each other over TCP while strangers, stale ranks and silence get in the way.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "config/limits.h"
#include "net/tcp_collective.h"
#include "tests/collectives/rank_processes.h"

namespace troupe::testing {
namespace tcp_formation_test {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Open descriptors of this process.
size_t descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

/// Two ranks' groups and listeners.
struct Pair {
  TcpGroup groups[2];
  FileDescriptor listeners[2];

  Pair() : Pair(GroupKey::random()) {}
  explicit Pair(const GroupKey& key)
      : groups{
            {.name = "g", .generation = kTestGeneration, .rank = 0, .addresses = {}, .key = key},
            {.name = "g", .generation = kTestGeneration, .rank = 1, .addresses = {}, .key = key}} {
    std::vector<HostPort> addresses(2);
    for (size_t r = 0; r < 2; ++r)
      listeners[r] = listen_for_ranks("127.0.0.1", {}, addresses[r]).value();
    groups[0].addresses = groups[1].addresses = addresses;
  }

  uint16_t port(size_t rank) const { return groups[0].addresses[rank].port; }

  /// Both form and exchange something; "fine", or what each of them was told.
  std::string form(Duration allowed) {
    std::string outcomes[2];
    const auto join = [&](size_t r) {
      auto made = form_tcp_collective(groups[r], std::move(listeners[r]),
                                      std::make_shared<StopSignal>(), allowed);
      if (!made) {
        outcomes[r] = std::string(name_of(made.error().code)) + ": " + made.error().message;
        return;
      }
      std::vector<float> one(10, 1);
      const auto done =
          (*made)->all_reduce({std::as_writable_bytes(std::span(one)), ElementType::f32}, tag(0));
      outcomes[r] = done && one[9] == 2 ? "fine" : told(done);
    };
    std::thread other(join, 1);
    join(0);
    other.join();
    return outcomes[0] == "fine" && outcomes[1] == "fine" ? "fine"
                                                          : outcomes[0] + " | " + outcomes[1];
  }
};

FileDescriptor connect_to(uint16_t port) {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  return socket;
}

}  // namespace

TEST_CASE("tcp formation: two ranks meet, exchange and leave no descriptor behind") {
  Pair().form(20s);  // what OpenSSL opens once
  const size_t before = descriptors();
  CHECK(Pair().form(20s) == "fine");
  CHECK(descriptors() == before);
}

TEST_CASE("tcp formation: idle and garbage connections get in nobody's way") {
  Pair pair;
  std::vector<FileDescriptor> strangers;
  for (size_t i = 0; i < kTcpUnauthenticatedMax + 40; ++i) {
    strangers.push_back(connect_to(pair.port(0)));
    const std::string garbage = i % 3 == 0 ? std::string() : std::string(50 * i, 'x');
    ::send(strangers.back().get(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
  }
  CHECK(pair.form(20s) == "fine");
}

TEST_CASE("tcp formation: a rank with another key is refused, and both say why") {
  Pair pair;
  pair.groups[1].key = GroupKey::random();
  const std::string outcome = pair.form(400ms);
  CAPTURE(outcome);
  CHECK(has(outcome, "deadline_exceeded: rank 0 of generation 7 has no connection after 0.4 s"));
  CHECK(has(outcome, "rank 1 at 127.0.0.1:"));
  CHECK(has(outcome, "(it did not dial)"));
  CHECK(has(outcome, "(it does not have the key of this generation)"));
}

TEST_CASE("tcp formation: a rank of an older generation can't connect, even with the key") {
  Pair pair;
  pair.groups[1].generation = kTestGeneration - 1;
  const std::string outcome = pair.form(400ms);
  CAPTURE(outcome);
  CHECK(has(outcome, "rank 1 of generation 6 has no connection"));
  CHECK(has(outcome, "(it does not have the key of this generation)"));
}

TEST_CASE("tcp formation: a rank that is another one than was dialled is refused") {
  Pair pair;
  pair.groups[1].addresses.push_back(pair.groups[1].addresses[0]);  // believes in three ranks
  const std::string outcome = pair.form(400ms);
  CAPTURE(outcome);
  CHECK(has(outcome, "rank 0 of generation 7 has no connection after 0.4 s"));
  CHECK(has(outcome, "it closed the connection"));
}

TEST_CASE("tcp formation: a raised stop ends it") {
  Pair pair;
  auto stop = std::make_shared<StopSignal>();
  std::thread other([&] { stop->raise(); });
  const auto made = form_tcp_collective(pair.groups[0], std::move(pair.listeners[0]), stop, 60s);
  other.join();
  REQUIRE(!made);
  CHECK(made.error().code == ErrorCode::aborted);
}

TEST_CASE("tcp formation: an address that is a name is refused, not asked of a server") {
  Pair pair;
  pair.groups[1].addresses[0].host = "rank-zero.example";
  const auto made = form_tcp_collective(pair.groups[1], std::move(pair.listeners[1]),
                                        std::make_shared<StopSignal>(), 60s);
  REQUIRE(!made);
  CHECK(has(made.error().message, "rank-zero.example:"));
  CHECK(made.error().code == ErrorCode::invalid_argument);
}

TEST_CASE("tcp formation: ports are taken from the range, and a full range says so") {
  HostPort first, second;
  const auto any = listen_for_ranks("127.0.0.1", {}, first);
  REQUIRE(any);
  const auto none = listen_for_ranks("127.0.0.1", {first.port, first.port}, second);
  REQUIRE(!none);
  CHECK(none.error().code == ErrorCode::conflict);
  CHECK(has(none.error().message, "give the node a larger data_ports"));
}

}  // namespace tcp_formation_test
}  // namespace troupe::testing
