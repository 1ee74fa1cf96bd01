#include "cache/redis_store.h"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <span>
#include <thread>

#include "redis_process.h"

namespace troupe {
namespace redis_store_test {
namespace {

using testing::eventually;
using testing::RedisProcess;
using Value = RedisStore::Value;

Value bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return Value(bytes.begin(), bytes.end());
}

RedisConfig config_for(const std::string& url, std::string_view secret = "a secret") {
  RedisConfig config;
  config.url = url;
  config.secret = bytes_of(secret);
  return config;
}

std::shared_ptr<RedisStore> started(const RedisConfig& config) {
  auto store = RedisStore::start(config);
  REQUIRE(store);
  REQUIRE(eventually([&] { return (*store)->stats().connected; }));
  return *store;
}

std::optional<Value> ask(RedisStore& store, const Digest& key) {
  auto promise = std::make_shared<std::promise<std::optional<Value>>>();
  auto future = promise->get_future();
  store.get(key, [promise](std::optional<Value> value) { promise->set_value(std::move(value)); });
  REQUIRE(future.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  return future.get();
}

void put_and_wait(RedisStore& store, const Digest& key, Value value) {
  const uint64_t before = store.stats().stored;
  store.put(key, std::move(value));
  REQUIRE(eventually([&] { return store.stats().stored == before + 1; }));
}

std::string name_of(const Digest& key) { return "troupe:r1:" + to_hex(key); }

constexpr Digest kKey{1}, kOther{2};

TEST_CASE("redis store: what was put comes back to another store with the same secret") {
  RedisProcess redis;
  const auto writer = started(config_for(redis.url()));
  const auto reader = started(config_for(redis.url()));
  put_and_wait(*writer, kKey, bytes_of("an answer"));
  CHECK(ask(*reader, kKey) == bytes_of("an answer"));
  CHECK(ask(*reader, kOther) == std::nullopt);
  CHECK(reader->stats().hits == 1);
  CHECK(reader->stats().misses == 1);
  CHECK(redis.command({"PTTL", name_of(kKey)}).size() >= 7);  // ":3599..." ms
}

TEST_CASE("redis store: values that it did not seal are misses, counted by what is wrong") {
  RedisProcess redis;
  const auto store = started(config_for(redis.url()));
  put_and_wait(*store, kOther, bytes_of("of another key"));
  const std::string other = redis.command({"GET", name_of(kOther)});
  REQUIRE(other.size() == 32 + 14);

  redis.command({"SET", name_of(kKey), "short"});
  CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().truncated == 1);
  redis.command({"SET", name_of(kKey), ""});
  CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().truncated == 2);

  redis.command({"SET", name_of(kKey), other});  // well sealed, but for another key
  CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().foreign == 1);
  std::string altered = other;
  altered.back() = static_cast<char>(altered.back() ^ 1);
  redis.command({"SET", name_of(kOther), altered});
  CHECK_FALSE(ask(*store, kOther));
  redis.command({"SET", name_of(kOther), other.substr(0, other.size() - 1)});
  CHECK_FALSE(ask(*store, kOther));
  CHECK(store->stats().foreign == 3);
  redis.command({"SET", name_of(kOther), other});
  CHECK(ask(*store, kOther));

  const auto stranger = started(config_for(redis.url(), "another secret"));
  CHECK_FALSE(ask(*stranger, kOther));
  CHECK(stranger->stats().foreign == 1);

  redis.command({"DEL", name_of(kKey)});
  redis.command({"LPUSH", name_of(kKey), "a list"});
  CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().wrong_type == 1);
  redis.command({"DEL", name_of(kKey)});
  redis.command({"SET", name_of(kKey), std::string(1'100'000, 'x')});
  CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().too_big == 1);
}

TEST_CASE("redis store: a value that its user cannot read is a miss and counted as that") {
  RedisProcess redis;
  RedisConfig config = config_for(redis.url());
  config.readable = [](std::span<const std::byte> value) { return value.size() < 5; };
  const auto store = started(config);
  put_and_wait(*store, kKey, bytes_of("long"));
  put_and_wait(*store, kOther, bytes_of("longer"));
  CHECK(ask(*store, kKey) == bytes_of("long"));
  CHECK_FALSE(ask(*store, kOther));
  CHECK(store->stats().hits == 1);
  CHECK(store->stats().unreadable == 1);
}

TEST_CASE("redis store: a value of the largest size comes back, a larger one is not stored") {
  RedisProcess redis;
  RedisConfig config = config_for(redis.url());
  config.timeout = 10s;  // about sizes, not about time
  const auto store = started(config);
  const Value largest(static_cast<size_t>(kCachedResponseBytesMax), std::byte{7});
  put_and_wait(*store, kKey, largest);
  CHECK(ask(*store, kKey) == largest);
  store->put(kOther, Value(largest.size() + 1));
  CHECK(store->stats().too_big == 1);
  CHECK_FALSE(ask(*store, kOther));
}

TEST_CASE("redis store: a frozen server gives misses, then is left alone, then used again") {
  RedisProcess redis;
  const auto store = started(config_for(redis.url()));
  put_and_wait(*store, kKey, bytes_of("an answer"));
  redis.freeze();
  for (int i = 0; i < kRedisBreakerErrors; ++i) CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().timed_out + store->stats().not_connected >= kRedisBreakerErrors);
  CHECK(store->stats().timed_out >= 1);
  REQUIRE(eventually([&] {
    CHECK_FALSE(ask(*store, kKey));
    return store->stats().resting > 0;
  }));
  redis.thaw();
  CHECK(eventually([&] { return ask(*store, kKey) == bytes_of("an answer"); }));
}

TEST_CASE("redis store: a killed server gives misses until it is back") {
  RedisProcess redis;
  const auto store = started(config_for(redis.url()));
  redis.stop();
  CHECK_FALSE(ask(*store, kKey));
  CHECK(eventually([&] { return !store->stats().connected; }));
  CHECK_FALSE(ask(*store, kKey));
  CHECK(store->stats().not_connected >= 1);
  store->put(kKey, bytes_of("lost"));
  redis.start();
  REQUIRE(eventually([&] { return store->stats().connected; }));
  put_and_wait(*store, kKey, bytes_of("an answer"));
  CHECK(ask(*store, kKey) == bytes_of("an answer"));
}

TEST_CASE("redis store: every get is answered once, also beyond the bound and at the end") {
  RedisProcess redis;
  std::atomic<int> answers{0};
  constexpr int kGets = 3'000;
  {
    const auto store = started(config_for(redis.url()));
    redis.freeze();
    for (int i = 0; i < kGets; ++i)
      store->get(kKey, [&](const std::optional<Value>& value) {
        if (!value) ++answers;
      });
    CHECK(store->stats().overloaded + store->stats().resting + store->stats().not_connected +
              store->stats().timed_out >=
          kGets - kRedisPendingMax);
  }
  CHECK(answers == kGets);
  redis.thaw();
}

/// Answers every connection's first request with fixed bytes, then closes or goes on sending them.
class LyingServer {
 public:
  enum class Then : uint8_t { hang_up, repeat };
  LyingServer(std::string reply, Then then) : reply_(std::move(reply)), then_(then) {
    listener_ = testing::listen_anywhere(port_);
    thread_ = std::thread([this] { serve(); });
  }
  ~LyingServer() {
    shutdown(listener_, SHUT_RDWR);
    stop_ = true;
    thread_.join();
    close(listener_);
  }
  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

 private:
  void serve() {
    while (!stop_) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      talk(fd);
      close(fd);
    }
  }
  void talk(int fd) {
    char request[4096];
    while (!stop_) {
      pollfd waiting{fd, POLLIN, 0};
      if (poll(&waiting, 1, 10) == 0) continue;
      if (read(fd, request, sizeof request) <= 0) return;
      break;
    }
    do {
      if (send(fd, reply_.data(), reply_.size(), MSG_NOSIGNAL) <= 0) return;
    } while (then_ == Then::repeat && !stop_);
  }

  std::string reply_;
  Then then_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_CASE("redis store: a lying server costs a miss, never a crash, never memory") {
  struct Lie {
    std::string reply;
    LyingServer::Then then;
    uint64_t RedisStats::*counter;
  };
  using enum LyingServer::Then;
  const std::vector<Lie> lies{
      {"*1000000000\r\n", hang_up, &RedisStats::wrong_type},
      {"*-1\r\n", hang_up, &RedisStats::misses},
      {"*2\r\n$1\r\na\r\n$1\r\nb\r\n", hang_up, &RedisStats::wrong_type},
      {"HTTP/1.1 200 OK\r\n\r\n", hang_up, &RedisStats::wrong_type},
      {std::string(64, '\0'), hang_up, &RedisStats::wrong_type},
      {":5\r\n", hang_up, &RedisStats::wrong_type},
      {"+OK\r\n", hang_up, &RedisStats::wrong_type},
      {"-ERR no\r\n", hang_up, &RedisStats::wrong_type},
      {"$-1\r\n$-1\r\n", hang_up, &RedisStats::wrong_type},
      {"$3\r\nab", hang_up, &RedisStats::not_connected},
      {"", hang_up, &RedisStats::not_connected},
      {"$9999999999999999999999\r\n", hang_up, &RedisStats::wrong_type},
      {"$40\r\n" + std::string(40, 'x') + "\r\n", hang_up, &RedisStats::foreign},
      {"$1500000000\r\n" + std::string(60'000, 'x'), repeat, &RedisStats::too_big},
  };
  for (const Lie& lie : lies) {
    CAPTURE(lie.reply.substr(0, 20));
    LyingServer server(lie.reply, lie.then);
    RedisConfig config = config_for(server.url());
    config.timeout = 10s;  // each lie must be found by itself, not by the clock
    const auto store = started(config);
    CHECK_FALSE(ask(*store, kKey));
    CHECK(eventually([&] { return store->stats().*lie.counter >= 1; }));
    CHECK(store->stats().hits == 0);
  }
}

TEST_CASE(
    "redis store: a malformed address, a remote host in the clear and no secret are refused") {
  const auto refused = [](RedisConfig config) {
    auto store = RedisStore::start(std::move(config));
    REQUIRE_FALSE(store);
    CHECK(store.error().code == ErrorCode::invalid_argument);
    return store.error();
  };
  CHECK(refused(config_for("127.0.0.1:6379")).message ==
        "'127.0.0.1:6379' is not a Redis address; write redis://HOST:PORT.");
  CHECK(refused(config_for("redis://127.0.0.1")).param == "redis");
  CHECK(refused(config_for("redis://10.1.2.3:6379")).message ==
        "Redis at 10.1.2.3 would be spoken to unencrypted; put insecure: true beside it if that "
        "network is trusted.");
  CHECK(refused(config_for("redis://127.0.0.1:6379", "")).param == "secret");
  RedisConfig allowed = config_for("redis://10.255.255.1:6379");
  allowed.insecure = true;
  CHECK(RedisStore::start(allowed));
}

}  // namespace
}  // namespace redis_store_test
}  // namespace troupe
