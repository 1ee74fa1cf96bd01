// HTTP itself, byte by byte: keep-alive, pipelining, chunks, Expect, HEAD, limits and timeouts.
#include "net/http_server.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "tests/net/bridge_fixture.h"
#include "tests/net/raw_client.h"

namespace troupe::testing {
namespace http_server_test {
namespace {

/// Answers with method, path, query and body; /hold keeps the reply, /flood streams until told to
/// stop.
class EchoHandler final : public HttpHandler {
 public:
  void handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override {
    if (request.path == "/drop") return;
    if (request.path == "/flood" || request.path == "/quiet") {
      HttpResponse head;
      head.content_type = "text/plain";
      reply->on_gone([this] {
        const std::lock_guard lock(mutex_);
        ++gone_;
        changed_.notify_all();
      });
      reply->start_stream(std::move(head), request.path == "/quiet" ? ": idle\n\n" : "",
                          std::chrono::milliseconds(50));
      if (request.path == "/flood")
        while (!reply->gone()) reply->write(std::string(64 * kKiB, 'x'));
      held_.push_back(std::move(reply));
      return;
    }
    HttpResponse response;
    response.content_type = "text/plain";
    response.body = request.method + " " + request.path + " " + request.query + " " + request.body;
    reply->respond(std::move(response));
  }
  bool wait_gone() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(5), [&] { return gone_ > 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int gone_ = 0;
  std::vector<std::shared_ptr<HttpReply>> held_;
};

struct Server {
  explicit Server(HttpServerConfig config = {}) {
    config.listener = listener.fd;
    auto made = HttpServer::make(std::move(config), handler);
    REQUIRE(made.has_value());
    http = std::move(*made);
    http->run();
  }
  Listener listener;
  EchoHandler handler;
  std::unique_ptr<HttpServer> http;
};

}  // namespace

TEST_CASE("http server: many requests go over one connection") {
  Server server;
  RawClient client(server.listener.port);
  for (int i = 0; i < 100; ++i) {
    client.send(get("/a?b=" + std::to_string(i)));
    const RawAnswer answer = client.read_answer();
    REQUIRE(answer.status == 200);
    CHECK(answer.body == "GET /a b=" + std::to_string(i) + " ");
    CHECK(answer.headers.at("connection") == "keep-alive");
  }
}

TEST_CASE("http server: a request may come byte by byte") {
  Server server;
  RawClient client(server.listener.port);
  for (char byte : post("/a", "body")) REQUIRE(client.send(std::string_view(&byte, 1)));
  CHECK(client.read_answer().body == "POST /a  body");
}

TEST_CASE("http server: pipelined requests are answered in order, however many") {
  Server server;
  RawClient client(server.listener.port);
  std::string all;
  for (int i = 0; i < 5000; ++i) all += get("/p/" + std::to_string(i));
  // The answers are more than socket buffers hold: the client must read while it sends.
  std::thread sender([&] { client.send(all); });
  for (int i = 0; i < 5000; ++i) {
    const RawAnswer answer = client.read_answer();
    if (answer.body != "GET /p/" + std::to_string(i) + "  ") {
      CHECK(answer.body == "GET /p/" + std::to_string(i) + "  ");
      break;
    }
  }
  sender.join();
}

TEST_CASE("http server: chunked bodies are joined, trailers are ignored") {
  Server server;
  RawClient client(server.listener.port);
  client.send(
      "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
      "chunked\r\n\r\n4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\nTrailer: t\r\n\r\n");
  CHECK(client.read_answer().body == "POST /c  abcdefg");
  client.send(get("/next"));
  CHECK(client.read_answer().body == "GET /next  ");
}

TEST_CASE("http server: a client that expects 100 is told to go on") {
  Server server;
  RawClient client(server.listener.port);
  client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  CHECK(client.read_answer().status == 100);
  client.send("body");
  CHECK(client.read_answer().body == "POST /e  body");
}

TEST_CASE("http server: a client that expects 100 before 20 MiB gets 413 instead") {
  Server server;
  RawClient client(server.listener.port);
  client.send(
      "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 20971520\r\n\r\n");
  CHECK(client.read_answer().status == 413);
  CHECK(client.at_end());
}

TEST_CASE("http server: HEAD has the length but not the body") {
  Server server;
  RawClient client(server.listener.port);
  client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n");
  const RawAnswer head = client.read_answer(true);
  CHECK(head.headers.at("content-length") == std::to_string(std::string("HEAD /h  ").size()));
  client.send(get("/after"));
  CHECK(client.read_answer().body == "GET /after  ");
}

TEST_CASE("http server: HTTP/1.0 and Connection: close end the connection") {
  Server server;
  for (const char* request :
       {"GET /x HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"}) {
    RawClient client(server.listener.port);
    client.send(request);
    const RawAnswer answer = client.read_answer();
    CHECK(answer.headers.at("connection") == "close");
    CHECK(answer.body == "GET /x  ");
    CHECK(client.at_end());
  }
}

TEST_CASE("http server: a reply that is dropped becomes 500") {
  Server server;
  RawClient client(server.listener.port);
  client.send(get("/drop"));
  CHECK(client.read_answer().status == 500);
  client.send(get("/after"));
  CHECK(client.read_answer().status == 200);
}

TEST_CASE("http server: a header that does not end gets 408") {
  HttpServerConfig config;
  config.header_timeout = std::chrono::milliseconds(200);
  Server server(config);
  RawClient client(server.listener.port);
  client.send("GET /slow HTTP/1.1\r\nHost:");
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 408);
  CHECK(answer.body.find("slow_header") != std::string::npos);
  CHECK(client.at_end());
}

TEST_CASE("http server: a body slower than the least rate gets 408") {
  HttpServerConfig config;
  config.header_timeout = std::chrono::milliseconds(200);
  Server server(config);
  RawClient client(server.listener.port);
  client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 408);
  CHECK(answer.body.find("slow_body") != std::string::npos);
}

TEST_CASE("http server: a body that is fast enough but too long under way gets 408") {
  HttpServerConfig config;
  config.body_timeout = std::chrono::milliseconds(300);
  Server server(config);
  RawClient client(server.listener.port);
  client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" +
              std::string(100'000, 'x'));
  CHECK(client.read_answer().status == 408);
}

TEST_CASE("http server: an idle connection is closed without a word") {
  HttpServerConfig config;
  config.idle_timeout = std::chrono::milliseconds(200);
  Server server(config);
  RawClient client(server.listener.port);
  client.send(get("/x"));
  CHECK(client.read_answer().status == 200);
  std::string rest;
  CHECK(client.at_end(&rest));
  CHECK(rest.empty());
}

TEST_CASE("http server: a quiet stream is kept alive") {
  Server server;
  RawClient client(server.listener.port);
  client.send(get("/quiet"));
  CHECK(client.read_head().headers.at("transfer-encoding") == "chunked");
  CHECK(client.read_until(": idle\n\n: idle\n\n") == ": idle\n\n: idle\n\n");
}

TEST_CASE("http server: a client that does not read a stream is counted as gone at the bound") {
  Server server;
  RawClient client(server.listener.port);
  client.send(get("/flood"));
  CHECK(server.handler.wait_gone());
}

TEST_CASE("http server: a client that leaves a stream is noticed") {
  Server server;
  for (const bool reset : {true, false}) {
    CAPTURE(reset);
    Server fresh;
    RawClient client(fresh.listener.port);
    client.send(get("/quiet"));
    client.read_head();
    reset ? client.reset() : client.close();
    CHECK(fresh.handler.wait_gone());
  }
}

TEST_CASE("http server: after drain idle connections end and answers say close") {
  Server server;
  RawClient idle(server.listener.port), busy(server.listener.port);
  idle.send(get("/x"));
  CHECK(idle.read_answer().status == 200);
  busy.send("GET /y HT");
  server.http->drain();
  CHECK(idle.at_end());
  busy.send("TP/1.1\r\nHost: a\r\n\r\n");
  const RawAnswer answer = busy.read_answer();
  CHECK(answer.status == 200);
  CHECK(answer.headers.at("connection") == "close");
}

TEST_CASE("http server: in a drain a connection that has not asked yet still gets one answer") {
  Server server;
  RawClient fresh(server.listener.port), idle(server.listener.port);
  idle.send(get("/x"));
  CHECK(idle.read_answer().status == 200);  // so the older connection was taken as well
  server.http->drain();
  CHECK(idle.at_end());
  fresh.send(get("/y"));
  const RawAnswer answer = fresh.read_answer();
  CHECK(answer.status == 200);
  CHECK(answer.headers.at("connection") == "close");
  CHECK(fresh.at_end());
}

TEST_CASE(
    "http server: connection 1,025 of one address gets 503 and is closed; one that ends makes "
    "room") {
  rlimit files{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
  files.rlim_cur = files.rlim_max;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &files) == 0);
  REQUIRE(files.rlim_cur >= 4096);
  Server server;  // nobody is exempt
  std::vector<RawClient> clients;
  for (size_t i = 0; i < kHttpConnectionsPerAddressMax; ++i) {
    clients.emplace_back(server.listener.port);
    clients.back().send(get("/n"));
    REQUIRE(clients.back().read_answer().status == 200);
  }
  RawClient one_more(server.listener.port);
  const RawAnswer refused = one_more.read_answer();
  CHECK(refused.status == 503);
  CHECK(refused.body.find("too many connections") != std::string::npos);
  CHECK(one_more.at_end());

  clients.front().send(get("/still"));
  CHECK(clients.front().read_answer().status == 200);
  clients.front().send("GET /bye HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(clients.front().read_answer().status == 200);
  CHECK(clients.front().at_end());
  clients.front().close();
  clients[1].send(get("/sync"));  // by then the server has seen the close
  CHECK(clients[1].read_answer().status == 200);
  RawClient again(server.listener.port);
  again.send(get("/room"));
  CHECK(again.read_answer().status == 200);
}

TEST_CASE("http server: exempt addresses have no limit of their own, the total holds for all") {
  HttpServerConfig config;
  config.exempt_addresses = {"127.0.0.1"};
  config.connections_per_address = 1;
  config.connections_max = 3;
  Server server(config);
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server.listener.port);
    clients.back().send(get("/n"));
    CHECK(clients.back().read_answer().status == 200);
  }
  RawClient fourth(server.listener.port);
  const RawAnswer refused = fourth.read_answer();
  CHECK(refused.status == 503);
  CHECK(refused.body.find("no connection left") != std::string::npos);
}

}  // namespace http_server_test
}  // namespace troupe::testing
