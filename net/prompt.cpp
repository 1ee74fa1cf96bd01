#include "net/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "config/digest.h"

namespace troupe {
namespace {

/// Finds the texts of a tokenizer's control tokens.
class ControlTexts {
 public:
  explicit ControlTexts(const TokenizerSpec& spec) {
    for (const AddedToken& token : spec.added)
      if (token.special && !token.text.empty())
        by_first_[static_cast<unsigned char>(token.text[0])].push_back(token.text);
  }
  /// Length of the longest control text that starts at `at`, 0 if none does.
  size_t match(std::string_view text, size_t at) const {
    size_t longest = 0;
    for (std::string_view candidate : by_first_[static_cast<unsigned char>(text[at])])
      if (candidate.size() > longest && text.compare(at, candidate.size(), candidate) == 0)
        longest = candidate.size();
    return longest;
  }

 private:
  std::array<std::vector<std::string_view>, 256> by_first_;
};

size_t character_bytes(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/// Breaks every control text in `text` by a marker after its first character.
void shield(std::string& text, const ControlTexts& controls, std::string_view marker) {
  std::string out;
  size_t copied = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (controls.match(text, i) == 0) continue;
    const size_t cut = std::min(i + character_bytes(text[i]), text.size());
    out.append(text, copied, cut - copied);
    out += marker;
    copied = cut;
  }
  if (copied == 0) return;
  out.append(text, copied);
  text = std::move(out);
}

void shield(TemplateValue& value, const ControlTexts& controls, std::string_view marker) {
  if (value.kind == TemplateValue::Kind::string) shield(value.string, controls, marker);
  for (TemplateValue& item : value.array) shield(item, controls, marker);
  for (TemplateMember& member : value.object) shield(member.value, controls, marker);
}

bool mentions(const TemplateValue& value, std::string_view text) {
  if (value.string.find(text) != std::string::npos) return true;
  return std::ranges::any_of(value.array, [&](const auto& item) { return mentions(item, text); }) ||
         std::ranges::any_of(value.object,
                             [&](const auto& member) { return mentions(member.value, text); });
}

/// U+FDD0 to U+FDEF mean nothing to anyone; the first that the client did not send serves as the
/// marker.
std::optional<std::string> free_marker(const ChatInput& input) {
  for (int last = 0x90; last <= 0xaf; ++last) {
    std::string marker = {'\xef', '\xb7', static_cast<char>(last)};
    if (!mentions(input.messages, marker) && !mentions(input.tools, marker)) return marker;
  }
  return std::nullopt;
}

/// Tokens of a rendered template: control texts count, except in the runs between two of them where
/// a marker shows that the client wrote one; those runs are taken as plain text.
std::vector<TokenId> encode_rendered(std::string_view text, const Tokenizer& tokenizer,
                                     const ControlTexts& controls, std::string_view marker) {
  if (text.find(marker) == std::string_view::npos)
    return tokenizer.encode(text, SpecialText::parse);
  std::vector<TokenId> tokens;
  auto add = [&](std::string_view piece, SpecialText special) {
    const auto more = tokenizer.encode(piece, special);
    tokens.insert(tokens.end(), more.begin(), more.end());
  };
  size_t trusted = 0;  // start of what was not encoded yet and holds no marker
  size_t run = 0;      // start of the run since the last control text
  auto end_run = [&](size_t end) {
    std::string plain(text.substr(run, end - run));
    if (plain.find(marker) == std::string::npos) return;
    if (run > trusted) add(text.substr(trusted, run - trusted), SpecialText::parse);
    for (size_t at; (at = plain.find(marker)) != std::string::npos;) plain.erase(at, marker.size());
    add(plain, SpecialText::plain);
    trusted = end;
  };
  for (size_t i = 0; i < text.size();) {
    const size_t length = controls.match(text, i);
    if (length == 0) {
      ++i;
      continue;
    }
    end_run(i);
    i += length;
    run = i;
  }
  end_run(text.size());
  if (trusted < text.size()) add(text.substr(trusted), SpecialText::parse);
  return tokens;
}

TemplateValue string_value(std::string text) {
  TemplateValue value;
  value.kind = TemplateValue::Kind::string;
  value.string = std::move(text);
  return value;
}

std::string control_text(const TokenizerSpec& spec, std::optional<TokenId> token) {
  if (!token || token->value < 0 || static_cast<size_t>(token->value) >= spec.tokens.size())
    return {};
  return spec.tokens[static_cast<size_t>(token->value)].text;
}

Error outside_vocab(int32_t id, int32_t vocab, std::string param) {
  return {ErrorCode::invalid_argument,
          fmt::format("Token {} is outside the vocabulary of {} tokens.", id, vocab),
          std::move(param)};
}

Result<void> check_ids(const GenerationRequest& request, int32_t vocab) {
  for (const auto& [token, bias] : request.sampling.bias)
    if (token >= vocab) return std::unexpected(outside_vocab(token, vocab, "logit_bias"));
  for (TokenId token : request.stop_ids)
    if (token.value >= vocab)
      return std::unexpected(outside_vocab(token.value, vocab, "stop_token_ids"));
  return {};
}

Result<std::vector<TokenId>> tokens_of(const PromptInput& input, const ServedModel& model,
                                       const std::string& param) {
  if (const auto* chat = std::get_if<ChatInput>(&input)) return chat_tokens(*chat, model);
  if (const auto* text = std::get_if<TextInput>(&input)) return text_tokens(*text, model);
  const auto& tokens = std::get<std::vector<TokenId>>(input);
  const int32_t vocab = model.tokenizer->vocab();
  for (TokenId token : tokens)
    if (token.value >= vocab) return std::unexpected(outside_vocab(token.value, vocab, param));
  return tokens;
}

std::string_view input_param(Api api) {
  switch (api) {
    case Api::chat:
      return "messages";
    case Api::completions:
      return "prompt";
    case Api::inference:
      return "input_text";
  }
  return {};
}

}  // namespace

Result<std::vector<TokenId>> chat_tokens(const ChatInput& input, const ServedModel& model) {
  if (!model.chat_template)
    return fail(ErrorCode::unsupported,
                fmt::format("The model {} has no chat template: use /v1/completions.", model.name),
                "messages");
  const bool has_tools = input.tools.kind == TemplateValue::Kind::array;
  if (has_tools && !model.chat_template->uses("tools"))
    return fail(ErrorCode::unsupported,
                fmt::format("The chat template of {} takes no tools: leave them out.", model.name),
                "tools");
  const TokenizerSpec& spec = model.tokenizer->spec();
  const ControlTexts controls(spec);
  const auto marker = free_marker(input);
  if (!marker)
    return fail(ErrorCode::invalid_argument,
                "The messages hold every noncharacter from U+FDD0 to U+FDEF: remove one.",
                "messages");
  TemplateValue messages = input.messages;
  TemplateValue tools = input.tools;
  shield(messages, controls, *marker);
  shield(tools, controls, *marker);
  if (!has_tools) tools.kind = TemplateValue::Kind::none;
  std::vector<TemplateMember> globals = input.extra;
  // A template argument of the client must not take the place of what the server says.
  std::erase_if(globals, [](const TemplateMember& member) {
    return member.name == "messages" || member.name == "tools" || member.name == "bos_token" ||
           member.name == "eos_token" || member.name == "add_generation_prompt";
  });
  for (TemplateMember& member : globals) shield(member.value, controls, *marker);
  globals.push_back({"messages", std::move(messages)});
  globals.push_back({"tools", std::move(tools)});
  globals.push_back({"bos_token", string_value(control_text(spec, spec.bos))});
  globals.push_back({"eos_token", string_value(control_text(spec, spec.eos))});
  TemplateValue generate;
  generate.kind = TemplateValue::Kind::boolean;
  generate.boolean = input.add_generation_prompt;
  globals.push_back({"add_generation_prompt", std::move(generate)});
  auto text = model.chat_template->render(globals);
  if (!text) {
    // Whatever the template objects to, it objects to the conversation.
    const ErrorCode code = text.error().code == ErrorCode::too_large ? ErrorCode::too_large
                                                                     : ErrorCode::invalid_argument;
    return fail(code, text.error().message, "messages");
  }
  return encode_rendered(*text, *model.tokenizer, controls, *marker);
}

std::vector<TokenId> text_tokens(const TextInput& input, const ServedModel& model) {
  // A raw prompt is the whole input of the model, so its author may spell control tokens (as vLLM
  // and llama.cpp do).
  auto tokens = model.tokenizer->encode(input.text, SpecialText::parse);
  return input.add_special_tokens ? model.tokenizer->with_bos_eos(std::move(tokens)) : tokens;
}

namespace {

/// The request for one of the prompts; `param` names it in errors.
std::expected<ClientRequest, RequestError> prepare_one(const GenerationRequest& request,
                                                       const PromptInput& input, std::string param,
                                                       const ServedModel& model,
                                                       const Salt& tenant) {
  auto refuse = [](Error error, std::string_view code = {}) {
    return std::unexpected(RequestError{std::move(error), code});
  };
  auto tokens = tokens_of(input, model, param);
  if (!tokens) return refuse(tokens.error());
  const auto length = static_cast<int64_t>(tokens->size());
  if (length == 0)
    return refuse(
        {ErrorCode::invalid_argument, "The prompt has no tokens: send some text.", param});
  if (length >= model.context)
    return refuse(
        {ErrorCode::invalid_argument,
         fmt::format(
             "The prompt has {} tokens, the context of {} is {} tokens and the answer needs at "
             "least one: shorten the prompt.",
             length, model.name, model.context),
         param},
        "context_length_exceeded");
  ClientRequest out;
  out.model = model.name;
  out.tokenizer = model.tokenizer;
  out.prompt = std::move(*tokens);
  out.choices = request.choices;
  const auto left = static_cast<int32_t>(model.context - length);
  out.max_new = std::clamp(request.max_tokens.value_or(left), 1, left);
  out.sampling = request.sampling;
  out.sampling.min_new = std::min(out.sampling.min_new, out.max_new);
  out.stop_strings = request.stop;
  if (!request.sampling.ignore_eos) out.stop_ids = model.tokenizer->spec().end_of_generation;
  out.stop_ids.insert(out.stop_ids.end(), request.stop_ids.begin(), request.stop_ids.end());
  out.score_prompt = request.echo && request.logprobs;
  out.tenant = tenant;
  return out;
}

}  // namespace

std::expected<std::vector<ClientRequest>, RequestError> prepare(const GenerationRequest& request,
                                                                const ServedModel& model,
                                                                const Salt& tenant) {
  if (auto checked = check_ids(request, model.tokenizer->vocab()); !checked)
    return std::unexpected(RequestError{checked.error()});
  const std::string_view param = input_param(request.api);
  std::vector<ClientRequest> out;
  out.reserve(request.inputs.size());
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    auto one = prepare_one(
        request, request.inputs[i],
        request.inputs.size() == 1 ? std::string(param) : fmt::format("{}[{}]", param, i), model,
        tenant);
    if (!one) return std::unexpected(one.error());
    out.push_back(std::move(*one));
  }
  return out;
}

Digest cache_key(const ClientRequest& request, const ServedModel& model) {
  DigestBuilder key;
  auto real = [&](float value) { key.add(std::bit_cast<uint32_t>(value)); };
  auto bytes = [](const auto& array) { return std::as_bytes(std::span(array)); };
  key.add("troupe response 1")
      .add(bytes(request.tenant))
      .add(bytes(model.numerics_id))
      .add(bytes(model.weights_id));
  key.add(bytes(request.prompt));
  const Sampling& s = request.sampling;
  for (float value : {s.temperature, s.top_p, s.min_p, s.repetition, s.presence, s.frequency})
    real(value);
  // At temperature 0 nothing is drawn: the seed makes no difference.
  key.add(static_cast<uint64_t>(s.top_k))
      .add(s.temperature == 0 ? 0 : s.seed)
      .add(static_cast<uint64_t>(s.n_logprobs));
  key.add(static_cast<uint64_t>(s.min_new))
      .add(static_cast<uint64_t>(s.ignore_eos))
      .add(s.bias.size());
  for (const auto& [token, bias] : s.bias) {
    key.add(static_cast<uint64_t>(token));
    real(bias);
  }
  key.add(static_cast<uint64_t>(request.choices)).add(static_cast<uint64_t>(request.max_new));
  key.add(static_cast<uint64_t>(request.score_prompt))
      .add(bytes(request.stop_ids))
      .add(request.stop_strings.size());
  for (const std::string& stop : request.stop_strings) key.add(stop);
  return key.finish();
}

}  // namespace troupe
