#include <limits>

#include "config/limits.h"
#include "net/openapi_schemas.h"

namespace troupe {
namespace {

using namespace schema;

constexpr int64_t kSchemaIntMax = std::numeric_limits<int32_t>::max();

std::string tokens() { return list(integer(0, kVocabMax - 1)); }

std::string stop() {
  const std::string one = text_of(1, kStopStringBytesMax);
  return any_of({one, list(one, 0, kStopStringsMax)});
}

/// What all routes that generate have in common.
std::vector<Field> sampling() {
  return {{"model", text()},
          {"n", integer(1, kChoicesMax)},
          {"temperature", number(0, 2)},
          {"top_p", R"({"type":"number","exclusiveMinimum":0,"maximum":1})"},
          {"min_p", number(0, 1)},
          {"top_k", integer(-1, kSchemaIntMax)},
          {"repetition_penalty", number(0.01, 100)},
          {"presence_penalty", number(-2, 2)},
          {"frequency_penalty", number(-2, 2)},
          {"logit_bias", map(number(-100, 100))},
          {"seed", R"({"type":"integer","format":"int64"})"},
          {"min_tokens", integer(0, kSchemaIntMax)},
          {"ignore_eos", boolean()},
          {"stop", stop()},
          {"stop_token_ids", list(integer(0, kVocabMax - 1), 0, kStopStringsMax)}};
}

std::vector<Field> streaming() {
  return {{"stream", boolean()}, {"stream_options", request({}, {{"include_usage", boolean()}})}};
}

/// What a conversation is made of, for chat and for tokenize.
std::vector<Field> conversation() {
  return {{"tools", list(map(anything()))},
          {"tool_choice", words({"auto", "none"})},
          {"chat_template_kwargs", map(anything())},
          {"add_generation_prompt", boolean()}};
}
std::string messages() { return list(ref("Message"), 1, kMessagesMax); }

std::vector<Field> together(std::vector<std::vector<Field>> parts) {
  std::vector<Field> all;
  for (auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::string message() {
  const std::string part = request({{"type", words({"text"})}, {"text", text()}}, {});
  return request({{"role", words({"system", "developer", "user", "assistant", "tool"})}},
                 {{"content", any_of({text(), list(part)})},
                  {"name", text()},
                  {"tool_call_id", text()},
                  {"reasoning_content", text()},
                  {"tool_calls", list(anything())}});
}

std::string chat() {
  return request({{"messages", messages()}},
                 together({sampling(),
                           streaming(),
                           conversation(),
                           {{"max_tokens", integer(1, kSchemaIntMax)},
                            {"max_completion_tokens", integer(1, kSchemaIntMax)},
                            {"logprobs", boolean()},
                            {"top_logprobs", integer(0, kTopLogprobsMax)},
                            {"response_format", request({{"type", words({"text"})}}, {})},
                            {"modalities", list(words({"text"}))}}}));
}

std::string completion() {
  const std::string one = any_of(
      {R"({"type":"string","minLength":1})", list(integer(0, kVocabMax - 1), 1, kContextMax)});
  return request({{"prompt", any_of({one, list(one, 1, kPromptsMax)})}},
                 together({sampling(),
                           streaming(),
                           {{"max_tokens", integer(0, kSchemaIntMax)},
                            {"max_completion_tokens", integer(0, kSchemaIntMax)},
                            {"echo", boolean()},
                            {"logprobs", integer(0, kTopLogprobsMax)},
                            {"best_of", integer(1, kChoicesMax)},
                            {"add_special_tokens", boolean()}}}));
}

std::string inference_request() {
  return request(
      {{"input_text", R"({"type":"string","minLength":1})"}},
      together({sampling(), {{"max_length", integer(1, kSchemaIntMax)}, {"raw", boolean()}}}));
}

std::string tokenize() {
  return any_of(
      {request({{"prompt", text()}}, {{"model", text()}, {"add_special_tokens", boolean()}}),
       request({{"messages", messages()}},
               together({conversation(), {{"model", text()}, {"prompt", null()}}}))});
}

}  // namespace

std::vector<Field> request_schemas() {
  return {{"Message", message()},
          {"ChatRequest", chat()},
          {"CompletionRequest", completion()},
          {"InferenceRequest", inference_request()},
          {"TokenizeRequest", tokenize()},
          {"DetokenizeRequest", request({{"tokens", tokens()}}, {{"model", text()}})}};
}

}  // namespace troupe
