// When every token of some streamed completions arrives.
//
//   stream_load HOST PORT PATH < REQUESTS
//
// REQUESTS: lines of `AFTER BODY`. A request with AFTER 0 is sent at once; one with AFTER n when
// each of those has had n events with text. Prints {"streams":[{"sent":s,"events":[s,...],
// "prompt_tokens":n,"completion_tokens":n},...]}, times in seconds since the first request was
// sent. Bodies must ask for a stream with `stream_options: {"include_usage": true}`.
#include <iostream>

#include "tests/bench/load_client.h"

namespace {

using namespace load_client;

struct Stream {
  uint64_t after = 0;
  double sent = -1;
  std::vector<double> events;
  unsigned long prompt_tokens = 0, completion_tokens = 0;
};

unsigned long number_after(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  return std::strtoul(text.data() + at + key.size(), nullptr, 10);
}

/// Takes the whole events off the front of what was received.
void read_events(Connection& c, Stream& stream, double now) {
  if (c.events == 0 && c.received.size() > 12 && !c.received.starts_with("HTTP/1.1 200"))
    give_up("an answer is not 200: " + c.received.substr(0, 600));
  size_t done = 0;
  for (size_t end; (end = c.received.find("\n\n", done)) != std::string::npos; done = end + 2) {
    const std::string_view event = std::string_view(c.received).substr(done, end - done);
    constexpr std::string_view kText = "\"text\":\"";
    const size_t text = event.find(kText);
    if (text != std::string_view::npos && event[text + kText.size()] != '"')
      stream.events.push_back(now);
    if (const auto n = number_after(event, "\"completion_tokens\":")) {
      stream.completion_tokens = n;
      stream.prompt_tokens = number_after(event, "\"prompt_tokens\":");
    }
    if (event.find("data: {\"error\"") != std::string_view::npos)
      give_up("a stream ended with an error: " + std::string(event));
    c.events += event.find("data: ") != std::string_view::npos;
    c.done |= event.ends_with("data: [DONE]");
  }
  c.received.erase(0, done);
}

void print(const std::vector<Stream>& streams) {
  std::printf("{\"streams\":[");
  for (const Stream& s : streams) {
    std::printf("%s\n{\"sent\":%.6f,\"prompt_tokens\":%lu,\"completion_tokens\":%lu,\"events\":[",
                &s == &streams[0] ? "" : ",", s.sent, s.prompt_tokens, s.completion_tokens);
    for (const double& at : s.events) std::printf("%s%.6f", &at == &s.events[0] ? "" : ",", at);
    std::printf("]}");
  }
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) give_up("usage: stream_load HOST PORT PATH < REQUESTS");
  std::vector<Connection> all;
  std::vector<Stream> streams;
  uint64_t after = 0;
  for (std::string body; std::cin >> after && std::getline(std::cin, body);) {
    all.emplace_back().request = post(argv[1], argv[3], body.substr(1));
    streams.emplace_back().after = after;
  }
  if (all.empty()) give_up("no request was given");
  Poller poller(all);
  const auto start = Clock::now();
  const auto send_due = [&] {
    uint64_t least = UINT64_MAX;
    for (const Stream& s : streams)
      if (s.after == 0) least = std::min<uint64_t>(least, s.events.size());
    for (size_t i = 0; i < all.size(); ++i) {
      if (streams[i].sent >= 0 || (streams[i].after > 0 && streams[i].after > least)) continue;
      all[i].fd = connect_to(argv[1], argv[2]);
      poller.watch(i);
      send_all(all[i].fd, all[i].request);
      streams[i].sent = seconds_since(start);
    }
  };
  send_due();
  for (size_t open = all.size(); open > 0;) {
    poller.turn([&](Connection& c) {
      const double now = seconds_since(start);
      const bool was_done = c.done;
      read_events(c, streams[static_cast<size_t>(&c - all.data())], now);
      open -= c.done && !was_done;
    });
    send_due();
  }
  print(streams);
}
