// From the bytes of a request body to what is asked for, or an error with the field at fault. Pure.
// Policy: unknown fields are ignored; known fields that are not supported are refused unless they
// hold their default.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cluster/messages.h"
#include "config/result.h"
#include "model/chat_template.h"

namespace troupe {

enum class Api : uint8_t { chat, completions, inference };

/// A conversation, checked and in the form templates expect.
struct ChatInput {
  TemplateValue messages;  ///< array of {role, content, ...}; content is a string or none
  TemplateValue tools;     ///< array, or undefined
  std::vector<TemplateMember> extra;  ///< chat_template_kwargs
  bool add_generation_prompt = true;
};
struct TextInput {
  std::string text;
  bool add_special_tokens = true;
};

using PromptInput = std::variant<ChatInput, TextInput, std::vector<TokenId>>;

struct GenerationRequest {
  Api api = Api::chat;
  std::string model;  ///< empty: the client named none
  /// One; several in completions only, at most kPromptsMax, each a TextInput or tokens.
  std::vector<PromptInput> inputs;
  int32_t choices = 1;                ///< of each input; times inputs at most kAnswersPerRequestMax
  std::optional<int32_t> max_tokens;  ///< absent: what is left of the context
  Sampling sampling;                  ///< seed is meaningless unless has_seed
  bool has_seed = false;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_ids;
  bool stream = false, include_usage = false;
  bool echo = false;      ///< completions only
  bool logprobs = false;  ///< wanted at all; how many alternatives is sampling.n_logprobs
};

Result<GenerationRequest> parse_generation(Api api, std::string_view body);

/// Of /v1/tokenize: a prompt or a conversation.
struct TokenizeRequest {
  std::string model;
  std::variant<ChatInput, TextInput> input;
};
Result<TokenizeRequest> parse_tokenize(std::string_view body);

struct DetokenizeRequest {
  std::string model;
  std::vector<TokenId> tokens;
};
Result<DetokenizeRequest> parse_detokenize(std::string_view body);

}  // namespace troupe
