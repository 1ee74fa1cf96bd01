// When the head of a stream goes out and what X-Cache says in it: one request, a reply that only
// notes what it is told, and times that are given.
#include "net/open_request.h"

#include <doctest/doctest.h>

#include "tests/net/bridge_fixture.h"

namespace troupe::testing {
namespace open_request_test {
namespace {

constexpr RequestId kFirst{1, 1}, kSecond{1, 2};
constexpr Time kArrived{100s};

struct Noted {
  std::optional<HttpResponse> answer, head;
  std::string body;
  bool finished = false;
};

class NotingReply final : public HttpReply {
 public:
  explicit NotingReply(Noted& noted) : noted_(&noted) {}
  void respond(HttpResponse response) override { noted_->answer = std::move(response); }
  void start_stream(HttpResponse head, std::string, Duration) override {
    noted_->head = std::move(head);
  }
  void write(std::string_view bytes) override { noted_->body += bytes; }
  void finish() override { noted_->finished = true; }
  void on_gone(std::function<void()>) override {}
  bool gone() const override { return false; }

 private:
  Noted* noted_;
};

std::string x_cache(const std::optional<HttpResponse>& head) {
  REQUIRE(head);
  for (const HttpHeader& header : head->headers)
    if (header.name == "X-Cache") return header.value;
  return "none";
}

router_out::Deliver delivery(RequestId id, CacheOutcome cache, std::string text = {},
                             bool last = false) {
  router_out::Deliver out;
  out.id = id;
  out.cache = cache;
  out.last = last;
  if (!text.empty())
    out.pieces = {piece(std::move(text), {TokenId(5)}, last ? Finish::stop : Finish::none)};
  return out;
}

struct Scene {
  explicit Scene(std::vector<AnswerPart> parts) {
    AnswerInfo info;
    info.api = Api::completions;
    info.id = kFirst;
    info.model = "m";
    info.prompts = static_cast<int32_t>(parts.size());
    info.tokenizer = oracle_model()->tokenizer;
    request.emplace(std::move(info), AnswerShape::stream, AnswerParts(std::move(parts), 1),
                    std::make_shared<NotingReply>(noted), "request", kArrived, nullptr);
  }
  void deliver(router_out::Deliver what, Duration at = 1ms) {
    request->deliver(std::move(what), kArrived + at, metrics);
  }
  void tick(Duration at) { request->tick(kArrived + at, metrics); }

  Metrics metrics{"b", "n"};
  Noted noted;
  std::optional<OpenRequest> request;
};

}  // namespace

TEST_CASE("open request: the head that goes before the first token says what the cache had") {
  struct Row {
    CacheOutcome outcome;
    const char* told;
  };
  for (const Row& row :
       {Row{CacheOutcome::miss, "miss"}, Row{CacheOutcome::coalesced, "coalesced"}}) {
    Scene scene({{kFirst, std::nullopt}});
    scene.deliver(delivery(kFirst, row.outcome));
    scene.tick(kStreamHeadDelay - 1ms);
    CHECK_FALSE(scene.noted.head);
    scene.tick(kStreamHeadDelay);
    CHECK(x_cache(scene.noted.head) == row.told);
    CHECK(scene.noted.body.empty());
    scene.deliver(delivery(kFirst, row.outcome, "x", true), 1s);
    CHECK(scene.noted.body.ends_with("data: [DONE]\n\n"));
    CHECK(scene.noted.finished);
  }
}

TEST_CASE("open request: while the cache is being asked no head goes out; a hit then says so") {
  Scene scene({{kFirst, std::nullopt}});
  scene.tick(kStreamHeadDelay * 5);
  CHECK_FALSE(scene.noted.head);
  scene.deliver(delivery(kFirst, CacheOutcome::hit_redis, "x", true));
  CHECK(x_cache(scene.noted.head) == "hit-redis");
}

TEST_CASE("open request: what cannot be cached has a head after the delay, without X-Cache") {
  Scene scene({{kFirst, CacheOutcome::not_cacheable}});
  scene.tick(kStreamHeadDelay);
  CHECK(x_cache(scene.noted.head) == "none");
}

TEST_CASE("open request: an error before the head is a status, also once the outcome is known") {
  Scene scene({{kFirst, std::nullopt}});
  scene.deliver(delivery(kFirst, CacheOutcome::miss));
  scene.request->fail({kFirst, {ErrorCode::rate_limited, "Full.", ""}, 1s}, scene.metrics);
  CHECK_FALSE(scene.noted.head);
  REQUIRE(scene.noted.answer);
  CHECK(scene.noted.answer->status == 429);
}

TEST_CASE("open request: events wait until every prompt's outcome is known") {
  Scene scene({{kFirst, std::nullopt}, {kSecond, std::nullopt}});
  scene.deliver(delivery(kFirst, CacheOutcome::hit_memory, "x", true));
  scene.tick(kStreamHeadDelay);
  CHECK_FALSE(scene.noted.head);
  CHECK(scene.noted.body.empty());
  SUBCASE("a hit too") {
    scene.deliver(delivery(kSecond, CacheOutcome::hit_redis, "y", true));
    CHECK(x_cache(scene.noted.head) == "hit-redis");
    const size_t x = scene.noted.body.find(R"("index":0,"text":"x")");
    const size_t y = scene.noted.body.find(R"("index":1,"text":"y")");
    CHECK(x < y);
    CHECK(y != std::string::npos);
    CHECK(scene.noted.finished);
  }
  SUBCASE("a miss") {
    scene.deliver(delivery(kSecond, CacheOutcome::miss));
    CHECK(x_cache(scene.noted.head) == "miss");
    CHECK(scene.noted.body.find(R"("index":0,"text":"x")") != std::string::npos);
    CHECK_FALSE(scene.noted.finished);
  }
}

TEST_CASE(
    "open request: events that wait are bounded; the head then counts the unknown as a miss") {
  Scene scene({{kFirst, std::nullopt}, {kSecond, std::nullopt}});
  const std::string text(kStreamBufferBytesMax / 8, 'x');
  for (int i = 0; i < 3; ++i) scene.deliver(delivery(kFirst, CacheOutcome::hit_memory, text));
  CHECK_FALSE(scene.noted.head);
  scene.deliver(delivery(kFirst, CacheOutcome::hit_memory, text));
  CHECK(x_cache(scene.noted.head) == "miss");
  CHECK(scene.noted.body.size() > kStreamBufferBytesMax / 2);
  CHECK(scene.noted.body.size() <= kStreamBufferBytesMax);
}

TEST_CASE("open request: of two failures only the first is told") {
  Scene scene({{kFirst, CacheOutcome::not_cacheable}, {kSecond, CacheOutcome::not_cacheable}});
  scene.deliver(delivery(kFirst, CacheOutcome::not_cacheable, "x"));
  for (RequestId id : {kFirst, kSecond})
    scene.request->fail({id, {ErrorCode::unavailable, "Gone.", ""}, 1s}, scene.metrics);
  const size_t first = scene.noted.body.find("Gone.");
  REQUIRE(first != std::string::npos);
  CHECK(scene.noted.body.find("Gone.", first + 1) == std::string::npos);
}

}  // namespace open_request_test
}  // namespace troupe::testing
