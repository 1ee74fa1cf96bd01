// What bad input gets: the right status, the field at fault, the OpenAI error body, at once, and
// nobody else notices.
#include <doctest/doctest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "config/limits.h"
#include "tests/net/bridge_fixture.h"
#include "tests/net/raw_client.h"

namespace troupe::testing {
namespace bad_requests_test {
namespace {

struct Row {
  std::string what;
  std::string request;  ///< raw bytes
  int status;
  const char* param;      ///< "" for null
  const char* says = "";  ///< part of the message
};

Row chat(std::string what, std::string fields, int status, const char* param,
         const char* says = "") {
  return {what, post("/v1/chat/completions", R"({"model":"oracle","max_tokens":2,)" + fields + "}"),
          status, param, says};
}
/// A good conversation plus one bad field.
Row field(std::string what, std::string field, const char* param, const char* says = "",
          int status = 400) {
  return chat(what, R"("messages":[{"role":"user","content":"hi"}],)" + field, status, param, says);
}
Row text(std::string what, std::string fields, int status, const char* param,
         const char* says = "") {
  return {what, post("/v1/completions", "{" + fields + "}"), status, param, says};
}
Row body(std::string what, std::string bytes, const char* says = "", int status = 400) {
  return {what, post("/v1/chat/completions", bytes), status, "", says};
}

std::string repeat(std::string_view unit, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += unit;
  return out;
}

std::vector<Row> rows() {
  const std::string hi = R"("messages":[{"role":"user","content":"hi"}])";
  std::vector<Row> out = {
      // -- not JSON
      body("an empty body", "", "empty"),
      body("not JSON", "hello", "not valid JSON"),
      body("a truncated object", R"({"model":"oracle","messages":[)", "not valid JSON"),
      body("trailing text", "{" + hi + "} x", "not valid JSON"),
      body("a trailing comma", "{" + hi + ",}", "not valid JSON"),
      body("single quotes", "{'model':'oracle'}", "not valid JSON"),
      body("an array", "[]", "not a JSON object"),
      body("a string", R"("hi")", "not a JSON object"),
      body("null", "null", "not a JSON object"),
      body("NaN", "{" + hi + R"(,"temperature":NaN})", "not valid JSON"),
      body("Infinity", "{" + hi + R"(,"temperature":Infinity})", "not valid JSON"),
      body("a number too big for a double", "{" + hi + R"(,"temperature":1e999})",
           "not valid JSON"),
      body("an integer of 40 digits",
           "{" + hi + R"(,"seed":1234567890123456789012345678901234567890})", "not valid JSON"),
      body("a leading zero", "{" + hi + R"(,"n":01})", "not valid JSON"),
      body("depth 65", R"({"metadata":)" + repeat("[", 64) + repeat("]", 64) + "," + hi + "}",
           "deeper than 64"),
      body("depth 100,000", repeat("[", 100'000) + repeat("]", 100'000), "deeper than 64"),
      body("invalid UTF-8",
           R"({"model":"oracle","messages":[{"role":"user","content":")"
           "\xff\xfe"
           R"("}]})",
           "UTF-8"),
      body("overlong UTF-8",
           R"({"messages":[{"role":"user","content":")"
           "\xc0\xaf"
           R"("}]})",
           "UTF-8"),
      body("a lone surrogate in UTF-8",
           R"({"messages":[{"role":"user","content":")"
           "\xed\xa0\x80"
           R"("}]})",
           "UTF-8"),
      body("a bad escape", R"({"messages":[{"role":"user","content":"\x"}]})", "not valid JSON"),
      body("a raw control character", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\nb\"}]}",
           "not valid JSON"),
      body("a NUL byte", std::string("{\"messages\":\0[]}", 16), "not valid JSON"),
      // -- messages
      chat("no messages", R"("n":1)", 400, "messages", "missing"),
      chat("null messages", R"("messages":null)", 400, "messages", "missing"),
      chat("empty messages", R"("messages":[])", 400, "messages", "empty"),
      chat("messages as a string", R"("messages":"hi")", 400, "messages", "not a string"),
      chat("messages as an object", R"("messages":{})", 400, "messages", "not an object"),
      chat("a message that is a string", R"("messages":["hi"])", 400, "messages[0]",
           "not a string"),
      chat("a message without role", R"("messages":[{"content":"hi"}])", 400, "messages[0].role",
           "missing"),
      chat("an unknown role", R"("messages":[{"role":"pirate","content":"hi"}])", 400,
           "messages[0].role", "must be"),
      chat("a role that is a number", R"("messages":[{"role":1,"content":"hi"}])", 400,
           "messages[0].role", "not a number"),
      chat("a message without content", R"("messages":[{"role":"user"}])", 400,
           "messages[0].content", "missing"),
      chat("null content of a user", R"("messages":[{"role":"user","content":null}])", 400,
           "messages[0].content", "missing"),
      chat("content that is a number", R"("messages":[{"role":"user","content":5}])", 400,
           "messages[0].content", "not a number"),
      chat("content that is an object", R"("messages":[{"role":"user","content":{}}])", 400,
           "messages[0].content", "not an object"),
      chat("the second message is bad",
           R"("messages":[{"role":"user","content":"a"},{"role":"user","content":7}])", 400,
           "messages[1].content"),
      chat(
          "an image part",
          R"("messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
          400, "messages[0].content[0].type", "text"),
      chat("a part without type", R"("messages":[{"role":"user","content":[{"text":"x"}]}])", 400,
           "messages[0].content[0].type"),
      chat("a text part without text",
           R"("messages":[{"role":"user","content":[{"type":"text"}]}])", 400,
           "messages[0].content[0].text", "missing"),
      chat("a part that is a string", R"("messages":[{"role":"user","content":["x"]}])", 400,
           "messages[0].content[0]", "not a string"),
      chat("2,049 messages",
           R"("messages":[)" + repeat(R"({"role":"user","content":"a"},)", 2048) +
               R"({"role":"user","content":"a"}])",
           400, "messages", "2048"),
      chat("a conversation beyond the context",
           R"("messages":[{"role":"user","content":")" + repeat("\\u00e9", 2100) + R"("}])", 400,
           "messages", "2048"),
      // -- sampling
      field("temperature too high", R"("temperature":2.1)", "temperature", "between 0 and 2"),
      field("temperature negative", R"("temperature":-0.1)", "temperature", "between 0 and 2"),
      field("temperature as a string", R"("temperature":"1")", "temperature", "not a string"),
      field("temperature as a boolean", R"("temperature":true)", "temperature", "not a boolean"),
      field("top_p zero", R"("top_p":0)", "top_p", "greater than 0"),
      field("top_p above one", R"("top_p":1.5)", "top_p", "between"),
      field("min_p negative", R"("min_p":-1)", "min_p", "between 0 and 1"),
      field("top_k fractional", R"("top_k":1.5)", "top_k", "whole number"),
      field("top_k huge", R"("top_k":99999999999)", "top_k", "between"),
      field("top_k below -1", R"("top_k":-2)", "top_k", "between"),
      field("repetition_penalty zero", R"("repetition_penalty":0)", "repetition_penalty",
            "between"),
      field("presence_penalty too big", R"("presence_penalty":2.5)", "presence_penalty",
            "between -2 and 2"),
      field("frequency_penalty too small", R"("frequency_penalty":-3)", "frequency_penalty",
            "between -2 and 2"),
      field("seed as a string", R"("seed":"1")", "seed", "not a string"),
      field("seed fractional", R"("seed":1.5)", "seed", "whole number"),
      field("n zero", R"("n":0)", "n", "between 1 and 16"),
      field("n seventeen", R"("n":17)", "n", "between 1 and 16"),
      field("n negative", R"("n":-1)", "n", "between 1 and 16"),
      field("n as an array", R"("n":[1])", "n", "not an array"),
      field("logit_bias as an array", R"("logit_bias":[])", "logit_bias", "not an array"),
      field("logit_bias with a word", R"("logit_bias":{"hello":1})", "logit_bias", "token ids"),
      field("logit_bias too strong", R"("logit_bias":{"5":101})", "logit_bias",
            "between -100 and 100"),
      field("logit_bias outside the vocabulary", R"("logit_bias":{"4096":1})", "logit_bias",
            "4096"),
      field("logit_bias negative id", R"("logit_bias":{"-1":1})", "logit_bias", "token ids"),
      field("min_tokens above max_tokens", R"("min_tokens":3)", "min_tokens", "more than"),
      // -- length, stops
      chat("max_tokens zero", hi + R"(,"max_completion_tokens":0)", 400, "max_completion_tokens",
           "between 1"),
      chat("max_tokens negative", hi + R"(,"max_completion_tokens":-5)", 400,
           "max_completion_tokens"),
      chat("max_tokens huge", hi + R"(,"max_completion_tokens":99999999999999)", 400,
           "max_completion_tokens"),
      field("stop as a number", R"("stop":5)", "stop", "not a number"),
      field("an empty stop", R"("stop":"")", "stop", "empty"),
      field("a stop that is not a string", R"("stop":["a",null])", "stop", "not null"),
      field("seventeen stops", R"("stop":[)" + repeat("\"a\",", 16) + "\"a\"]", "stop",
            "more than 16"),
      field("a stop of 257 bytes", R"("stop":")" + repeat("a", 257) + "\"", "stop",
            "longer than 256"),
      field("stop_token_ids with a string", R"("stop_token_ids":["a"])", "stop_token_ids",
            "token ids"),
      field("stop_token_ids outside the vocabulary", R"("stop_token_ids":[5000])", "stop_token_ids",
            "5000"),
      // -- stream, logprobs
      field("stream as a string", R"("stream":"yes")", "stream", "true or false"),
      field("stream_options without stream", R"("stream_options":{"include_usage":true})",
            "stream_options", "only allowed"),
      field("stream_options as a boolean", R"("stream":true,"stream_options":true)",
            "stream_options", "not a boolean"),
      field("include_usage as a number", R"("stream":true,"stream_options":{"include_usage":1})",
            "stream_options.include_usage", "true or false"),
      field("logprobs as a number", R"("logprobs":5)", "logprobs", "true or false"),
      field("top_logprobs without logprobs", R"("top_logprobs":5)", "top_logprobs", "needs"),
      field("top_logprobs too many", R"("logprobs":true,"top_logprobs":21)", "top_logprobs",
            "between 0 and 20"),
      // -- known, not supported
      field("response_format json", R"("response_format":{"type":"json_object"})",
            "response_format", "text"),
      field("response_format as a string", R"("response_format":"json")", "response_format",
            "not a string"),
      field("tool_choice required", R"("tool_choice":"required")", "tool_choice", "auto"),
      field("tool_choice of a function", R"("tool_choice":{"type":"function"})", "tool_choice",
            "auto"),
      field("tools for a template without tools",
            R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools", "takes no tools"),
      field("tools as an object", R"("tools":{})", "tools", "not an object"),
      field("functions", R"("functions":[{"name":"f"}])", "functions", "not supported"),
      field("audio", R"("audio":{"voice":"x"})", "audio", "not supported"),
      field("modalities audio", R"("modalities":["text","audio"])", "modalities", "only text"),
      field("guided_json", R"("guided_json":{})", "guided_json", "not supported"),
      field("use_beam_search", R"("use_beam_search":true)", "use_beam_search", "not supported"),
      field("chat_template from outside", R"("chat_template":"x")", "chat_template",
            "not supported"),
      // -- models
      {"a model nobody serves", post("/v1/chat/completions", R"({"model":"gpt-9",)" + hi + "}"),
       404, "model", "GET /v1/models"},
      {"a model that is a number", post("/v1/chat/completions", R"({"model":5,)" + hi + "}"), 400,
       "model", "not a number"},
      // -- completions
      text("no prompt", R"("model":"oracle")", 400, "prompt", "missing"),
      text("an empty prompt", R"("prompt":"")", 400, "prompt", "empty"),
      text("a prompt of no tokens", R"("prompt":[])", 400, "prompt", "empty"),
      text("an empty one of two prompts", R"("prompt":["a",""])", 400, "prompt[1]", "empty"),
      text("a number after a prompt", R"("prompt":["a",5])", 400, "prompt[1]", "not a number"),
      text("a prompt in a list in a list", R"("prompt":[["a"]])", 400, "prompt", "token ids"),
      text("129 prompts", R"("prompt":[)" + repeat("[5],", 128) + "[5]]", 400, "prompt",
           "at most 128"),
      text("32 prompts of 9 answers", R"("n":9,"prompt":[)" + repeat("[5],", 31) + "[5]]", 400,
           "prompt", "288 answers"),
      text("two prompts, one outside the vocabulary", R"("prompt":[[1],[4096]])", 400, "prompt[1]",
           "4096"),
      text("two prompts, one as long as the context",
           R"("prompt":[[1],[)" + repeat("5,", 2047) + "5]]", 400, "prompt[1]", "2048"),
      text("a prompt that is an object", R"("prompt":{})", 400, "prompt", "not an object"),
      text("a negative token", R"("prompt":[1,-2])", 400, "prompt", "token ids"),
      text("a fractional token", R"("prompt":[1,2.5])", 400, "prompt", "token ids"),
      text("a token outside the vocabulary", R"("prompt":[4096])", 400, "prompt", "4096"),
      text("a prompt as long as the context", R"("prompt":[)" + repeat("5,", 2047) + "5]", 400,
           "prompt", "2048"),
      text("logprobs as a boolean", R"("prompt":"a","logprobs":true)", 400, "logprobs",
           "not a boolean"),
      text("too many logprobs", R"("prompt":"a","logprobs":21)", 400, "logprobs",
           "between 0 and 20"),
      text("best_of above n", R"("prompt":"a","best_of":3)", 400, "best_of", "equal"),
      text("a suffix", R"("prompt":"a","suffix":"b")", 400, "suffix", "not supported"),
      text("echo as a string", R"("prompt":"a","echo":"yes")", 400, "echo", "true or false"),
      text("max_tokens zero without echo", R"("prompt":"a","max_tokens":0)", 400, "max_tokens",
           "between 1"),
      // -- the others
      {"inference without text", post("/v1/inference", "{}"), 400, "input_text", "missing"},
      {"inference with an empty text", post("/v1/inference", R"({"input_text":""})"), 400,
       "input_text", "empty"},
      {"inference with a list", post("/v1/inference", R"({"input_text":["a"]})"), 400, "input_text",
       "not an array"},
      {"inference of no length", post("/v1/inference", R"({"input_text":"a","max_length":0})"), 400,
       "max_length", "between 1"},
      {"inference too hot", post("/v1/inference", R"({"input_text":"a","temperature":9})"), 400,
       "temperature", "between 0 and 2"},
      {"inference as a stream", post("/v1/inference", R"({"input_text":"a","stream":true})"), 400,
       "stream", "chat"},
      {"tokenize nothing", post("/v1/tokenize", "{}"), 400, "prompt", "missing"},
      {"tokenize a number", post("/v1/tokenize", R"({"prompt":5})"), 400, "prompt", "not a number"},
      {"detokenize nothing", post("/v1/detokenize", "{}"), 400, "tokens", "missing"},
      {"detokenize text", post("/v1/detokenize", R"({"tokens":"a"})"), 400, "tokens",
       "not a string"},
      {"detokenize outside the vocabulary", post("/v1/detokenize", R"({"tokens":[4096]})"), 400,
       "tokens", "4096"},
      {"embeddings", post("/v1/embeddings", "{}"), 501, "", "encoder"},
      // -- HTTP
      {"an unknown path", get("/v2/chat"), 404, "", "openapi"},
      {"an unknown model path", get("/v1/models/gpt-9"), 404, "model", "GET /v1/models"},
      {"GET on a POST path", get("/v1/chat/completions"), 405, "", "POST only"},
      {"POST on a GET path", post("/v1/models", "{}"), 405, "", "GET only"},
      {"DELETE", "DELETE /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 405, "", "GET only"},
      {"a page of another site",
       post("/v1/completions", R"({"prompt":"a"})", "Origin: http://evil.example\r\n"), 403, "",
       "take the Origin header away"},
      {"a name made to point here",
       "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://localhost\r\n\r\n", 403, "",
       "does not go by the Host evil.example"},
      {"the same from its own page, which sends no Origin",
       "GET /v1/models HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n", 403, "", "allowed_hosts"},
      {"not HTTP", "hello there\r\n\r\n", 400, "", "not valid HTTP"},
      {"HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "",
       "not valid HTTP"},
      {"a TLS hello on the plain port",
       std::string("\x16\x03\x01\x00\x10\x01\x00\x00\x0c\x03\x03\r\n\r\n", 15), 400, "",
       "not valid HTTP"},
      {"a header without colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", 400, "", "not valid HTTP"},
      {"two lengths",
       "POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "",
       "not valid HTTP"},
      {"length and chunks",
       "POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
       400, "", "not valid HTTP"},
      {"a negative length", "POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "",
       "not valid HTTP"},
      {"a bad chunk size",
       "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "",
       "not valid HTTP"},
      {"an unknown transfer coding",
       "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "", "chunked"},
      {"an unknown expectation",
       "POST /v1/completions HTTP/1.1\r\nExpect: tea\r\nContent-Length: 5\r\n\r\n", 417, "",
       "100-continue"},
      {"a header of 17 KiB", get("/v1/models", "X-Big: " + repeat("a", 17 * 1024) + "\r\n"), 431,
       "", "larger than"},
      {"a target of 17 KiB", get("/" + repeat("a", 17 * 1024)), 431, "", "larger than"},
      {"101 header lines", get("/v1/models", repeat("X-A: b\r\n", 101)), 431, "", "header lines"},
      {"a length of 20 MiB", "POST /v1/completions HTTP/1.1\r\nContent-Length: 20971520\r\n\r\n",
       413, "", "larger than"},
      {"a body of 20 MiB", post("/v1/completions", repeat("a", 20 << 20)), 413, "", "larger than"},
      {"chunks of 20 MiB",
       "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1400000\r\n" +
           repeat("a", 5 << 20),
       413, "", "larger than"},
  };
  return out;
}

struct WireErrorBody {
  std::string message, type, param, code;
};

/// The error body, checked for its exact shape.
WireErrorBody parse_error(const RawAnswer& answer) {
  WireErrorBody out;
  REQUIRE(answer.headers.at("content-type") == "application/json");
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  REQUIRE(parser.parse(answer.body).get(root) == simdjson::SUCCESS);
  simdjson::dom::object error;
  REQUIRE(root["error"].get(error) == simdjson::SUCCESS);
  REQUIRE(error.size() == 4);
  auto text = [&](const char* name) {
    std::string_view value;
    const auto element = error[name];
    REQUIRE(element.error() == simdjson::SUCCESS);
    return element.get(value) ? std::string() : std::string(value);
  };
  out = {text("message"), text("type"), text("param"), text("code")};
  CHECK(!out.message.empty());
  CHECK(!out.type.empty());
  CHECK(!out.code.empty());
  return out;
}

}  // namespace

TEST_CASE("bridge: each of the malformed requests gets its 4xx at once and disturbs nobody") {
  TestBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  // A neighbour streams all the time; one token of it goes out between any two bad requests.
  RawClient neighbour(server.port());
  neighbour.send(post("/v1/completions", R"({"prompt":"n","max_tokens":1000,"stream":true})"));
  const auto stream = server.sink.next();
  REQUIRE(stream);
  const auto table = rows();
  CHECK(table.size() >= 80);
  for (const Row& row : table) {
    CAPTURE(row.what);
    RawClient client(server.port());
    client.set_deadline(std::chrono::milliseconds(1000));
    client.send(row.request);
    const RawAnswer answer = client.read_answer();
    REQUIRE_FALSE(answer.ended);
    CHECK(answer.status == row.status);
    const WireErrorBody error = parse_error(answer);
    CHECK(error.param == row.param);
    CAPTURE(error.message);
    CHECK(error.message.find(row.says) != std::string::npos);
    CHECK(error.message.ends_with(
        row.status == 400 && std::string(row.says) == "not valid JSON" ? "" : "."));
    CHECK(answer.headers.contains("x-should-retry"));

    router_out::Deliver token;
    token.id = stream->id;
    token.pieces.push_back(piece("n", {TokenId(110)}));
    server.bridge->deliver({token});
    CHECK(neighbour.connected());
  }
  CHECK(server.sink.submitted() == 1);  // nothing bad went past the bridge
  router_out::Deliver last;
  last.id = stream->id;
  last.pieces.push_back(piece("", {}, Finish::stop));
  last.last = true;
  server.bridge->deliver({last});
  const RawAnswer whole = neighbour.read_answer();
  CHECK(whole.status == 200);
  size_t events = 0;
  for (size_t at = 0; (at = whole.body.find(R"("text":"n")", at)) != std::string::npos; ++at)
    ++events;
  CHECK(events == table.size());
  CHECK(whole.body.ends_with("data: [DONE]\n\n"));

  server.sink.set_mode(TestSink::Mode::answer_at_once);
  RawClient after(server.port());
  after.send(post("/v1/completions", R"({"prompt":"ok","max_tokens":2})"));
  CHECK(after.read_answer().status == 200);
}

TEST_CASE("bridge: clients and pages of this machine, and those without a Host, are answered") {
  TestBridge server;
  for (const char* lines :
       {"Host: localhost:8080\r\nOrigin: http://localhost:8080\r\n",
        "Host: 127.0.0.1\r\nOrigin: https://LocalHost\r\n",
        "Host: [::1]:8080\r\nOrigin: http://[::1]:8080\r\n", "Host: 192.0.2.1:8080\r\n"}) {
    CAPTURE(lines);
    RawClient client(server.port());
    client.send(std::string("GET /v1/models HTTP/1.1\r\n") + lines + "\r\n");
    CHECK(client.read_answer().status == 200);
  }
  RawClient old(server.port());
  old.send("GET /v1/models HTTP/1.0\r\n\r\n");
  CHECK(old.read_answer().status == 200);
}

TEST_CASE("bridge: listed hosts are answered, and where any name leads here only pages are asked") {
  const auto status = [](const HostPolicy& policy, const std::string& lines) {
    BridgeConfig config;
    config.hosts = policy;
    TestBridge server(std::move(config));
    RawClient client(server.port());
    client.send("GET /v1/models HTTP/1.1\r\n" + lines + "\r\n");
    return client.read_answer().status;
  };
  const HostPolicy listed{{{"chat.example", 0}}};
  const HostPolicy open{{}, HostPolicy::HostOf::pages};
  CHECK(status(listed, "Host: chat.example\r\nOrigin: https://chat.example\r\n") == 200);
  CHECK(status(listed, "Host: evil.example\r\n") == 403);
  CHECK(status(open, "Host: chat.example\r\n") == 200);
  CHECK(status(open, "Host: chat.example\r\nOrigin: http://localhost\r\n") == 403);
}

TEST_CASE("bridge: the prompt never comes back in an error message") {
  TestBridge server;
  RawClient client(server.port());
  client.send(post(
      "/v1/chat/completions",
      R"({"messages":[{"role":"SECRETROLE","content":"SECRETTEXT"}],"stop":"SECRETSTOP","n":99})"));
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 400);
  CHECK(answer.body.find("SECRET") == std::string::npos);
}

TEST_CASE("bridge: a truncated body and an end of sending get 400, not silence") {
  TestBridge server;
  RawClient client(server.port());
  client.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"prompt\":");
  client.shut_down_sending();
  const RawAnswer answer = client.read_answer();
  CHECK(answer.status == 400);
  CHECK(parse_error(answer).message.find("ended before") != std::string::npos);
}

}  // namespace bad_requests_test
}  // namespace troupe::testing
