#include "net/answer_key.h"

#include <bit>
#include <span>

#include "config/digest.h"

namespace troupe {
namespace {

/// Feeds values to a digest so that different values never give the same bytes.
class KeyWriter {
 public:
  template <class Array>
  KeyWriter& bytes(const Array& array) {
    key_.add(std::as_bytes(std::span(array)));
    return *this;
  }
  KeyWriter& text(std::string_view text) {
    key_.add(text);
    return *this;
  }
  KeyWriter& number(int64_t value) {
    key_.add(static_cast<uint64_t>(value));
    return *this;
  }
  KeyWriter& real(float value) { return number(std::bit_cast<int32_t>(value)); }

  void value(const TemplateValue& v) {
    number(static_cast<int64_t>(v.kind));
    switch (v.kind) {
      case TemplateValue::Kind::undefined:
      case TemplateValue::Kind::none:
        return;
      case TemplateValue::Kind::boolean:
        number(v.boolean);
        return;
      case TemplateValue::Kind::integer:
        number(v.integer).text(v.string);
        return;
      case TemplateValue::Kind::real:
        number(std::bit_cast<int64_t>(v.real));
        return;
      case TemplateValue::Kind::string:
        text(v.string);
        return;
      case TemplateValue::Kind::array:
        number(static_cast<int64_t>(v.array.size()));
        for (const TemplateValue& item : v.array) value(item);
        return;
      case TemplateValue::Kind::object:
        members(v.object);
        return;
    }
  }
  void members(const std::vector<TemplateMember>& all) {
    number(static_cast<int64_t>(all.size()));
    for (const TemplateMember& member : all) {
      text(member.name);
      value(member.value);
    }
  }
  void input(const PromptInput& input) {
    number(static_cast<int64_t>(input.index()));
    if (const auto* chat = std::get_if<ChatInput>(&input)) {
      value(chat->messages);
      value(chat->tools);
      members(chat->extra);
      number(chat->add_generation_prompt);
    } else if (const auto* raw = std::get_if<TextInput>(&input)) {
      text(raw->text).number(raw->add_special_tokens);
    } else {
      const auto& tokens = std::get<std::vector<TokenId>>(input);
      number(static_cast<int64_t>(tokens.size())).bytes(tokens);
    }
  }
  void sampling(const Sampling& s) {
    for (float v : {s.temperature, s.top_p, s.min_p, s.repetition, s.presence, s.frequency})
      real(v);
    // At temperature 0 nothing is drawn: the seed makes no difference.
    number(s.top_k).number(s.temperature == 0 ? 0 : static_cast<int64_t>(s.seed));
    number(s.n_logprobs).number(s.min_new).number(s.ignore_eos);
    number(static_cast<int64_t>(s.bias.size()));
    for (const auto& [token, bias] : s.bias) number(token).real(bias);
  }
  Digest finish() const { return key_.finish(); }

 private:
  DigestBuilder key_;
};

}  // namespace

std::optional<Digest> answer_key(const GenerationRequest& request, const ServedModel& model,
                                 const Salt& tenant) {
  if (request.sampling.temperature != 0 && !request.has_seed) return std::nullopt;
  if (std::holds_alternative<ChatInput>(request.inputs.front()) && model.chat_template &&
      model.chat_template->uses("strftime_now"))
    return std::nullopt;
  KeyWriter key;
  key.text("troupe answer 1").bytes(tenant).text(model.name);
  key.bytes(model.numerics_id).bytes(model.weights_id).bytes(model.bundle_id);
  key.number(model.context).number(static_cast<int64_t>(request.api));
  key.number(static_cast<int64_t>(request.inputs.size()));
  for (const PromptInput& input : request.inputs) key.input(input);
  key.sampling(request.sampling);
  key.number(request.choices).number(request.max_tokens ? *request.max_tokens : -1);
  key.number(static_cast<int64_t>(request.stop.size()));
  for (const std::string& stop : request.stop) key.text(stop);
  key.bytes(request.stop_ids);
  key.number(request.stream).number(request.include_usage);
  key.number(request.echo).number(request.logprobs);
  return key.finish();
}

}  // namespace troupe
