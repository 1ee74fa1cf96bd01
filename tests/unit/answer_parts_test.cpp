// Several prompts in one request: how the parts of the answer become one.
#include "net/answer_parts.h"

#include <doctest/doctest.h>

#include "net/openai_response.h"

namespace troupe {
namespace answer_parts_test {
namespace {

constexpr RequestId kFirst{1, 1}, kSecond{1, 2}, kThird{1, 3};

AnswerParts three(std::optional<CacheOutcome> cache = std::nullopt) {
  return AnswerParts({{kFirst, cache}, {kSecond, cache}, {kThird, cache}}, 2);
}

router_out::Deliver part(RequestId id, CacheOutcome cache, std::vector<int32_t> choices = {},
                         bool last = false) {
  router_out::Deliver out;
  out.id = id;
  out.cache = cache;
  out.last = last;
  for (int32_t choice : choices) {
    router_out::Piece piece;
    piece.choice = choice;
    piece.text = std::string(1, static_cast<char>('a' + choice));
    piece.finish = Finish::stop;
    out.pieces.push_back(piece);
  }
  return out;
}

std::vector<int32_t> indices(const router_out::Deliver& delivery) {
  std::vector<int32_t> out;
  for (const auto& piece : delivery.pieces) out.push_back(piece.choice);
  return out;
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("answer parts: the index is prompt * n + choice, the id is the first part's") {
  AnswerParts parts = three();
  auto second = part(kSecond, CacheOutcome::miss, {1, 0});
  parts.join(second);
  CHECK(indices(second) == std::vector<int32_t>{3, 2});
  CHECK(second.id == kFirst);
  auto third = part(kThird, CacheOutcome::miss, {1});
  parts.join(third);
  CHECK(indices(third) == std::vector<int32_t>{5});
  auto first = part(kFirst, CacheOutcome::miss, {0, 1});
  parts.join(first);
  CHECK(indices(first) == std::vector<int32_t>{0, 1});
}

TEST_CASE("answer parts: the answer ends with its last part, with sums of all and keep of all") {
  for (const bool all_kept : {true, false}) {
    AnswerParts parts = three();
    const RequestId order[] = {kThird, kFirst, kSecond};
    for (int i = 0; i < 3; ++i) {
      auto delivery = part(order[i], CacheOutcome::miss, {0, 1}, true);
      delivery.keep = all_kept || i != 1;
      delivery.timings = {Duration((i + 1) * 1ms),
                          Duration((3 - i) * 1ms),
                          Duration((i + 2) * 1ms),
                          Duration(7ms),
                          10 + i,
                          4 * i,
                          100 * (i + 1),
                          i == 1 ? 2 : 1};
      CHECK(parts.open().size() == static_cast<size_t>(3 - i));
      parts.join(delivery);
      CHECK(delivery.last == (i == 2));
      CHECK(delivery.keep == (i == 2 && all_kept));
      if (i < 2) continue;
      const Timings& t = delivery.timings;
      CHECK(t.prompt_tokens == 33);
      CHECK(t.cached_tokens == 12);
      CHECK(t.generated_tokens == 600);
      CHECK(t.attempts == 2);
      CHECK(t.queue == 3ms);
      CHECK(t.prefill == 3ms);
      CHECK(t.ttft == 2ms);
      CHECK(t.decode == 7ms);
    }
    CHECK(parts.open().empty());
  }
}

TEST_CASE("answer parts: X-Cache waits for every part and tells the dearest") {
  AnswerParts parts = three();
  CHECK_FALSE(parts.cache());
  auto hit = part(kFirst, CacheOutcome::hit_memory, {0, 1}, true);
  parts.join(hit);
  auto redis = part(kSecond, CacheOutcome::hit_redis, {0, 1}, true);
  parts.join(redis);
  CHECK_FALSE(parts.cache());
  SUBCASE("a hit too") {
    auto last = part(kThird, CacheOutcome::hit_memory, {0, 1}, true);
    parts.join(last);
    CHECK(parts.cache() == CacheOutcome::hit_redis);
  }
  SUBCASE("news without pieces") {
    auto news = part(kThird, CacheOutcome::miss);
    parts.join(news);
    CHECK(parts.cache() == CacheOutcome::miss);
    CHECK(parts.open() == std::vector{kThird});
  }
  SUBCASE("joined another request") {
    auto news = part(kThird, CacheOutcome::coalesced);
    parts.join(news);
    CHECK(parts.cache() == CacheOutcome::coalesced);
  }
  CHECK(three(CacheOutcome::not_cacheable).cache() == CacheOutcome::not_cacheable);
}

TEST_CASE("answer parts: a request with one prompt passes as it is") {
  AnswerParts parts({{kFirst, std::nullopt}}, 3);
  auto delivery = part(kFirst, CacheOutcome::miss, {2}, true);
  delivery.keep = true;
  delivery.timings.prompt_tokens = 5;
  parts.join(delivery);
  CHECK(indices(delivery) == std::vector<int32_t>{2});
  CHECK(delivery.last);
  CHECK(delivery.keep);
  CHECK(delivery.timings.prompt_tokens == 5);
  CHECK(parts.open().empty());
}

TEST_CASE("openai response: every answer to several prompts echoes its own, with its scores") {
  AnswerInfo info;
  info.api = Api::completions;
  info.id = kFirst;
  info.model = "m";
  info.prompts = 2;
  info.choices = 2;
  info.echo = info.logprobs = true;
  info.tokenizer = *Tokenizer::make(oracle_tokenizer_spec());
  info.echoed = {{"pq", {TokenId('p'), TokenId('q')}}, {"xy", {TokenId('x'), TokenId('y')}}};
  AnswerParts parts({{kFirst, CacheOutcome::not_cacheable}, {kSecond, CacheOutcome::not_cacheable}},
                    2);
  WholeAnswer whole(info);
  StreamedAnswer stream(info);
  std::string events;
  auto feed = [&](router_out::Deliver delivery) {
    parts.join(delivery);
    whole.add(delivery);
    stream.append(events, delivery);
  };
  auto scored = part(kSecond, {}, {0});
  scored.prompt_logprobs = {{-2, {}}};
  feed(scored);
  feed(part(kSecond, {}, {1}, true));  // the scores came before this choice began
  CHECK(events.find("[DONE]") == std::string::npos);
  auto first = part(kFirst, {}, {1, 0}, true);
  first.prompt_logprobs = {{-1, {}}};
  feed(first);
  const std::string body = whole.body();
  for (const char* choice : {R"({"index":0,"text":"pqa")", R"({"index":1,"text":"pqb")",
                             R"({"index":2,"text":"xya")", R"({"index":3,"text":"xyb")"}) {
    CAPTURE(std::string(choice));
    CHECK(count(body, choice) == 1);
  }
  CHECK(count(body, R"("token_logprobs":[null,-1])") == 2);
  CHECK(count(body, R"("token_logprobs":[null,-2])") == 2);
  CHECK(count(events, R"("token_logprobs":[null,-1])") == 2);
  CHECK(count(events, R"("token_logprobs":[null,-2])") == 2);
  for (const char* opening : {R"({"index":0,"text":"pq")", R"({"index":1,"text":"pq")",
                              R"({"index":2,"text":"xy")", R"({"index":3,"text":"xy")"}) {
    CAPTURE(std::string(opening));
    CHECK(count(events, opening) == 1);
  }
  CHECK(count(events, R"("finish_reason":"stop")") == 4);
  CHECK(count(events, "[DONE]") == 1);
  CHECK(events.ends_with("[DONE]\n\n"));
}

}  // namespace answer_parts_test
}  // namespace troupe
