#include "net/openapi_schemas.h"

namespace troupe {
namespace {

using namespace schema;

std::string word(std::string_view only) { return words({only}); }
std::string finish() { return words({"stop", "length", "abort"}); }

std::string error() {
  return answer({{"error", answer({{"message", text_of(1, 4096)},
                                   {"type", text()},
                                   {"param", or_null(text())},
                                   {"code", or_null(text())}})}});
}

std::string usage() {
  return answer({{"prompt_tokens", count()},
                 {"completion_tokens", count()},
                 {"total_tokens", count()},
                 {"prompt_tokens_details", answer({{"cached_tokens", count()}})}});
}

std::string timings() {
  const std::string ms = R"({"type":"number","minimum":0})";
  return answer({{"queue_ms", ms},
                 {"prefill_ms", ms},
                 {"ttft_ms", ms},
                 {"decode_ms", ms},
                 {"prompt_tokens", count()},
                 {"cached_tokens", count()},
                 {"generated_tokens", count()},
                 {"attempts", count()}});
}

std::string chat_logprobs() {
  const std::vector<Field> token = {
      {"token", text()}, {"logprob", number()}, {"bytes", list(integer(0, 255))}};
  std::vector<Field> shown = token;
  shown.push_back({"top_logprobs", list(answer(token))});
  return answer({{"content", list(answer(shown))}});
}

std::string completion_logprobs() {
  return answer({{"text_offset", list(count())},
                 {"token_logprobs", list(or_null(number()))},
                 {"tokens", list(text())},
                 {"top_logprobs", list(or_null(map(number())))}});
}

/// `prefix` of ids, `object` and one choice make a whole answer or an event of a stream.
std::vector<Field> body(std::string_view prefix, std::string_view object, std::string choice) {
  std::string id = R"({"type":"string","pattern":"^)";
  id += prefix;
  id += R"(-[0-9a-f]{32}$"})";
  return {{"id", id},
          {"object", word(object)},
          {"created", count()},
          {"model", text()},
          {"choices", list(std::move(choice))}};
}

std::string whole(std::string_view prefix, std::string_view object, std::string choice) {
  std::vector<Field> fields = body(prefix, object, std::move(choice));
  fields.push_back({"usage", ref("Usage")});
  fields.push_back({"timings", ref("Timings")});
  return answer(fields);
}

/// The last event has timings; usage is null but in that one, and absent unless asked for.
std::string event(std::string_view prefix, std::string_view object, std::string choice) {
  return any_of({answer(body(prefix, object, std::move(choice)),
                        {{"usage", or_null(ref("Usage"))}, {"timings", ref("Timings")}}),
                 ref("Error")});
}

std::string chat_choice() {
  return answer({{"index", count()},
                 {"message", answer({{"role", word("assistant")}, {"content", text()}})},
                 {"logprobs", or_null(ref("ChatLogprobs"))},
                 {"finish_reason", finish()}});
}
std::string chat_delta() {
  return answer({{"index", count()},
                 {"delta", answer({}, {{"role", word("assistant")}, {"content", text()}})},
                 {"logprobs", or_null(ref("ChatLogprobs"))},
                 {"finish_reason", or_null(finish())}});
}
std::string text_choice(std::string finish_reason) {
  return answer({{"index", count()},
                 {"text", text()},
                 {"logprobs", or_null(ref("CompletionLogprobs"))},
                 {"finish_reason", std::move(finish_reason)}});
}

std::string inference_answer() {
  return answer({{"predictions", list(answer({{"text", text()}, {"finish_reason", finish()}}))},
                 {"confidence", or_null(number(0, 1))},
                 {"usage", ref("Usage")},
                 {"request_id", text()},
                 {"model", text()},
                 {"timings", ref("Timings")}});
}

std::string readiness() {
  return answer(
      {{"ready", boolean()},
       {"reason", text()},
       {"models", list(answer({{"name", text()}, {"groups_ready", count()}, {"groups", count()}},
                              {{"reason", text()}}))}});
}

}  // namespace

std::vector<Field> answer_schemas() {
  return {
      {"Error", error()},
      {"Usage", usage()},
      {"Timings", timings()},
      {"ChatLogprobs", chat_logprobs()},
      {"CompletionLogprobs", completion_logprobs()},
      {"ChatAnswer", whole("chatcmpl", "chat.completion", chat_choice())},
      {"ChatEvent", event("chatcmpl", "chat.completion.chunk", chat_delta())},
      {"CompletionAnswer", whole("cmpl", "text_completion", text_choice(finish()))},
      {"CompletionEvent", event("cmpl", "text_completion", text_choice(or_null(finish())))},
      {"InferenceAnswer", inference_answer()},
      {"TokenizeAnswer",
       answer({{"tokens", list(count())}, {"count", count()}, {"max_model_len", count()}})},
      {"DetokenizeAnswer", answer({{"prompt", text()}})},
      {"Model", answer({{"id", text()},
                        {"object", word("model")},
                        {"created", count()},
                        {"owned_by", text()},
                        {"max_model_len", count()}})},
      {"ModelList", answer({{"object", word("list")}, {"data", list(ref("Model"))}})},
      {"Readiness", readiness()},
      {"Liveness", answer({{"live", boolean()}})},
  };
}

}  // namespace troupe
