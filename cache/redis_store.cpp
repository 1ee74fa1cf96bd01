#include "cache/redis_store.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "cache/breaker.h"
#include "config/check.h"
#include "config/digest.h"
#include "config/host_port.h"

namespace troupe {
namespace {

// A value, its HMAC, and the frame around it, plus what one read may add.
constexpr size_t kReplyBytesMax = static_cast<size_t>(kCachedResponseBytesMax) + 64 * kKiB;

Time steady_now() { return Time(std::chrono::steady_clock::now().time_since_epoch()); }

struct ContextFree {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct ReplyFree {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, ContextFree>;
using Reply = std::unique_ptr<redisReply, ReplyFree>;

// No command of ours is answered by an array: refusing them keeps hiredis from allocating what a
// lying server announces.
void* refuse_array(const redisReadTask*, int) { return nullptr; }

class RedisClient final : public RedisStore {
 public:
  RedisClient(RedisConfig config, HostPort address);
  ~RedisClient() override;
  void get(const Digest& key, Found found) override;
  void put(const Digest& key, Value value) override;
  RedisStats stats() const override;

 private:
  enum class Kind : uint8_t { get, put };
  struct Command {
    Kind kind = Kind::get;
    Digest key{};
    Value value;
    Found found;
    Time deadline{};
    bool settled = false;  ///< counted and answered; its reply is still to come
  };
  enum class Link : uint8_t { down, connecting, up };
  using Counter = uint64_t RedisStats::*;

  // any thread
  void count(Counter counter);
  bool admit(const Command& command);

  // the store's thread
  void run();
  bool take_inbox();
  void send(Command command);
  void connect(Time now);
  void disconnect(Time now);
  void failure(Time now);
  void expire(Time now);
  void wait(Time now);
  void on_socket(short events);
  void read_replies(Time now);
  bool on_reply(Time now, const redisReply& reply);
  void settle(Command& command, Counter why, std::optional<Value> value);
  std::optional<Value> open_value(const Command& command, const redisReply& reply, Counter& why);
  std::string name_of(const Digest& key) const { return "troupe:r1:" + to_hex(key); }
  Digest seal(const Digest& key, std::span<const std::byte> value) const;
  void set_link(Link link);

  const RedisConfig config_;
  const HostPort address_;
  int wake_ = -1;

  mutable std::mutex mutex_;
  std::vector<Command> inbox_;
  size_t pending_ = 0, pending_bytes_ = 0;  ///< inbox and sent
  bool stopping_ = false, resting_ = false;
  Link link_ = Link::down;  ///< written by the thread only
  RedisStats stats_;

  Context context_;
  redisReplyObjectFunctions functions_{};
  std::deque<Command> sent_;  ///< in the order their replies will come
  Breaker breaker_{kRedisBreakerErrors, kRedisBreakerWindow, kRedisBreakerRest};
  Time retry_at_{}, connect_deadline_{};
  Duration backoff_ = kRedisReconnectFirst;

  std::thread thread_;
};

RedisClient::RedisClient(RedisConfig config, HostPort address)
    : config_(std::move(config)), address_(std::move(address)) {
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  TROUPE_CHECK(wake_ >= 0, errno);
  // Signals are for others, and SIGPIPE would end the process when Redis does.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

RedisClient::~RedisClient() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  eventfd_write(wake_, 1);
  thread_.join();
  close(wake_);
}

void RedisClient::count(Counter counter) {
  const std::lock_guard lock(mutex_);
  ++(stats_.*counter);
}

bool RedisClient::admit(const Command& command) {
  if (link_ != Link::up || stopping_) {
    ++(resting_ ? stats_.resting : stats_.not_connected);
    return false;
  }
  if (pending_ >= kRedisPendingMax ||
      pending_bytes_ + command.value.size() > kRedisPendingBytesMax) {
    ++stats_.overloaded;
    return false;
  }
  ++pending_;
  pending_bytes_ += command.value.size();
  return true;
}

void RedisClient::get(const Digest& key, Found found) {
  Command command{Kind::get, key, {}, std::move(found), steady_now() + config_.timeout};
  {
    const std::lock_guard lock(mutex_);
    if (admit(command)) {
      inbox_.push_back(std::move(command));
      eventfd_write(wake_, 1);
      return;
    }
  }
  command.found(std::nullopt);
}

void RedisClient::put(const Digest& key, Value value) {
  if (value.size() > static_cast<size_t>(kCachedResponseBytesMax))
    return count(&RedisStats::too_big);
  Command command{Kind::put, key, std::move(value), {}, steady_now() + config_.timeout};
  const std::lock_guard lock(mutex_);
  if (!admit(command)) return;
  inbox_.push_back(std::move(command));
  eventfd_write(wake_, 1);
}

RedisStats RedisClient::stats() const {
  const std::lock_guard lock(mutex_);
  RedisStats stats = stats_;
  stats.connected = link_ == Link::up;
  return stats;
}

void RedisClient::set_link(Link link) {
  const std::lock_guard lock(mutex_);
  link_ = link;
  if (link == Link::up) resting_ = false;
}

void RedisClient::run() {
  while (true) {
    const Time now = steady_now();
    if (!take_inbox()) break;
    expire(now);
    if (link_ == Link::down && now >= retry_at_) connect(now);
    wait(now);
  }
  disconnect(steady_now());
}

bool RedisClient::take_inbox() {
  std::vector<Command> commands;
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(inbox_);
    stopping = stopping_;
  }
  for (Command& command : commands) {
    if (stopping || link_ != Link::up)
      settle(command, &RedisStats::not_connected, std::nullopt);
    else
      send(std::move(command));
  }
  return !stopping;
}

void RedisClient::send(Command command) {
  const std::string name = name_of(command.key);
  int appended = REDIS_ERR;
  if (command.kind == Kind::get) {
    const std::array<const char*, 2> words{"GET", name.c_str()};
    const std::array<size_t, 2> sizes{3, name.size()};
    appended = redisAppendCommandArgv(context_.get(), 2, const_cast<const char**>(words.data()),
                                      sizes.data());
  } else {
    const Digest mac = seal(command.key, command.value);
    Value sealed(mac.size() + command.value.size());
    std::memcpy(sealed.data(), mac.data(), mac.size());
    std::copy(command.value.begin(), command.value.end(), sealed.begin() + mac.size());
    const std::string ttl = std::to_string(to_ms(config_.ttl));
    const std::array<const char*, 5> words{
        "SET", name.c_str(), reinterpret_cast<const char*>(sealed.data()), "PX", ttl.c_str()};
    const std::array<size_t, 5> sizes{3, name.size(), sealed.size(), 2, ttl.size()};
    appended = redisAppendCommandArgv(context_.get(), 5, const_cast<const char**>(words.data()),
                                      sizes.data());
  }
  sent_.push_back(std::move(command));
  if (appended != REDIS_OK) disconnect(steady_now());
}

Digest RedisClient::seal(const Digest& key, std::span<const std::byte> value) const {
  Value bytes(key.size() + value.size());
  std::memcpy(bytes.data(), key.data(), key.size());
  std::copy(value.begin(), value.end(), bytes.begin() + key.size());
  return hmac_sha256(config_.secret, bytes);
}

void RedisClient::connect(Time now) {
  context_.reset(redisConnectNonBlock(address_.host.c_str(), address_.port));
  if (!context_ || context_->err != 0) {
    failure(now);
    return disconnect(now);
  }
  functions_ = *context_->reader->fn;
  functions_.createArray = refuse_array;
  context_->reader->fn = &functions_;
  connect_deadline_ = now + kRedisConnectTimeout;
  set_link(Link::connecting);
}

void RedisClient::disconnect(Time now) {
  context_.reset();
  set_link(Link::down);
  for (Command& command : sent_) settle(command, &RedisStats::not_connected, std::nullopt);
  sent_.clear();
  retry_at_ = std::max(now + backoff_, breaker_.rests_until().value_or(now));
  backoff_ = std::min(backoff_ * 2, Duration(kRedisReconnectMax));
}

void RedisClient::failure(Time now) {
  if (!breaker_.failed(now)) return;
  {
    const std::lock_guard lock(mutex_);
    resting_ = true;
  }
  disconnect(now);
}

void RedisClient::expire(Time now) {
  if (link_ == Link::connecting && now >= connect_deadline_) {
    failure(now);
    return disconnect(now);
  }
  // settle() leaves the command in place: its reply, if it ever comes, must find it.
  for (size_t i = 0; i < sent_.size() && sent_[i].deadline <= now; ++i) {
    if (sent_[i].settled) continue;
    settle(sent_[i], &RedisStats::timed_out, std::nullopt);
    failure(now);  // may disconnect, which empties sent_
  }
  if (!sent_.empty() && sent_.front().deadline + kRedisConnectTimeout <= now) disconnect(now);
}

void RedisClient::wait(Time now) {
  Time until = now + 1s;
  if (link_ == Link::down) until = std::min(until, retry_at_);
  if (link_ == Link::connecting) until = std::min(until, connect_deadline_);
  for (const Command& command : sent_) {
    if (command.settled) continue;
    until = std::min(until, command.deadline);
    break;
  }
  std::array<pollfd, 2> fds{pollfd{wake_, POLLIN, 0}, pollfd{-1, POLLIN, 0}};
  if (context_) {
    fds[1].fd = context_->fd;
    const bool unsent = link_ == Link::up && sdslen(context_->obuf) > 0;
    if (link_ == Link::connecting || unsent) fds[1].events |= POLLOUT;
  }
  const auto ms = std::max<int64_t>(0, to_ms(until - now + 999'999ns));
  if (poll(fds.data(), fds.size(), static_cast<int>(ms)) <= 0) return;
  eventfd_t ignored = 0;
  if (fds[0].revents != 0) eventfd_read(wake_, &ignored);
  if (fds[1].revents != 0) on_socket(fds[1].revents);
}

void RedisClient::on_socket(short events) {
  const Time now = steady_now();
  if (link_ == Link::connecting) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      failure(now);
      return disconnect(now);
    }
    if ((events & POLLOUT) == 0) return;
    context_->flags |= REDIS_CONNECTED;
    return set_link(Link::up);
  }
  int done = 0;
  if ((events & POLLOUT) != 0 && redisBufferWrite(context_.get(), &done) != REDIS_OK) {
    failure(now);
    return disconnect(now);
  }
  if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) read_replies(now);
}

void RedisClient::read_replies(Time now) {
  bool sound = redisBufferRead(context_.get()) == REDIS_OK;
  while (sound) {
    void* raw = nullptr;
    if (redisGetReplyFromReader(context_.get(), &raw) != REDIS_OK) {
      count(&RedisStats::wrong_type);
      sound = false;
    } else if (!raw) {
      break;
    } else {
      const Reply reply(static_cast<redisReply*>(raw));
      sound = on_reply(now, *reply);
      if (!context_) return;  // the breaker has opened
    }
  }
  if (sound && context_->reader->len > kReplyBytesMax) {
    count(&RedisStats::too_big);
    sound = false;
  }
  if (sound) return;
  failure(now);
  if (context_) disconnect(now);
}

bool RedisClient::on_reply(Time now, const redisReply& reply) {
  if (sent_.empty()) {  // nobody asked
    count(&RedisStats::wrong_type);
    return false;
  }
  Command command = std::move(sent_.front());
  sent_.pop_front();
  backoff_ = kRedisReconnectFirst;
  const std::string_view text(reply.str ? reply.str : "", reply.str ? reply.len : 0);
  const bool error = reply.type == REDIS_REPLY_ERROR;
  if (command.kind == Kind::put) {
    const bool stored = reply.type == REDIS_REPLY_STATUS && text == "OK";
    settle(command,
           stored  ? &RedisStats::stored
           : error ? &RedisStats::refused
                   : &RedisStats::wrong_type,
           std::nullopt);
    if (error) failure(now);
    return stored || error;
  }
  Counter why = &RedisStats::wrong_type;
  std::optional<Value> value = open_value(command, reply, why);
  settle(command, why, std::move(value));
  if (error && !text.starts_with("WRONGTYPE")) failure(now);
  return error || reply.type == REDIS_REPLY_STRING || reply.type == REDIS_REPLY_NIL;
}

std::optional<RedisStore::Value> RedisClient::open_value(const Command& command,
                                                         const redisReply& reply, Counter& why) {
  if (reply.type == REDIS_REPLY_NIL) why = &RedisStats::misses;
  if (reply.type != REDIS_REPLY_STRING) return std::nullopt;
  const auto bytes = std::as_bytes(std::span(reply.str, static_cast<size_t>(reply.len)));
  constexpr size_t kMacBytes = sizeof(Digest);
  if (bytes.size() < kMacBytes) {
    why = &RedisStats::truncated;
    return std::nullopt;
  }
  if (bytes.size() > kMacBytes + static_cast<size_t>(kCachedResponseBytesMax)) {
    why = &RedisStats::too_big;
    return std::nullopt;
  }
  const auto value = bytes.subspan(kMacBytes);
  const Digest mac = seal(command.key, value);
  if (!equal_constant_time(std::as_bytes(std::span(mac)), bytes.first(kMacBytes))) {
    why = &RedisStats::foreign;
    return std::nullopt;
  }
  if (config_.readable && !config_.readable(value)) {
    why = &RedisStats::unreadable;
    return std::nullopt;
  }
  why = &RedisStats::hits;
  return Value(value.begin(), value.end());
}

void RedisClient::settle(Command& command, Counter why, std::optional<Value> value) {
  if (std::exchange(command.settled, true)) return;
  {
    const std::lock_guard lock(mutex_);
    ++(stats_.*why);
    --pending_;
    pending_bytes_ -= command.value.size();
  }
  command.value = {};
  if (command.found) std::exchange(command.found, {})(std::move(value));
}

}  // namespace

Result<std::shared_ptr<RedisStore>> RedisStore::start(RedisConfig config) {
  constexpr std::string_view kScheme = "redis://";
  const std::string_view url = config.url;
  const auto address =
      url.starts_with(kScheme) ? parse_host_port(url.substr(kScheme.size())) : std::nullopt;
  if (!address)
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a Redis address; write redis://HOST:PORT.", url), "redis");
  if (!is_loopback(address->host) && !config.insecure)
    return fail(ErrorCode::invalid_argument,
                fmt::format("Redis at {} would be spoken to unencrypted; put insecure: true beside "
                            "it if that network is trusted.",
                            address->host),
                "redis");
  if (config.secret.empty())
    return fail(ErrorCode::invalid_argument,
                "Values in Redis need the cluster's secret to be sealed with.", "secret");
  return std::make_shared<RedisClient>(std::move(config), *address);
}

}  // namespace troupe
