// A client that costs less than the server it loads: one thread, epoll, no JSON parser.
//
//   http_load get HOST PORT CONNECTIONS SECONDS PATH    keep-alive requests a second, one
//   outstanding a connection http_load sse HOST PORT STREAMS TOKENS MODEL        tokens a second of
//   completions that all stream at once
//
// Prints one line of JSON. Exits 1 with a sentence if any answer is not what it should be.
#include <unistd.h>

#include <algorithm>

#include "tests/bench/load_client.h"

namespace {

using namespace load_client;

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
              static_cast<unsigned long long>(answers), took, static_cast<double>(answers) / took);
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
                             " of " + std::to_string(::getpid()) +
                             "\",\"max_tokens\":" + std::to_string(tokens) +
                             ",\"temperature\":1,\"ignore_eos\":true,\"stream\":true}";
    all[i].fd = connect_to(host, port);
    all[i].request = post(host, "/v1/completions", body);
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
