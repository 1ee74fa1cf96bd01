// Several prompts in one completion request: through the bridge to the Router and back.
#include <doctest/doctest.h>

#include "tests/net/bridge_fixture.h"
#include "tests/net/raw_client.h"

namespace troupe::testing {
namespace several_prompts_test {
namespace {

router_out::Deliver delivery(RequestId id, std::vector<router_out::Piece> pieces, bool last = false,
                             CacheOutcome cache = CacheOutcome::not_cacheable) {
  router_out::Deliver made;
  made.id = id;
  made.pieces = std::move(pieces);
  made.last = last;
  made.cache = cache;
  made.timings.prompt_tokens = 5;
  made.timings.generated_tokens = 2;
  made.timings.attempts = 1;
  return made;
}

std::string completions(const std::string& more) {
  return post("/v1/completions", R"({"model":"oracle","max_tokens":9,)" + more + "}");
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

/// Up to the timings, without what is fresh in every answer: ids, times, counts of what was cached.
std::string bare(std::string text) {
  text = text.substr(0, text.find(R"("usage":{)"));
  text = text.substr(0, text.find(R"("timings":)"));
  for (const std::string key : {"\"id\":", "\"created\":"})
    for (size_t at; (at = text.find(key)) != std::string::npos;)
      text.erase(at, text.find(',', at) - at);
  return text;
}

/// A bridge that hands requests over, a client of it, and the requests it made of one body.
struct Asked {
  Asked(const std::string& body, size_t parts) : client(server.port()) {
    server.sink.set_mode(TestSink::Mode::hand_over);
    client.send(completions(body));
    for (size_t i = 0; i < parts; ++i) {
      auto request = server.sink.next();
      REQUIRE(request);
      requests.push_back(std::move(*request));
    }
  }
  TestBridge server;
  RawClient client;
  std::vector<ClientRequest> requests;
};

}  // namespace

TEST_CASE("bridge: several prompts are a request each; their answers make one body") {
  Asked asked(R"("prompt":["hi",[120,121]],"n":2,"seed":7,"stop":"z")", 2);
  const ClientRequest &first = asked.requests[0], &second = asked.requests[1];
  CHECK(first.id != second.id);
  CHECK(first.tokenizer->decode(first.prompt) == "hi");
  CHECK(second.prompt == std::vector{TokenId(120), TokenId(121)});
  CHECK(first.cache_key != second.cache_key);
  for (const ClientRequest* request : {&first, &second}) {
    CHECK(request->choices == 2);
    CHECK(request->max_new == 9);
    CHECK(request->sampling.seed == 7);
    CHECK(request->stop_strings == std::vector<std::string>{"z"});
  }
  const auto stop = Finish::stop;
  asked.server.bridge->deliver(
      {delivery(second.id, {piece("S0", {TokenId(5)}, stop), piece("S1", {TokenId(5)}, stop, 1)},
                true, CacheOutcome::hit_memory),
       delivery(first.id, {piece("F1", {TokenId(5)}, stop, 1)}, false, CacheOutcome::miss)});
  asked.server.bridge->deliver(
      {delivery(first.id, {piece("F0", {TokenId(5)}, Finish::length)}, true, CacheOutcome::miss)});
  const RawAnswer answer = asked.client.read_answer();
  CHECK(answer.status == 200);
  CHECK(answer.headers.at("x-cache") == "miss");
  const size_t choices = answer.body.find("\"choices\":");
  CHECK(answer.body.find(
            R"("choices":[{"index":0,"text":"F0","logprobs":null,"finish_reason":"length"},)"
            R"({"index":1,"text":"F1","logprobs":null,"finish_reason":"stop"},)"
            R"({"index":2,"text":"S0","logprobs":null,"finish_reason":"stop"},)"
            R"({"index":3,"text":"S1","logprobs":null,"finish_reason":"stop"}],)"
            R"("usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14,)") == choices);
  CHECK(answer.body.find("cmpl-" + to_string(first.id)) != std::string::npos);
}

TEST_CASE("bridge: seeds that nobody gave differ from prompt to prompt") {
  Asked asked(R"("prompt":["a","b"])", 2);
  CHECK(asked.requests[0].sampling.seed != asked.requests[1].sampling.seed);
  CHECK_FALSE(asked.requests[0].cache_key.has_value());
}

TEST_CASE("bridge: answers to several prompts share a stream, with one [DONE]") {
  Asked asked(R"("prompt":["a","b"],"stream":true,"stream_options":{"include_usage":true})", 2);
  const RequestId first = asked.requests[0].id, second = asked.requests[1].id;
  asked.server.bridge->deliver({delivery(second, {piece("s", {TokenId(5)})})});
  asked.server.bridge->deliver({delivery(first, {piece("f", {TokenId(5)}, Finish::stop)}, true)});
  asked.server.bridge->deliver({delivery(second, {piece("t", {TokenId(5)}, Finish::stop)}, true)});
  const RawAnswer answer = asked.client.read_answer();
  std::vector<std::string> seen;
  for (size_t at = 0; (at = answer.body.find("{\"index\":", at)) != std::string::npos; ++at)
    seen.push_back(answer.body.substr(at, answer.body.find('}', at) + 1 - at));
  const std::string end = R"("logprobs":null,"finish_reason":"stop"})";
  const std::string more = R"("logprobs":null,"finish_reason":null})";
  CHECK(seen == std::vector<std::string>{
                    R"({"index":1,"text":"s",)" + more, R"({"index":0,"text":"f",)" + more,
                    R"({"index":0,"text":"",)" + end, R"({"index":1,"text":"t",)" + more,
                    R"({"index":1,"text":"",)" + end});
  CHECK(count(answer.body, "cmpl-" + to_string(first)) == seen.size() + 1);  // and the usage
  CHECK(count(answer.body, R"("usage":{"prompt_tokens":10,"completion_tokens":4,)") == 1);
  CHECK(count(answer.body, "[DONE]") == 1);
  CHECK(answer.body.ends_with("data: [DONE]\n\n"));
}

TEST_CASE("bridge: one prompt that fails is one error for the request and cancels the others") {
  for (const bool begun : {false, true}) {
    Asked asked(std::string(R"("prompt":["a","b","c"])") + (begun ? R"(,"stream":true)" : ""), 3);
    const auto& requests = asked.requests;
    if (begun) asked.server.bridge->deliver({delivery(requests[2].id, {piece("x", {TokenId(5)})})});
    asked.server.bridge->deliver(
        {delivery(requests[0].id, {piece("y", {TokenId(5)}, Finish::stop)}, true)});
    asked.server.bridge->fail({requests[1].id, {ErrorCode::rate_limited, "Full.", ""}, 1s});
    const auto gone = asked.server.sink.next_gone();
    REQUIRE(gone);
    CHECK(*gone == requests[2].id);  // the first has ended, the second is known to have failed
    // What was under way does no harm.
    asked.server.bridge->deliver(
        {delivery(requests[2].id, {piece("z", {TokenId(5)}, Finish::stop)}, true)});
    const RawAnswer answer = asked.client.read_answer();
    CHECK(count(answer.body, R"("message":"Full.")") == 1);
    CHECK(answer.status == (begun ? 200 : 429));
    if (begun) {
      CHECK(answer.body.ends_with("data: [DONE]\n\n"));
      CHECK(count(answer.body, "\"text\":\"z\"") == 0);
    } else {
      CHECK(answer.headers.contains("retry-after"));
    }
    asked.client.send(get("/livez"));
    CHECK(asked.client.read_answer().status == 200);
  }
}

TEST_CASE("bridge: a client that leaves cancels every prompt that is still worked on") {
  for (const char* more : {R"(,"stream":true)", ""}) {
    Asked asked(R"("prompt":["a","b","c"])" + std::string(more), 3);
    // The part that gave the answer its id ends first; the others must still be found.
    asked.server.bridge->deliver(
        {delivery(asked.requests[0].id, {piece("y", {TokenId(5)}, Finish::stop)}, true)});
    asked.client.close();
    for (size_t i : {1u, 2u}) {
      const auto gone = asked.server.sink.next_gone();
      REQUIRE(gone);
      CHECK(*gone == asked.requests[i].id);
    }
  }
}

TEST_CASE("bridge: all prompts of a request end at once with one error when the server ends") {
  Asked asked(R"("prompt":["a","b"],"stream":true)", 2);
  asked.server.bridge->deliver({delivery(asked.requests[0].id, {piece("x", {TokenId(5)})})});
  CHECK(asked.client.read_head().status == 200);
  asked.server.bridge->fail_all({ErrorCode::unavailable, "The server ends.", ""});
  const std::string events = asked.client.read_until("[DONE]\n\n");
  CHECK(count(events, "The server ends.") == 1);
}

TEST_CASE("bridge: the answer to several prompts is kept and served as one") {
  BridgeConfig config;
  config.answers = std::make_shared<ResponseCache>();
  TestBridge server(std::move(config));
  RawClient client(server.port());
  for (const char* more : {"", R"(,"stream":true)"}) {
    const std::string body = R"("temperature":0,"prompt":["a","b"],"n":2)" + std::string(more);
    const size_t before = server.sink.submitted();
    client.send(completions(body));
    const RawAnswer first = client.read_answer();
    CHECK(first.headers.at("x-cache") == "miss");
    CHECK(server.sink.submitted() == before + 2);
    client.send(completions(body));
    const RawAnswer second = client.read_answer();
    CHECK(second.headers.at("x-cache") == "hit-memory");
    CHECK(server.sink.submitted() == before + 2);
    CHECK(bare(second.body) == bare(first.body));
    CHECK(count(second.body, "\"finish_reason\":\"length\"") == 4);
  }
}

}  // namespace several_prompts_test
}  // namespace troupe::testing
