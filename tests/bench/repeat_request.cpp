// How long the same request takes again and again on one connection.
//
//   repeat_request HOST PORT PATH COUNT WARM_UP < BODY
//
// Prints {"min_us":n,"p50_us":n,"p99_us":n,"x_cache":"..."}: the last is that header of the last
// answer, empty if there was none.
#include <algorithm>
#include <iostream>
#include <iterator>

#include "tests/bench/load_client.h"

namespace {

using namespace load_client;

/// Sends the request and waits for the whole answer, which is left in `answer`.
double ask(int fd, const std::string& request, std::string& answer) {
  char buffer[1 << 16];
  answer.clear();
  const auto start = Clock::now();
  send_all(fd, request);
  while (answer_length(answer) == 0) {
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) give_up("the server closed the connection");
    answer.append(buffer, static_cast<size_t>(got));
  }
  return seconds_since(start) * 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) give_up("usage: repeat_request HOST PORT PATH COUNT WARM_UP < BODY");
  const std::string body{std::istreambuf_iterator<char>(std::cin), {}};
  const std::string request = post(argv[1], argv[3], body);
  const int fd = connect_to(argv[1], argv[2]);
  std::string answer;
  for (int i = 0; i < std::atoi(argv[5]); ++i) ask(fd, request, answer);
  std::vector<double> took(static_cast<size_t>(std::max(1, std::atoi(argv[4]))));
  for (double& t : took) t = ask(fd, request, answer);
  std::ranges::sort(took);
  const std::string cache(header(answer, "x-cache"));
  std::printf("{\"min_us\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"x_cache\":\"%s\"}\n", took[0],
              took[took.size() / 2], took[took.size() * 99 / 100], cache.c_str());
}
