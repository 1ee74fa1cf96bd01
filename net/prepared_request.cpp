#include "net/prepared_request.h"

#include "net/answer_key.h"
#include "net/openai_request.h"

namespace troupe {
namespace {

std::optional<KeptAnswer> find_kept(ResponseCache& answers, const Digest& key) {
  auto bytes = answers.get(key);
  if (!bytes) return std::nullopt;
  auto text = AnswerTemplate::open(*bytes);
  if (!text) return std::nullopt;
  return KeptAnswer{std::move(bytes), *text};
}

AnswerInfo answer_info(const GenerationRequest& parsed, const ServedModel& model,
                       const std::vector<ClientRequest>& requests) {
  AnswerInfo info;
  info.api = parsed.api;
  info.model = model.name;
  info.prompts = static_cast<int32_t>(requests.size());
  info.choices = parsed.choices;
  info.logprobs = parsed.logprobs;
  info.include_usage = parsed.include_usage;
  info.echo = parsed.echo;
  info.hide_answer = parsed.max_tokens == 0;
  info.tokenizer = model.tokenizer;
  for (size_t i = 0; parsed.echo && i < requests.size(); ++i) {
    const std::vector<TokenId>& tokens = requests[i].prompt;
    const auto* text = std::get_if<TextInput>(&parsed.inputs[i]);
    info.echoed.push_back({text ? text->text : model.tokenizer->decode(tokens),
                           parsed.logprobs ? tokens : std::vector<TokenId>()});
  }
  return info;
}

}  // namespace

std::expected<std::shared_ptr<const ServedModel>, RequestError> choose_model(
    const Models& models, const std::string& name) {
  if (models.empty())
    return std::unexpected(RequestError{
        {ErrorCode::unavailable, "No model is loaded yet: retry soon, /readyz says why.", ""}});
  if (name.empty() && models.size() == 1) return models.front();
  if (name.empty())
    return std::unexpected(RequestError{
        {ErrorCode::invalid_argument, "`model` is missing: see GET /v1/models.", "model"}});
  for (const auto& model : models)
    if (model->name == name) return model;
  return std::unexpected(RequestError{
      {ErrorCode::not_found, "No such model is served here: see GET /v1/models.", "model"},
      "model_not_found"});
}

std::expected<PreparedRequest, RequestError> prepare_request(Api api, const Models& models,
                                                             const std::string& body,
                                                             const Salt& tenant,
                                                             ResponseCache* answers) {
  auto parsed = parse_generation(api, body);
  if (!parsed) return std::unexpected(RequestError{parsed.error()});
  auto model = choose_model(models, parsed->model);
  if (!model) return std::unexpected(model.error());
  PreparedRequest out;
  out.model = *model;
  out.shape = parsed->stream ? AnswerShape::stream : AnswerShape::whole;
  if (answers) {
    out.key = answer_key(*parsed, **model, tenant);
    if (out.key) out.kept = find_kept(*answers, *out.key);
    if (out.kept) return out;
  }
  auto requests = prepare(*parsed, **model, tenant);
  if (!requests) return std::unexpected(requests.error());
  out.requests = std::move(*requests);
  out.has_seed = parsed->has_seed;
  out.answer = answer_info(*parsed, **model, out.requests);
  return out;
}

}  // namespace troupe
