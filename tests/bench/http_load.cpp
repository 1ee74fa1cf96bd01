// A client that costs less than the server it loads: one thread, epoll, no JSON parser.
//
//   http_load get HOST PORT CONNECTIONS SECONDS PATH    keep-alive requests a second, one outstanding a connection
//   http_load sse HOST PORT STREAMS TOKENS MODEL        tokens a second of completions that all stream at once
//
// Prints one line of JSON. Exits 1 with a sentence if any answer is not what it should be.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kWaitMs = 30'000;  // a server silent for so long is stuck

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "http_load: %s\n", why.c_str());
  std::exit(1);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Connection {
  int fd = -1;
  std::string received;  // what is not yet understood
  std::string request;   // sent again after each answer (get)
  uint64_t events = 0;   // data: lines (sse)
  size_t scanned = 0;    // of `received`, for events
  bool done = false;
};

int connect_to(const char* host, const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (::inet_pton(AF_INET, host, &address.sin_addr) != 1) give_up("HOST must be an IPv4 address");
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    give_up(std::string("can't connect: ") + std::strerror(errno));
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

/// Requests are small against the socket buffer, so a short write means that something is wrong.
void send_all(int fd, std::string_view bytes) {
  if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    give_up("the server took no request");
}

class Poller {
 public:
  explicit Poller(std::vector<Connection>& all) : all_(all), epoll_(::epoll_create1(0)) {
    for (size_t i = 0; i < all.size(); ++i) {
      epoll_event event{EPOLLIN, {.u64 = i}};
      if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, all[i].fd, &event) != 0) give_up("epoll_ctl failed");
    }
  }
  /// Appends what came to the connections and gives each that got something to `handle`.
  template <class Handle>
  void turn(Handle handle) {
    epoll_event events[256];
    const int n = ::epoll_wait(epoll_, events, 256, kWaitMs);
    if (n <= 0) give_up("the server is silent");
    for (int i = 0; i < n; ++i) {
      Connection& c = all_[events[i].data.u64];
      const ssize_t got = ::recv(c.fd, buffer_, sizeof buffer_, 0);
      if (got <= 0) give_up("the server closed a connection");
      c.received.append(buffer_, static_cast<size_t>(got));
      handle(c);
    }
  }

 private:
  std::vector<Connection>& all_;
  int epoll_;
  char buffer_[1 << 16];
};

/// Length of the whole answer at the front of `bytes`, 0 while it is incomplete.
size_t answer_length(std::string_view bytes) {
  const size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  if (!bytes.starts_with("HTTP/1.1 200 ")) give_up("an answer is not 200");
  constexpr std::string_view kLength = "content-length: ";
  for (size_t line = 0; line < head; line = bytes.find("\r\n", line) + 2) {
    if (::strncasecmp(bytes.data() + line, kLength.data(), kLength.size()) != 0) continue;
    const size_t size = std::strtoul(bytes.data() + line + kLength.size(), nullptr, 10);
    return bytes.size() >= head + 4 + size ? head + 4 + size : 0;
  }
  give_up("an answer has no Content-Length");
}

void get(const char* host, const char* port, int connections, double seconds,
         const std::string& path) {
  std::vector<Connection> all(static_cast<size_t>(connections));
  for (Connection& c : all) {
    c.fd = connect_to(host, port);
    c.request = "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
  }
  Poller poller(all);
  uint64_t answers = 0;
  const auto start = Clock::now();
  for (Connection& c : all) send_all(c.fd, c.request);
  while (seconds_since(start) < seconds)
    poller.turn([&](Connection& c) {
      const size_t length = answer_length(c.received);
      if (length == 0) return;
      c.received.erase(0, length);
      ++answers;
      send_all(c.fd, c.request);
    });
  const double took = seconds_since(start);
  std::printf("{\"requests\":%llu,\"seconds\":%.4f,\"per_second\":%.0f}\n",
              static_cast<unsigned long long>(answers), took,
              static_cast<double>(answers) / took);
}

/// Counts events and keeps only the end of what came: the last chunk says how many tokens there
/// were.
void read_events(Connection& c) {
  constexpr std::string_view kEvent = "data: ", kEnd = "data: [DONE]\n\n\r\n0\r\n\r\n";
  constexpr size_t kKept = 1024;
  for (size_t at; (at = c.received.find(kEvent, c.scanned)) != std::string::npos; ++c.events)
    c.scanned = at + kEvent.size();
  c.done = c.received.ends_with(kEnd);
  if (c.received.size() <= kKept) return;
  const size_t removed = c.received.size() - kKept;
  c.received.erase(0, removed);
  c.scanned -= std::min(c.scanned, removed);
}

void sse(const char* host, const char* port, int streams, int tokens, const std::string& model) {
  std::vector<Connection> all(static_cast<size_t>(streams));
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string body = "{\"model\":\"" + model + "\",\"prompt\":\"load " + std::to_string(i) +
                             " of " + std::to_string(::getpid()) + "\",\"max_tokens\":" +
                             std::to_string(tokens) +
                             ",\"temperature\":1,\"ignore_eos\":true,\"stream\":true}";
    all[i].fd = connect_to(host, port);
    all[i].request = std::string("POST /v1/completions HTTP/1.1\r\nHost: ") + host +
                     "\r\nContent-Type: application/json\r\nContent-Length: " +
                     std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  Poller poller(all);
  size_t open = all.size();
  const auto start = Clock::now();
  for (Connection& c : all) send_all(c.fd, c.request);
  while (open > 0)
    poller.turn([&](Connection& c) {
      read_events(c);
      open -= c.done;
    });
  const double took = seconds_since(start);
  const std::string said = "\"generated_tokens\":" + std::to_string(tokens) + ",";
  uint64_t events = 0;
  for (const Connection& c : all) {
    if (c.received.find(said) == std::string::npos) give_up("a stream is short of tokens");
    events += c.events - 2;  // the end's chunk and [DONE] carry no token
  }
  const double total = static_cast<double>(streams) * tokens;
  std::printf("{\"tokens\":%.0f,\"events\":%llu,\"seconds\":%.4f,\"per_second\":%.0f}\n", total,
              static_cast<unsigned long long>(events), took, total / took);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) give_up("usage: http_load get|sse HOST PORT COUNT SECONDS|TOKENS PATH|MODEL");
  const std::string_view mode = argv[1];
  if (mode == "get")
    get(argv[2], argv[3], std::atoi(argv[4]), std::atof(argv[5]), argv[6]);
  else if (mode == "sse")
    sse(argv[2], argv[3], std::atoi(argv[4]), std::atoi(argv[5]), argv[6]);
  else
    give_up("the first word must be get or sse");
}
