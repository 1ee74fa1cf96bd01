#include "net/bridge_bodies.h"

#include <fmt/format.h>

#include "net/json_writer.h"

namespace troupe {

BodyOrError tokenize_body(const Models& models, const std::string& body) {
  auto parsed = parse_tokenize(body);
  if (!parsed) return std::unexpected(RequestError{parsed.error()});
  auto model = choose_model(models, parsed->model);
  if (!model) return std::unexpected(model.error());
  std::vector<TokenId> tokens;
  if (const auto* chat = std::get_if<ChatInput>(&parsed->input)) {
    auto rendered = chat_tokens(*chat, **model);
    if (!rendered) return std::unexpected(RequestError{rendered.error()});
    tokens = std::move(*rendered);
  } else {
    tokens = text_tokens(std::get<TextInput>(parsed->input), **model);
  }
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("tokens").begin_array();
  for (TokenId token : tokens) json.integer(token.value);
  json.end_array().field("count", static_cast<int64_t>(tokens.size()));
  json.field("max_model_len", int64_t{(*model)->context}).end_object();
  return out;
}

BodyOrError detokenize_body(const Models& models, const std::string& body) {
  auto parsed = parse_detokenize(body);
  if (!parsed) return std::unexpected(RequestError{parsed.error()});
  auto model = choose_model(models, parsed->model);
  if (!model) return std::unexpected(model.error());
  const int32_t vocab = (*model)->tokenizer->vocab();
  for (TokenId token : parsed->tokens)
    if (token.value >= vocab)
      return std::unexpected(RequestError{
          {ErrorCode::invalid_argument,
           fmt::format("Token {} is outside the vocabulary of {} tokens.", token.value, vocab),
           "tokens"}});
  std::string out;
  JsonWriter(out)
      .begin_object()
      .field("prompt", (*model)->tokenizer->decode(parsed->tokens))
      .end_object();
  return out;
}

std::string model_body(const ServedModel& model) {
  std::string out;
  JsonWriter(out)
      .begin_object()
      .field("id", model.name)
      .field("object", "model")
      .field("created", model.created)
      .field("owned_by", "troupe")
      .field("max_model_len", int64_t{model.context})
      .end_object();
  return out;
}

std::string models_body(const Models& models) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("object", "list").key("data").begin_array();
  for (const auto& model : models) json.raw(model_body(*model));
  json.end_array().end_object();
  return out;
}

std::string readiness_body(const BridgeState& state) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("ready").boolean(state.readiness.ready && !state.draining);
  json.field("reason", state.draining ? std::string_view("The router is draining.")
                                      : std::string_view(state.readiness.reason));
  json.key("models").begin_array();
  for (const ModelReadiness& model : state.readiness.models) {
    json.begin_object()
        .field("name", model.name)
        .field("groups_ready", int64_t{model.groups_ready});
    json.field("groups", int64_t{model.groups});
    if (!model.reason.empty()) json.field("reason", model.reason);
    json.end_object();
  }
  json.end_array().end_object();
  return out;
}

}  // namespace troupe
