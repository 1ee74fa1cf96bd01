// What a client of the bridge sees: SSE at byte level, headers, errors before and after the first
// byte, tenants, clients that leave.
#include <doctest/doctest.h>

#include <fstream>

#include "config/digest.h"
#include "net/api_keys.h"
#include "tests/net/bridge_fixture.h"
#include "tests/net/raw_client.h"

namespace troupe::testing {
namespace stream_test {
namespace {

constexpr const char* kChat =
    R"({"model":"oracle","messages":[{"role":"user","content":"hi"}],"max_tokens":9)";

std::string chat(std::string more) { return post("/v1/chat/completions", kChat + more + "}"); }

/// Replaces what differs between runs: ids and times.
std::string normal(std::string body) {
  const std::string id = "chatcmpl-", created = "\"created\":";
  for (size_t at = 0; (at = body.find(id, at)) != std::string::npos; at += id.size())
    body.erase(at + id.size(), 32);
  for (size_t at = 0; (at = body.find(created, at)) != std::string::npos; at += created.size()) {
    const size_t end = body.find(',', at);
    body.replace(at + created.size(), end - at - created.size(), "0");
  }
  return body;
}

std::string event(const std::string& choices, const std::string& tail = "") {
  return R"(data: {"id":"chatcmpl-","object":"chat.completion.chunk","created":0,"model":"oracle","choices":[)" +
         choices + "]" + tail + "}\n\n";
}
std::string delta(const std::string& delta, const std::string& finish = "null", int index = 0) {
  return R"({"index":)" + std::to_string(index) + R"(,"delta":)" + delta +
         R"(,"logprobs":null,"finish_reason":)" + finish + "}";
}
const char* kTimings =
    R"(,"timings":{"queue_ms":1,"prefill_ms":2,"ttft_ms":3.5,"decode_ms":0,"prompt_tokens":5,"cached_tokens":4,"generated_tokens":2,"attempts":1})";

router_out::Deliver delivery(RequestId id, std::vector<router_out::Piece> pieces,
                             bool last = false) {
  router_out::Deliver made;
  made.id = id;
  made.pieces = std::move(pieces);
  made.last = last;
  made.timings = {1ms, 2ms, 3500us, 0ms, 5, 4, 2, 1};
  return made;
}

}  // namespace

TEST_CASE("bridge: a stream is role, one event a token, finish_reason with timings, [DONE]") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  client.send(chat(R"(,"stream":true)"));
  const auto request = server.sink.next();
  REQUIRE(request);
  server.bridge->deliver(
      {delivery(request->id, {piece("He\"y", {TokenId(5)}), piece("\n", {TokenId(6)})})});
  server.bridge->deliver(
      {delivery(request->id, {piece(" you", {TokenId(7)}, Finish::stop)}, true)});
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 200);
  CHECK(answer.headers.at("content-type") == "text/event-stream");
  CHECK(answer.headers.at("cache-control") == "no-cache");
  CHECK(answer.headers.at("x-accel-buffering") == "no");
  CHECK_FALSE(answer.headers.contains("x-cache"));
  CHECK(normal(answer.body) == event(delta(R"({"role":"assistant","content":""})")) +
                                   event(delta(R"({"content":"He\"y"})")) +
                                   event(delta(R"({"content":"\n"})")) +
                                   event(delta(R"({"content":" you"})")) +
                                   event(delta("{}", "\"stop\""), kTimings) + "data: [DONE]\n\n");
  client.send(get("/livez"));  // the connection lives on
  CHECK(client.read_answer().status == 200);
}

TEST_CASE(
    "bridge: with include_usage every chunk has usage null but the last, which has no choices") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  client.send(chat(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  const auto request = server.sink.next();
  REQUIRE(request);
  server.bridge->deliver({delivery(request->id, {piece("a", {TokenId(5)}, Finish::length)}, true)});
  const std::string null_usage = R"(,"usage":null)";
  CHECK(
      normal(client.read_answer().body) ==
      event(delta(R"({"role":"assistant","content":""})"), null_usage) +
          event(delta(R"({"content":"a"})"), null_usage) +
          event(delta("{}", "\"length\""), null_usage) +
          event(
              "",
              std::string(
                  R"(,"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":4}})") +
                  kTimings) +
          "data: [DONE]\n\n");
}

TEST_CASE("bridge: the choices of a stream open and end each on their own") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  client.send(chat(R"(,"stream":true,"n":2)"));
  const auto request = server.sink.next();
  REQUIRE(request);
  CHECK(request->choices == 2);
  server.bridge->deliver({delivery(request->id, {piece("b", {TokenId(5)}, Finish::stop, 1)})});
  server.bridge->deliver(
      {delivery(request->id, {piece("a", {TokenId(5)}, Finish::length, 0)}, true)});
  const std::string open = R"({"role":"assistant","content":""})";
  CHECK(normal(client.read_answer().body) ==
        event(delta(open, "null", 1)) + event(delta(R"({"content":"b"})", "null", 1)) +
            event(delta("{}", "\"stop\"", 1)) + event(delta(open)) +
            event(delta(R"({"content":"a"})")) + event(delta("{}", "\"length\""), kTimings) +
            "data: [DONE]\n\n");
}

TEST_CASE("bridge: the head of a stream comes before its first token") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  client.send(chat(R"(,"stream":true)"));
  CHECK(client.read_head().status == 200);
  const auto request = server.sink.next();
  REQUIRE(request);
  server.bridge->fail({request->id, {ErrorCode::unavailable, "The group died.", ""}, 1s});
  CHECK(client.read_until("[DONE]\n\n") ==
        "data: {\"error\":{\"message\":\"The group "
        "died.\",\"type\":\"service_unavailable\",\"param\":null,"
        "\"code\":\"unavailable\"}}\n\ndata: [DONE]\n\n");
}

TEST_CASE(
    "bridge: an error before the first byte is a status, with Retry-After where a retry helps") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  struct Row {
    ErrorCode code;
    Duration retry;
    int status;
  };
  for (const Row& row :
       {Row{ErrorCode::rate_limited, 2s, 429}, Row{ErrorCode::unavailable, 1s, 503},
        Row{ErrorCode::internal, 0s, 500}, Row{ErrorCode::deadline_exceeded, 0s, 504}}) {
    RawClient client(server.port());
    client.send(chat(""));
    const auto request = server.sink.next();
    REQUIRE(request);
    server.bridge->fail({request->id, {row.code, "No.", ""}, row.retry});
    const RawAnswer answer = client.read_answer();
    CHECK(answer.status == row.status);
    if (row.retry > 0s) {
      const int seconds = std::stoi(answer.headers.at("retry-after"));
      CHECK(seconds >= to_seconds(row.retry));
      CHECK(seconds <= to_seconds(row.retry) * 1.5 + 1);
      CHECK_FALSE(answer.headers.contains("x-should-retry"));
    } else {
      CHECK(answer.headers.at("x-should-retry") == "false");
      CHECK_FALSE(answer.headers.contains("retry-after"));
    }
  }
}

TEST_CASE("bridge: a client that leaves is reported, streaming or waiting") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  for (const char* more : {R"(,"stream":true)", ""}) {
    RawClient client(server.port());
    client.send(chat(more));
    const auto request = server.sink.next();
    REQUIRE(request);
    client.close();
    const auto gone = server.sink.next_gone();
    REQUIRE(gone);
    CHECK(*gone == request->id);
    server.bridge->deliver(
        {delivery(request->id, {piece("late", {TokenId(1)}, Finish::stop)}, true)});  // no harm
  }
  RawClient after(server.port());
  after.send(get("/livez"));
  CHECK(after.read_answer().status == 200);
}

TEST_CASE("bridge: seeds, ids and cache keys: drawn when missing, equal when asked for the same") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  auto submit = [&](std::string more) {
    RawClient client(server.port());
    client.send(chat(more));
    const auto request = server.sink.next();
    REQUIRE(request);
    return *request;
  };
  const auto a = submit(""), b = submit("");
  CHECK(a.sampling.seed != b.sampling.seed);
  CHECK(a.id != b.id);
  CHECK_FALSE(a.cache_key.has_value());
  const auto c = submit(R"(,"seed":7)"), d = submit(R"(,"seed":7)"), e = submit(R"(,"seed":8)");
  CHECK(c.sampling.seed == 7);
  REQUIRE(c.cache_key.has_value());
  CHECK(c.cache_key == d.cache_key);
  CHECK(c.cache_key != e.cache_key);
  const auto f = submit(R"(,"temperature":0)"), g = submit(R"(,"temperature":0,"seed":3)");
  REQUIRE(f.cache_key.has_value());
  CHECK(f.cache_key == g.cache_key);  // nothing is drawn
  CHECK(f.cache_key != submit(R"(,"temperature":0,"stop":"x")").cache_key);
  CHECK(f.cache_key != submit(R"(,"temperature":0,"n":2)").cache_key);
  CHECK(f.cache_key != submit(R"(,"temperature":0,"logit_bias":{"5":1})").cache_key);
}

TEST_CASE("bridge: X-Request-Id is echoed when it is well formed and replaced otherwise") {
  TestBridge server;
  RawClient client(server.port());
  client.send(get("/livez", "X-Request-Id: my.id-1_A\r\n"));
  CHECK(client.read_answer().headers.at("x-request-id") == "my.id-1_A");
  for (const std::string& bad : {std::string("a b"), std::string(65, 'a'), std::string("x\"y")}) {
    client.send(get("/livez", "X-Request-Id: " + bad + "\r\n"));
    const std::string made = client.read_answer().headers.at("x-request-id");
    CHECK(made != bad);
    CHECK(made.size() == 32);
  }
}

TEST_CASE("bridge: with API keys each tenant has a salt of its own and strangers get 401") {
  const std::string path = std::string(TROUPE_BINARY_DIR) + "/net_test_keys.txt";
  std::ofstream(path) << "# test\nalice:user:" << to_hex(sha256("key-a"))
                      << "\nbob:admin:" << to_hex(sha256("key-b")) << "\n";
  BridgeConfig config;
  config.api_keys_file = path;
  config.tenant_root = {1, 2, 3};
  TestBridge server(config);
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  for (const char* header : {"", "Authorization: Bearer key-c\r\n", "Authorization: key-a\r\n",
                             "Authorization: Basic key-a\r\n"}) {
    client.send(get("/v1/models", header));
    const RawAnswer answer = client.read_answer();
    CHECK(answer.status == 401);
    CHECK(answer.headers.at("www-authenticate") == "Bearer");
  }
  for (const char* open : {"/livez", "/readyz", "/health"}) {
    client.send(get(open));
    CHECK(client.read_answer().status == 200);
  }
  auto salt_of = [&](const std::string& key) {
    RawClient one(server.port());
    one.send(post("/v1/completions", R"({"prompt":"a","temperature":0})",
                  "Authorization: Bearer " + key + "\r\n"));
    const auto request = server.sink.next();
    REQUIRE(request);
    return request->tenant;
  };
  CHECK(salt_of("key-a") == tenant_salt(config.tenant_root, "alice"));
  CHECK(salt_of("key-b") == tenant_salt(config.tenant_root, "bob"));
  CHECK(salt_of("key-a") != salt_of("key-b"));
  // A bad file on reload leaves the keys as they are; a good one counts at once.
  std::ofstream(path) << "nonsense\n";
  const auto bad = server.bridge->reload();
  REQUIRE_FALSE(bad.has_value());
  CHECK(bad.error().message.ends_with(":1: expected name:role:sha256hex"));
  CHECK(salt_of("key-a") == tenant_salt(config.tenant_root, "alice"));
  std::ofstream(path) << "carol:user:" << to_hex(sha256("key-c")) << "\n";
  REQUIRE(server.bridge->reload().has_value());
  client.send(get("/v1/models", "Authorization: Bearer key-a\r\n"));
  CHECK(client.read_answer().status == 401);
  client.send(get("/v1/models", "Authorization: Bearer key-c\r\n"));
  CHECK(client.read_answer().status == 200);
}

TEST_CASE("bridge: drain turns readyz to 503 and lets running streams end") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient streaming(server.port());
  streaming.send(chat(R"(,"stream":true)"));
  const auto request = server.sink.next();
  REQUIRE(request);
  server.bridge->drain();
  RawClient probe(server.port());
  probe.send(get("/readyz"));
  const RawAnswer answer = probe.read_answer();
  CHECK(answer.status == 503);
  CHECK(answer.headers.at("connection") == "close");
  CHECK(answer.body.find("draining") != std::string::npos);
  server.bridge->deliver({delivery(request->id, {piece("a", {TokenId(5)}, Finish::stop)}, true)});
  CHECK(streaming.read_answer().body.ends_with("data: [DONE]\n\n"));
}

TEST_CASE("bridge: all open requests can be ended at once, streams in band") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient streaming(server.port()), waiting(server.port());
  streaming.send(chat(R"(,"stream":true)"));
  const auto request = server.sink.next();
  REQUIRE(request);
  server.bridge->deliver({delivery(request->id, {piece("a", {TokenId(5)})}, false)});
  CHECK(streaming.read_head().status == 200);
  waiting.send(chat(""));
  REQUIRE(server.sink.next());
  server.bridge->fail_all({ErrorCode::unavailable, "The server ends.", ""});
  const std::string events = streaming.read_until("[DONE]");
  CHECK(events.find("\"message\":\"The server ends.\"") != std::string::npos);
  CHECK(waiting.read_answer().status == 503);
}

TEST_CASE("bridge: connections wait in the backlog until it is opened") {
  BridgeConfig config;
  config.accept = BridgeConfig::Accept::on_open;
  TestBridge server(std::move(config));
  RawClient early(server.port()), impatient(server.port());
  early.send(get("/livez"));
  impatient.send(get("/livez"));
  impatient.set_deadline(std::chrono::milliseconds(20));
  CHECK(impatient.read_answer().status == 0);
  server.bridge->open();
  server.bridge->open();
  CHECK(early.read_answer().status == 200);
}

TEST_CASE("bridge: while no model is known requests are told to come back") {
  TestBridge server;
  server.bridge->set_models({});
  RawClient client(server.port());
  client.send(chat(""));
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 503);
  CHECK(answer.headers.at("retry-after") == "1");
  CHECK_FALSE(answer.headers.contains("x-should-retry"));
  CHECK(answer.body.find("service_unavailable") != std::string::npos);
}

TEST_CASE("bridge: a large prompt is tokenised beside the io thread and still answered") {
  TestBridge server;
  RawClient client(server.port());
  client.send(post("/v1/tokenize", R"({"prompt":")" + std::string(1'000'000, 'z') + R"("})"));
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 200);
  CHECK(answer.body.find("\"max_model_len\":2048") != std::string::npos);
}

TEST_CASE("bridge: tokenize and detokenize undo each other") {
  TestBridge server;
  RawClient client(server.port());
  client.send(post("/v1/tokenize", R"({"prompt":"hé"})"));
  CHECK(client.read_answer().body == R"({"tokens":[104,195,169],"count":3,"max_model_len":2048})");
  client.send(post("/v1/detokenize", R"({"tokens":[104,195,169]})"));
  CHECK(client.read_answer().body == R"({"prompt":"hé"})");
}

TEST_CASE("bridge: the text of a conversation is what its template makes of it") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  client.send(post(
      "/v1/chat/completions",
      R"({"messages":[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})"));
  const auto request = server.sink.next();
  REQUIRE(request);
  CHECK(request->tokenizer->decode(request->prompt) == "system: d\nuser: a\nb\nassistant:");
  CHECK(request->max_new == 2048 - static_cast<int32_t>(request->prompt.size()));
}

TEST_CASE("bridge: every path of the route table is described in openapi.json and answers") {
  TestBridge server;
  RawClient client(server.port());
  client.send(get("/openapi.json"));
  const std::string described = client.read_answer().body;
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/inference",
                           "/v1/embeddings", "/v1/tokenize", "/v1/detokenize", "/v1/models",
                           "/v1/models/{id}", "/metrics", "/health", "/livez", "/readyz"})
    CHECK(described.find("\"" + std::string(path) + "\":{") != std::string::npos);
  for (const char* path : {"/v1/models", "/v1/models/oracle", "/metrics", "/metrics?compat=none",
                           "/health", "/livez", "/readyz"}) {
    client.send(get(path));
    CHECK(client.read_answer().status == 200);
  }
}

}  // namespace stream_test
}  // namespace troupe::testing
