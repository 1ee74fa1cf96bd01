// The response cache on the bridge's own thread: which requests share a key, what a kept answer
// looks like to the next client, and that nobody gets what was computed for another.
#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "net/answer_key.h"
#include "net/answer_record.h"
#include "net/answer_template.h"
#include "net/openai_response.h"
#include "net/prepared_request.h"
#include "tests/net/bridge_fixture.h"
#include "tests/net/raw_client.h"

namespace troupe::testing {
namespace answer_cache_test {
namespace {

std::optional<Digest> key_of(Api api, const std::string& body, const ServedModel& model,
                             const Salt& tenant = {}) {
  auto parsed = parse_generation(api, body);
  REQUIRE_MESSAGE(parsed.has_value(), (parsed ? "" : parsed.error().message));
  return answer_key(*parsed, model, tenant);
}

std::string chat_body(const std::string& more = "",
                      const std::string& messages = R"([{"role":"user","content":"hi"}])") {
  return R"({"model":"oracle","temperature":0,"messages":)" + messages + more + "}";
}
std::string text_body(const std::string& more = "", const std::string& prompt = R"("hi")") {
  return R"({"model":"oracle","temperature":0,"prompt":)" + prompt + more + "}";
}

/// Bytes of an answer as the writers make them.
std::string written(const AnswerInfo& info, AnswerShape shape,
                    const std::vector<router_out::Deliver>& deliveries) {
  if (shape == AnswerShape::whole) {
    WholeAnswer whole(info);
    for (const auto& delivery : deliveries) whole.add(delivery);
    return whole.body();
  }
  StreamedAnswer stream(info);
  std::string out;
  for (const auto& delivery : deliveries) stream.append(out, delivery);
  return out;
}

struct CachingBridge : TestBridge {
  explicit CachingBridge(std::shared_ptr<ResponseCache> cache = std::make_shared<ResponseCache>())
      : TestBridge([&] {
          BridgeConfig config;
          config.answers = cache;
          return config;
        }()),
        answers(std::move(cache)) {}
  std::shared_ptr<ResponseCache> answers;
};

std::string id_in(const std::string& body) {
  const size_t at = body.find("cmpl-") + 5;
  return body.substr(at, 32);
}

/// Without ids, creation times, usage and timings.
std::string text_of(std::string body) {
  const std::string id = id_in(body);
  for (size_t at; (at = body.find(id)) != std::string::npos;) body.erase(at, id.size());
  for (const char* key : {"\"created\":", "\"timings\":"})
    for (size_t at = body.find(key); at != std::string::npos; at = body.find(key, at + 1)) {
      const size_t value = at + std::string_view(key).size();
      const size_t end = body.find_first_of(body[value] == '{' ? "}" : ",", value);
      body.erase(value, end - value);
    }
  return body;
}

}  // namespace

TEST_CASE("answer key: every field that can change the answer changes the key") {
  const auto model = oracle_model();
  const std::vector<std::pair<Api, std::string>> different = {
      {Api::chat, chat_body()},
      {Api::chat, chat_body("", R"([{"role":"user","content":"ho"}])")},
      {Api::chat, chat_body("", R"([{"role":"system","content":"hi"}])")},
      {Api::chat,
       chat_body("", R"([{"role":"user","content":"h"},{"role":"user","content":"i"}])")},
      {Api::chat, chat_body("", R"([{"role":"user","content":"hi","name":"x"}])")},
      {Api::chat, chat_body(R"(,"tools":[{"type":"function"}])")},
      {Api::chat, chat_body(R"(,"tools":[{"type":"functions"}])")},
      {Api::chat, chat_body(R"(,"chat_template_kwargs":{"a":1})")},
      {Api::chat, chat_body(R"(,"chat_template_kwargs":{"a":1.0})")},
      {Api::chat, chat_body(R"(,"chat_template_kwargs":{"a":"1"})")},
      {Api::chat, chat_body(R"(,"chat_template_kwargs":{"a":true})")},
      {Api::chat, chat_body(R"(,"chat_template_kwargs":{"a":[]})")},
      {Api::chat, chat_body(R"(,"chat_template_kwargs":{"a":{}})")},
      {Api::chat, chat_body(R"(,"add_generation_prompt":false)")},
      {Api::chat, chat_body(R"(,"max_tokens":5)")},
      {Api::chat, chat_body(R"(,"max_tokens":6)")},
      {Api::chat, chat_body(R"(,"n":2)")},
      {Api::chat, chat_body(R"(,"stop":"a")")},
      {Api::chat, chat_body(R"(,"stop":["a","b"])")},
      {Api::chat, chat_body(R"(,"stop":["ab"])")},
      {Api::chat, chat_body(R"(,"stop_token_ids":[7])")},
      {Api::chat, chat_body(R"(,"top_p":0.5)")},
      {Api::chat, chat_body(R"(,"min_p":0.5)")},
      {Api::chat, chat_body(R"(,"top_k":5)")},
      {Api::chat, chat_body(R"(,"repetition_penalty":1.5)")},
      {Api::chat, chat_body(R"(,"presence_penalty":1.5)")},
      {Api::chat, chat_body(R"(,"frequency_penalty":1.5)")},
      {Api::chat, chat_body(R"(,"logit_bias":{"5":1})")},
      {Api::chat, chat_body(R"(,"logit_bias":{"5":2})")},
      {Api::chat, chat_body(R"(,"logit_bias":{"6":1})")},
      {Api::chat, chat_body(R"(,"min_tokens":3)")},
      {Api::chat, chat_body(R"(,"ignore_eos":true)")},
      {Api::chat, chat_body(R"(,"logprobs":true)")},
      {Api::chat, chat_body(R"(,"logprobs":true,"top_logprobs":2)")},
      {Api::chat, chat_body(R"(,"stream":true)")},
      {Api::chat, chat_body(R"(,"stream":true,"stream_options":{"include_usage":true})")},
      {Api::chat, chat_body(R"(,"temperature":1,"seed":1)")},
      {Api::completions, text_body()},
      {Api::completions, text_body("", R"("ho")")},
      {Api::completions, text_body("", "[104,105]")},
      {Api::completions, text_body("", "[104,105,1]")},
      {Api::completions, text_body("", R"(["hi","ho"])")},
      {Api::completions, text_body("", R"(["ho","hi"])")},
      {Api::completions, text_body("", R"(["hi","h","o"])")},
      {Api::completions, text_body("", "[[104,105],[1]]")},
      {Api::completions, text_body("", "[[104],[105,1]]")},
      {Api::completions, text_body("", R"([[104],[105],"1"])")},
      {Api::completions, text_body(R"(,"add_special_tokens":false)")},
      {Api::completions, text_body(R"(,"echo":true)")},
      {Api::completions, text_body(R"(,"echo":true,"max_tokens":0)")},
      {Api::completions, text_body(R"(,"logprobs":0)")},
      {Api::inference, R"({"input_text":"hi","temperature":0})"},
      {Api::inference, R"({"input_text":"hi","temperature":0,"raw":true})"},
      {Api::inference, R"({"input_text":"hi","temperature":0,"max_length":7})"},
      {Api::inference, R"({"input_text":"hi","temperature":0.7,"seed":3})"},
      {Api::inference, R"({"input_text":"hi","temperature":0.7,"seed":4})"},
      {Api::inference, R"({"input_text":"hi","temperature":0.8,"seed":3})"}};
  std::map<Digest, std::string> seen;
  for (const auto& [api, body] : different) {
    // A later "temperature" must not be hidden by the first one of the fixed part.
    std::string sent = body;
    if (const size_t again = sent.find(R"(,"temperature":1,)"); again != std::string::npos)
      sent.erase(sent.find(R"("temperature":0,)"), 16);
    const auto key = key_of(api, sent, *model);
    REQUIRE_MESSAGE(key, sent);
    const auto [at, fresh] = seen.emplace(*key, sent);
    CHECK_MESSAGE(fresh, (sent + " has the key of " + at->second));
  }
}

TEST_CASE(
    "answer key: spelling, unknown fields and the seed of a greedy request make no difference") {
  const auto model = oracle_model();
  const auto key = key_of(Api::chat, chat_body(), *model);
  REQUIRE(key);
  for (
      const std::string& same :
      {chat_body(R"(,"user":"u","metadata":{"a":1},"service_tier":"auto","x_unknown":[1])"),
       chat_body(R"(,"n":1,"stream":false,"stop":null,"top_p":1.0,"ignore_eos":false)"),
       chat_body(R"(,"seed":7)"),
       std::string(
           R"( { "messages" : [ {"content":[{"type":"text","text":"hi"}],"role":"user"} ], "temperature":0.0 })")})
    CHECK_MESSAGE(key_of(Api::chat, same, *model) == key, same);
}

TEST_CASE("answer key: tenant and everything a reload can change are part of it") {
  const auto model = oracle_model();
  std::set<std::optional<Digest>> keys = {key_of(Api::chat, chat_body(), *model)};
  Salt other{};
  other[3] = 1;
  CHECK(keys.insert(key_of(Api::chat, chat_body(), *model, other)).second);
  const auto changed = [&](auto change) {
    ServedModel copy = *model;
    change(copy);
    CHECK(keys.insert(key_of(Api::chat, chat_body(), copy)).second);
  };
  changed([](ServedModel& m) { m.name = "oracle2"; });
  changed([](ServedModel& m) { m.numerics_id[0] = 1; });
  changed([](ServedModel& m) { m.weights_id[0] = 1; });
  changed([](ServedModel& m) { m.bundle_id[0] = 1; });
  changed([](ServedModel& m) { m.context = 1024; });
}

TEST_CASE("answer key: what is drawn or dated has none") {
  const auto model = oracle_model();
  const std::string drawn = R"({"messages":[{"role":"user","content":"hi"}]})";
  CHECK_FALSE(key_of(Api::chat, drawn, *model));
  ServedModel dated = *model;
  dated.chat_template = std::make_shared<const ChatTemplate>(
      *ChatTemplate::parse("{{ strftime_now('%Y') }}{{ messages[0].content }}"));
  CHECK_FALSE(key_of(Api::chat, chat_body(), dated));
  CHECK(key_of(Api::completions, text_body(), dated));  // no template is rendered
}

TEST_CASE("answer template: renders what the writers would have written with a new id") {
  const auto model = oracle_model();
  for (Api api : {Api::chat, Api::completions, Api::inference})
    for (AnswerShape shape : {AnswerShape::whole, AnswerShape::stream})
      for (int bits = 0; bits < 16; ++bits) {
        if (api == Api::inference && (shape == AnswerShape::stream || bits > 1)) continue;
        AnswerInfo info;
        info.api = api;
        info.model = "oracle";
        info.tokenizer = model->tokenizer;
        info.choices = (bits & 1) ? 2 : 1;
        info.logprobs = bits & 2;
        info.include_usage = shape == AnswerShape::stream && (bits & 4);
        info.echo = api == Api::completions && (bits & 8);
        // A prompt and a text that look like the places to be filled in.
        if (info.echo) info.echoed = {{R"("timings":{"a":1},"usage":{"b":2}}, "created":77,)", {}}};
        std::vector<router_out::Deliver> deliveries(2);
        for (int32_t choice = 0; choice < info.choices; ++choice) {
          for (Finish finish : {Finish::none, Finish::length}) {
            auto made =
                piece(R"("timings":{},"usage":{}}"created":5,)", {TokenId(300)}, finish, choice);
            if (info.logprobs) made.logprobs = {{-1.5f, {{301, -2.f}}}};
            deliveries[finish == Finish::none ? 0 : 1].pieces.push_back(std::move(made));
          }
        }
        deliveries[1].last = true;
        deliveries[1].timings = {1ms, 2ms, 3ms, 4ms, 11, 16, 7, 1};
        info.id = {0x1234567890abcdef, 0xfedcba0987654321};
        info.created = 1'700'000'001;
        const auto kept = make_answer_template(written(info, shape, deliveries), info.id,
                                               Finish::length, deliveries[1].timings);
        REQUIRE(kept);
        auto open = AnswerTemplate::open(*kept);
        REQUIRE(open.has_value());
        CHECK(open->ending() == Finish::length);
        Timings fresh = open->timings();
        CHECK(fresh.prompt_tokens == 11);
        CHECK(fresh.generated_tokens == 7);
        CHECK(fresh.cached_tokens == 0);
        fresh.queue = fresh.ttft = 31us;
        info.id = {5, 6};
        info.created = 12'345'678'901;
        deliveries[1].timings = fresh;
        CHECK(open->render(info.id, info.created, fresh) == written(info, shape, deliveries));
      }
}

TEST_CASE("answer template: bytes that are no answer, or were damaged, are refused or harmless") {
  CHECK_FALSE(make_answer_template("{}", {1, 2}, Finish::stop, {}));
  CHECK_FALSE(make_answer_template("data: " + to_string(RequestId{1, 2}) + "\n\n", {1, 2},
                                   Finish::stop, {}));
  AnswerInfo info;
  info.id = {1, 2};
  info.model = "m";
  router_out::Deliver all;
  all.pieces.push_back(piece("x", {TokenId(300)}, Finish::stop));
  all.last = true;
  const auto good =
      make_answer_template(written(info, AnswerShape::whole, {all}), info.id, Finish::stop, {});
  REQUIRE(good);
  CHECK(AnswerTemplate::open({}).error().code == ErrorCode::data_loss);
  const uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {
    CachedBytes bad = *good;
    bad[random() % std::min<size_t>(bad.size(), 80)] ^= static_cast<std::byte>(1u << random() % 8);
    if (auto open = AnswerTemplate::open(bad))
      CHECK(open->render({3, 4}, 5, {}).size() < 2 * good->size() + 400);
    else
      ++refused;
  }
  CHECK(refused > 1000);
}

TEST_CASE("answer record: keeps no answer over the bound, nor more than all records may hold") {
  auto cache = std::make_shared<ResponseCache>();
  RecordedBytes total;
  {
    AnswerRecord big(cache, {}, total);
    big.add(std::string(kCachedResponseBytesMax, 'x'));
    CHECK(total.now == kCachedResponseBytesMax);
    big.add("x");
    CHECK(total.now == 0);
  }
  std::vector<std::unique_ptr<AnswerRecord>> many;
  for (int64_t held = 0; held < kAnswerRecordsBytesMax; held += kCachedResponseBytesMax) {
    many.push_back(std::make_unique<AnswerRecord>(cache, Digest{}, total));
    many.back()->add(std::string(kCachedResponseBytesMax, 'x'));
  }
  CHECK(total.now == kAnswerRecordsBytesMax);
  AnswerRecord late(cache, {}, total);
  late.add("x");
  CHECK(total.now == kAnswerRecordsBytesMax);
  many.clear();
  CHECK(total.now == 0);
  CHECK(cache->stats().entries == 0);
}

TEST_CASE("bridge: a repeated request is answered on its own thread, with an id of its own") {
  CachingBridge server;
  RawClient client(server.port());
  for (const std::string more : {R"(,"max_tokens":3)", R"(,"max_tokens":3,"stream":true)",
                                 R"(,"max_tokens":3,"n":2,"logprobs":true,"top_logprobs":1)"}) {
    const size_t before = server.sink.submitted();
    client.send(post("/v1/chat/completions", chat_body(more)));
    const RawAnswer first = client.read_answer();
    CHECK(first.headers.at("x-cache") == "miss");
    client.send(post("/v1/chat/completions", chat_body(more + R"(,"user":"someone")")));
    const RawAnswer second = client.read_answer();
    CHECK(second.status == 200);
    CHECK(second.headers.at("x-cache") == "hit-memory");
    CHECK(second.headers.at("content-type") == first.headers.at("content-type"));
    CHECK(second.headers.at("x-request-id") != first.headers.at("x-request-id"));
    CHECK(id_in(second.body) != id_in(first.body));
    CHECK(text_of(second.body) == text_of(first.body));
    CHECK(second.body.find(R"("attempts":0)") != std::string::npos);
    CHECK(server.sink.submitted() == before + 1);
  }
  client.send(get("/metrics?compat=none"));
  const std::string metrics = client.read_answer().body;
  CHECK(metrics.find("troupe_response_cache_hits_total{tier=\"memory\"} 3") != std::string::npos);
}

TEST_CASE("bridge: an answer the router did not release for keeping is computed again") {
  CachingBridge server;
  server.sink.set_mode(TestSink::Mode::hand_over);
  RawClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.send(post("/v1/chat/completions", chat_body()));
    const auto request = server.sink.next();
    REQUIRE(request);
    CHECK(request->cache_key);
    router_out::Deliver all;
    all.id = request->id;
    all.pieces.push_back(piece("x", {TokenId(300)}, Finish::stop));
    all.last = true;
    server.bridge->deliver({all});
    CHECK(client.read_answer().status == 200);
  }
  CHECK(server.answers->stats().entries == 0);
}

TEST_CASE("bridge: after a reload with other numerics nothing old is served") {
  CachingBridge server;
  RawClient client(server.port());
  client.send(post("/v1/chat/completions", chat_body()));
  CHECK(client.read_answer().headers.at("x-cache") == "miss");
  auto reloaded = std::make_shared<ServedModel>(*oracle_model());
  reloaded->numerics_id[0] = 9;
  server.bridge->set_models({reloaded});
  client.send(post("/v1/chat/completions", chat_body()));
  CHECK(client.read_answer().headers.at("x-cache") == "miss");
  server.bridge->set_models({oracle_model()});
  client.send(post("/v1/chat/completions", chat_body()));
  CHECK(client.read_answer().headers.at("x-cache") == "hit-memory");
}

TEST_CASE("bridge: a cache of no bytes keeps nothing") {
  CachingBridge server(std::make_shared<ResponseCache>(0));
  RawClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.send(post("/v1/chat/completions", chat_body()));
    CHECK(client.read_answer().headers.at("x-cache") == "miss");
  }
}

}  // namespace answer_cache_test
}  // namespace troupe::testing
