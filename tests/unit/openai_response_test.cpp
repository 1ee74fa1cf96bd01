// Exact bytes of answers, against the shapes in OpenAI's API reference.
#include "net/openai_response.h"

#include <doctest/doctest.h>

#include "net/http_message.h"
#include "net/json_writer.h"

namespace troupe {
namespace openai_response_test {
namespace {

AnswerInfo info(Api api) {
  AnswerInfo out;
  out.api = api;
  out.id = {1, 2};
  out.model = "m";
  out.created = 5;
  out.tokenizer = *Tokenizer::make(oracle_tokenizer_spec());
  return out;
}

router_out::Deliver last(std::vector<router_out::Piece> pieces) {
  router_out::Deliver out;
  out.pieces = std::move(pieces);
  out.last = true;
  out.timings.prompt_tokens = 2;
  out.timings.generated_tokens = 1;
  return out;
}

router_out::Piece letter(char c, LogProbs logprob) {
  router_out::Piece out;
  out.text = std::string(1, c);
  out.tokens = {TokenId(c)};
  out.logprobs = {std::move(logprob)};
  out.finish = Finish::stop;
  return out;
}

std::string logprobs_of(const std::string& body) {
  const size_t at = body.find("\"logprobs\":") + 11;
  return body.substr(at, body.find(",\"finish_reason\"") - at);
}

}  // namespace

TEST_CASE("json: everything that must be escaped is, everything else stays") {
  std::string out;
  append_json_escaped(out, std::string("a\"b\\c\n\r\t\x01\x1f\x7f/é😀", 18));
  CHECK(out == "a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\x7f/é😀");
  out.clear();
  JsonWriter(out)
      .begin_array()
      .real(0.1)
      .real(1e300 * 1e300)
      .integer(-5)
      .null()
      .boolean(true)
      .end_array();
  CHECK(out == "[0.1,null,-5,null,true]");
}

TEST_CASE("openai response: error bodies have the four fields") {
  CHECK(
      error_body({ErrorCode::invalid_argument, "No \"x\".", "x"}) ==
      R"({"error":{"message":"No \"x\".","type":"invalid_request_error","param":"x","code":"invalid_value"}})");
  CHECK(
      error_body({ErrorCode::rate_limited, "Full.", ""}) ==
      R"({"error":{"message":"Full.","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}})");
}

TEST_CASE("openai response: logprobs of chat name tokens, bytes and alternatives") {
  auto at = info(Api::chat);
  at.logprobs = true;
  WholeAnswer answer(at);
  answer.add(last({letter('A', {-0.5f, {{65, -0.5f}, {66, -2}}})}));
  CHECK(
      logprobs_of(answer.body()) ==
      R"({"content":[{"token":"A","logprob":-0.5,"bytes":[65],"top_logprobs":[{"token":"A","logprob":-0.5,"bytes":[65]},{"token":"B","logprob":-2,"bytes":[66]}]}]})");
}

TEST_CASE("openai response: echo with logprobs scores the prompt, whose first token has none") {
  auto at = info(Api::completions);
  at.logprobs = at.echo = true;
  at.echoed = {{"\xc3\xa9x", {TokenId(0xc3), TokenId(0xa9), TokenId('x')}}};
  WholeAnswer answer(at);
  auto delivery = last({letter('A', {-0.5f, {{65, -0.5f}}})});
  delivery.prompt_logprobs = {{-1, {}}, {-2, {{66, -0.25f}}}};
  answer.add(delivery);
  const std::string body = answer.body();
  CHECK(body.find("\"text\":\"\xc3\xa9xA\"") != std::string::npos);
  // Offsets count characters: the two bytes of é begin at 0 and 1 as the second adds no character.
  CHECK(logprobs_of(body).starts_with(
      R"({"text_offset":[0,1,1,2],"token_logprobs":[null,-1,-2,-0.5],"tokens":[)"));
  CHECK(logprobs_of(body).ends_with(R"("top_logprobs":[null,{},{"B":-0.25},{"A":-0.5}]})"));
}

TEST_CASE("openai response: max_tokens 0 with echo shows the prompt only") {
  auto at = info(Api::completions);
  at.echo = at.hide_answer = true;
  at.echoed = {{"p", {}}};
  WholeAnswer answer(at);
  answer.add(last({letter('A', {})}));
  CHECK(answer.body().find(R"("text":"p","logprobs":null)") != std::string::npos);
  CHECK(answer.body().find(R"("completion_tokens":0)") != std::string::npos);
}

TEST_CASE("openai response: confidence is the exponential of the mean log-probability") {
  auto at = info(Api::inference);
  WholeAnswer answer(at);
  answer.add(last({letter('A', {-1, {}})}));
  CHECK(answer.body().starts_with(
      R"({"predictions":[{"text":"A","finish_reason":"stop"}],"confidence":0.36787944117144233,"usage":{)"));
  WholeAnswer nothing(at);
  router_out::Piece end;
  end.finish = Finish::stop;
  nothing.add(last({end}));
  CHECK(nothing.body().find(R"("confidence":null)") != std::string::npos);
}

TEST_CASE("openai response: a streamed completion ends with its reason, [DONE] and no role") {
  StreamedAnswer answer(info(Api::completions));
  std::string out;
  answer.append(out, last({letter('A', {})}));
  const std::string head =
      R"(data: {"id":"cmpl-00000000000000010000000000000002","object":"text_completion","created":5,"model":"m","choices":[{"index":0,"text":")";
  CHECK(out.starts_with(head + R"(A","logprobs":null,"finish_reason":null}]})" + "\n\n" + head +
                        R"(","logprobs":null,"finish_reason":"stop"}],"timings":{)"));
  CHECK(out.ends_with("}}\n\ndata: [DONE]\n\n"));
}

}  // namespace openai_response_test
}  // namespace troupe
