#include "net/openai_request.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "config/limits.h"
#include "net/chat_input.h"
#include "net/json_fields.h"

namespace troupe {

namespace dom = simdjson::dom;

namespace {

constexpr int32_t kIntMax = std::numeric_limits<int32_t>::max();

/// Fields that change the answer in ways this server cannot: refused when set at all.
constexpr std::string_view kUnsupported[] = {
    "functions",       "function_call",      "audio",
    "prediction",      "web_search_options", "suffix",
    "guided_json",     "guided_regex",       "guided_choice",
    "guided_grammar",  "structured_outputs", "grammar",
    "json_schema",     "chat_template",      "documents",
    "prompt_logprobs", "logits_processors",  "truncate_prompt_tokens"};
/// Booleans whose default is false and whose true is not supported.
constexpr std::string_view kUnsupportedFlags[] = {"use_beam_search", "include_stop_str_in_output",
                                                  "continue_final_message"};

void refuse_unsupported(JsonFields& fields) {
  for (std::string_view name : kUnsupported) {
    const auto element = fields.find(name);
    if (!element) continue;
    std::string_view text;
    if (name == "suffix" && !element->get(text) && text.empty()) continue;
    fields.wrong(name, fmt::format("`{}` is not supported by this server: leave it out.", name),
                 ErrorCode::unsupported);
  }
  for (std::string_view name : kUnsupportedFlags)
    if (fields.boolean(name).value_or(false))
      fields.wrong(name, fmt::format("`{}` is not supported by this server: leave it out.", name),
                   ErrorCode::unsupported);
  if (!fields.boolean("skip_special_tokens").value_or(true))
    fields.wrong("skip_special_tokens",
                 "`skip_special_tokens` must be true: control tokens have no text here.",
                 ErrorCode::unsupported);
  if (const auto format = fields.object("response_format")) {
    JsonFields inner(*format, "response_format.");
    const auto type = inner.string("type");
    if (!inner.error() && type != "text")
      fields.wrong("response_format",
                   "`response_format.type` must be \"text\": this server has no grammars yet.",
                   ErrorCode::unsupported);
    fields.adopt(inner.error());
  }
  if (const auto modalities = fields.array("modalities"))
    for (dom::element modality : *modalities) {
      std::string_view word;
      if (modality.get(word) || word != "text")
        fields.wrong("modalities", "`modalities` must be [\"text\"]: this server makes only text.",
                     ErrorCode::unsupported);
    }
}

void read_sampling(JsonFields& fields, GenerationRequest& request) {
  Sampling& sampling = request.sampling;
  auto real = [&](std::string_view name, double min, double max, float& into) {
    if (const auto value = fields.number(name, min, max)) into = static_cast<float>(*value);
  };
  real("temperature", 0, 2, sampling.temperature);
  real("top_p", 0, 1, sampling.top_p);
  real("min_p", 0, 1, sampling.min_p);
  real("repetition_penalty", 0.01, 100, sampling.repetition);
  real("presence_penalty", -2, 2, sampling.presence);
  real("frequency_penalty", -2, 2, sampling.frequency);
  if (sampling.top_p <= 0) fields.wrong("top_p", "`top_p` must be greater than 0 and at most 1.");
  if (const auto value = fields.integer("top_k", -1, kIntMax))
    sampling.top_k = *value < 0 ? 0 : static_cast<int32_t>(*value);
  if (const auto value = fields.integer("min_tokens", 0, kIntMax))
    sampling.min_new = static_cast<int32_t>(*value);
  sampling.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  if (const auto seed = fields.integer("seed", std::numeric_limits<int64_t>::min(),
                                       std::numeric_limits<int64_t>::max())) {
    sampling.seed = static_cast<uint64_t>(*seed);
    request.has_seed = true;
  }
  const auto bias = fields.object("logit_bias");
  if (!bias) return;
  if (bias->size() > kLogitBiasMax)
    fields.wrong("logit_bias",
                 fmt::format("`logit_bias` has more than {} entries: send fewer.", kLogitBiasMax));
  for (dom::key_value_pair pair : *bias) {
    int32_t token = 0;
    const auto [end, error] =
        std::from_chars(pair.key.data(), pair.key.data() + pair.key.size(), token);
    double value = 0;
    if (error != std::errc{} || end != pair.key.data() + pair.key.size() || token < 0)
      fields.wrong("logit_bias", "`logit_bias` must have token ids as its keys.");
    else if (!pair.value.is_number() || pair.value.get(value) || value < -100 || value > 100)
      fields.wrong(
          "logit_bias",
          fmt::format("`logit_bias` of token {} must be a number between -100 and 100.", token));
    else
      sampling.bias.emplace_back(token, static_cast<float>(value));
    if (fields.error()) return;
  }
}

void read_stops(JsonFields& fields, GenerationRequest& request) {
  if (const auto stop = fields.find("stop")) {
    std::string_view text;
    dom::array list;
    if (!stop->get(text)) {
      request.stop.emplace_back(text);
    } else if (!stop->get(list)) {
      for (dom::element item : list) {
        if (item.get(text)) {
          fields.wrong("stop", fmt::format("`stop` must hold strings, not {}.", json_kind(item)));
          break;
        }
        request.stop.emplace_back(text);
        if (request.stop.size() > kStopStringsMax) break;
      }
    } else {
      fields.wrong("stop", fmt::format("`stop` must be a string or an array of strings, not {}.",
                                       json_kind(*stop)));
    }
  }
  if (request.stop.size() > kStopStringsMax)
    fields.wrong("stop",
                 fmt::format("`stop` has more than {} strings: send fewer.", kStopStringsMax));
  for (const std::string& stop : request.stop) {
    if (stop.empty()) fields.wrong("stop", "`stop` must not hold an empty string.");
    if (stop.size() > kStopStringBytesMax)
      fields.wrong("stop", fmt::format("`stop` holds a string longer than {} bytes: shorten it.",
                                       kStopStringBytesMax));
  }
  const auto ids = fields.array("stop_token_ids");
  if (!ids) return;
  for (dom::element item : *ids) {
    int64_t id = 0;
    if (item.get(id) || id < 0 || id >= kVocabMax)
      return fields.wrong("stop_token_ids", "`stop_token_ids` must hold token ids.");
    request.stop_ids.push_back(TokenId(static_cast<int32_t>(id)));
    if (request.stop_ids.size() > kStopStringsMax)
      return fields.wrong(
          "stop_token_ids",
          fmt::format("`stop_token_ids` has more than {} ids: send fewer.", kStopStringsMax));
  }
}

void read_length(JsonFields& fields, GenerationRequest& request) {
  // Only scoring of a prompt makes sense without a new token.
  const int64_t least = request.api == Api::completions && request.echo && !request.stream ? 0 : 1;
  const char* names[] = {"max_completion_tokens", "max_tokens"};
  for (const char* name : names)
    if (const auto value = fields.integer(name, least, kIntMax); value && !request.max_tokens)
      request.max_tokens = static_cast<int32_t>(*value);
  if (request.max_tokens && request.sampling.min_new > *request.max_tokens)
    fields.wrong("min_tokens",
                 fmt::format("`min_tokens` is {}, more than `max_tokens`, which is {}.",
                             request.sampling.min_new, *request.max_tokens));
}

void read_stream(JsonFields& fields, GenerationRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const auto options = fields.object("stream_options");
  if (!options) return;
  if (!request.stream)
    fields.wrong("stream_options", "`stream_options` is only allowed when `stream` is true.");
  JsonFields inner(*options, "stream_options.");
  request.include_usage = inner.boolean("include_usage").value_or(false);
  fields.adopt(inner.error());
}

void read_chat(JsonFields& fields, GenerationRequest& request) {
  request.inputs.emplace_back(read_chat_input(fields));
  request.logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, kTopLogprobsMax);
  if (top.value_or(0) > 0 && !request.logprobs)
    fields.wrong("top_logprobs", "`top_logprobs` needs `logprobs` to be true.");
  if (request.logprobs) request.sampling.n_logprobs = static_cast<int32_t>(top.value_or(0));
}

void read_token_prompt(JsonFields& fields, std::string_view name, dom::array list,
                       std::vector<TokenId>& tokens) {
  tokens.reserve(list.size());
  for (dom::element item : list) {
    int64_t id = 0;
    if (item.get(id) || id < 0 || id >= kVocabMax)
      return fields.wrong(
          name, fmt::format(
                    "`{}` must be a string or a list of token ids, which are small whole numbers.",
                    name));
    tokens.push_back(TokenId(static_cast<int32_t>(id)));
  }
}

PromptInput read_one_prompt(JsonFields& fields, std::string_view name, dom::element prompt,
                            bool add_special) {
  std::string_view text;
  if (!prompt.get(text)) {
    if (text.empty()) fields.wrong(name, fmt::format("`{}` is empty: send some text.", name));
    return TextInput{std::string(text), add_special};
  }
  std::vector<TokenId> tokens;
  dom::array list;
  if (prompt.get(list)) {
    fields.wrong(name, fmt::format("`{}` must be a string or a list of token ids, not {}.", name,
                                   json_kind(prompt)));
    return tokens;
  }
  read_token_prompt(fields, name, list, tokens);
  if (tokens.empty())
    fields.wrong(name, fmt::format("`{}` is empty: send at least one token.", name));
  return tokens;
}

void read_prompts(JsonFields& fields, GenerationRequest& request) {
  const auto prompt = fields.find("prompt");
  if (!prompt)
    return fields.wrong("prompt", "`prompt` is missing: send a string or a list of token ids.");
  const bool add_special = fields.boolean("add_special_tokens").value_or(true);
  dom::array list;
  // A list of numbers is one prompt, any other list is one of prompts.
  const bool several =
      !prompt->get(list) && list.size() > 0 && !list.at(0).value_unsafe().is_number();
  if (!several) {
    request.inputs.push_back(read_one_prompt(fields, "prompt", *prompt, add_special));
    return;
  }
  const size_t answers = list.size() * static_cast<size_t>(request.choices);
  if (list.size() > kPromptsMax)
    return fields.wrong(
        "prompt", fmt::format("`prompt` holds {} prompts: send at most {} a request.", list.size(),
                              kPromptsMax));
  if (answers > kAnswersPerRequestMax)
    return fields.wrong(
        "prompt", fmt::format("`prompt` holds {} prompts and `n` is {}, which makes {} answers: "
                              "ask for at most {} a request.",
                              list.size(), request.choices, answers, kAnswersPerRequestMax));
  for (dom::element one : list) {
    const size_t index = request.inputs.size();
    const std::string name = list.size() == 1 ? "prompt" : fmt::format("prompt[{}]", index);
    request.inputs.push_back(read_one_prompt(fields, name, one, add_special));
    if (fields.error()) return;
  }
}

void read_completion(JsonFields& fields, GenerationRequest& request) {
  read_prompts(fields, request);
  request.echo = fields.boolean("echo").value_or(false);
  if (const auto count = fields.integer("logprobs", 0, kTopLogprobsMax)) {
    request.logprobs = true;
    request.sampling.n_logprobs = static_cast<int32_t>(*count);
  }
  const auto best_of = fields.integer("best_of", 1, kIntMax);
  if (best_of && *best_of != request.choices)
    fields.wrong("best_of", "`best_of` must equal `n`: this server does not rank answers.",
                 ErrorCode::unsupported);
}

void read_inference(JsonFields& fields, GenerationRequest& request) {
  request.sampling.temperature = 0.7f;
  request.max_tokens = 128;
  request.logprobs = true;  // the confidence is made from them
  request.sampling.n_logprobs = 0;
  const auto text = fields.string("input_text");
  if (!text)
    fields.wrong("input_text", "`input_text` is missing: send the text to go on from.");
  else if (text->empty())
    fields.wrong("input_text", "`input_text` is empty: send some text.");
  if (const auto length = fields.integer("max_length", 1, kIntMax))
    request.max_tokens = static_cast<int32_t>(*length);
  if (fields.boolean("stream").value_or(false))
    fields.wrong("stream", "`stream` is not supported on /v1/inference: use /v1/chat/completions.",
                 ErrorCode::unsupported);
  if (!text) return;
  if (fields.boolean("raw").value_or(false))
    request.inputs.emplace_back(TextInput{std::string(*text)});
  else
    request.inputs.emplace_back(single_user_message(std::string(*text)));
}

std::string read_model(JsonFields& fields) {
  const auto model = fields.string("model");
  return model ? std::string(*model) : std::string();
}

}  // namespace

Result<GenerationRequest> parse_generation(Api api, std::string_view body) {
  auto json = JsonBody::parse(body);
  if (!json) return std::unexpected(json.error());
  auto object = json->object();
  if (!object) return std::unexpected(object.error());
  JsonFields fields(*object);
  GenerationRequest request;
  request.api = api;
  request.model = read_model(fields);
  request.choices = static_cast<int32_t>(fields.integer("n", 1, kChoicesMax).value_or(1));
  if (api != Api::inference) read_stream(fields, request);
  switch (api) {
    case Api::chat:
      read_chat(fields, request);
      break;
    case Api::completions:
      read_completion(fields, request);
      break;
    case Api::inference:
      read_inference(fields, request);
      break;
  }
  read_sampling(fields, request);
  read_stops(fields, request);
  if (api != Api::inference) read_length(fields, request);
  refuse_unsupported(fields);
  if (fields.error()) return std::unexpected(*fields.error());
  return request;
}

Result<TokenizeRequest> parse_tokenize(std::string_view body) {
  auto json = JsonBody::parse(body);
  if (!json) return std::unexpected(json.error());
  auto object = json->object();
  if (!object) return std::unexpected(object.error());
  JsonFields fields(*object);
  TokenizeRequest request;
  request.model = read_model(fields);
  if (const auto prompt = fields.string("prompt"))
    request.input =
        TextInput{std::string(*prompt), fields.boolean("add_special_tokens").value_or(true)};
  else if (fields.find("messages"))
    request.input = read_chat_input(fields);
  else
    fields.wrong("prompt", "`prompt` is missing: send `prompt` or `messages`.");
  if (fields.error()) return std::unexpected(*fields.error());
  return request;
}

Result<DetokenizeRequest> parse_detokenize(std::string_view body) {
  auto json = JsonBody::parse(body);
  if (!json) return std::unexpected(json.error());
  auto object = json->object();
  if (!object) return std::unexpected(object.error());
  JsonFields fields(*object);
  DetokenizeRequest request;
  request.model = read_model(fields);
  const auto tokens = fields.array("tokens");
  if (!tokens) fields.wrong("tokens", "`tokens` is missing: send an array of token ids.");
  if (tokens) {
    for (dom::element item : *tokens) {
      int64_t id = 0;
      if (item.get(id) || id < 0 || id >= kVocabMax) {
        fields.wrong("tokens", "`tokens` must hold token ids, which are small whole numbers.");
        break;
      }
      request.tokens.push_back(TokenId(static_cast<int32_t>(id)));
    }
  }
  if (fields.error()) return std::unexpected(*fields.error());
  return request;
}

}  // namespace troupe
