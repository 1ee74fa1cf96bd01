// Bodies that are right: what each field becomes. Bodies that are wrong are in tests/net.
#include "net/openai_request.h"

#include <doctest/doctest.h>

#include "net/chat_input.h"
#include "net/prompt.h"

namespace troupe {
namespace openai_request_test {
namespace {

GenerationRequest parsed(Api api, std::string_view body) {
  auto request = parse_generation(api, body);
  REQUIRE_MESSAGE(request.has_value(), (request ? std::string() : request.error().message));
  return *request;
}
GenerationRequest chat(const std::string& more) {
  return parsed(Api::chat, R"({"messages":[{"role":"user","content":"hi"}])" + more + "}");
}
const std::string& content(const GenerationRequest& request, size_t index) {
  return std::get<ChatInput>(request.inputs.at(0))
      .messages.array.at(index)
      .object.at(1)
      .value.string;
}

/// Letters plus two control tokens, <|a|> and <|b|>.
std::shared_ptr<const ServedModel> small_model(std::string_view chat_template) {
  TokenizerSpec spec = oracle_tokenizer_spec();
  auto model = std::make_shared<ServedModel>();
  spec.kind = TokenizerKind::spm_bpe;
  spec.tokens.clear();
  spec.pre_split.clear();
  spec.byte_fallback = true;
  spec.end_of_generation = {TokenId(257)};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    spec.tokens.push_back({name, TokenType::byte, 0});
  }
  for (const char* control : {"<|a|>", "<|b|>"}) {
    spec.added.push_back({TokenId(static_cast<int32_t>(spec.tokens.size())), control, true});
    spec.tokens.push_back({control, TokenType::control, 0});
  }
  spec.bos = spec.eos = spec.unk = spec.pad = std::nullopt;
  auto tokenizer = Tokenizer::make(std::move(spec));
  REQUIRE_MESSAGE(tokenizer.has_value(), (tokenizer ? std::string() : tokenizer.error().message));
  model->tokenizer = *tokenizer;
  auto made = ChatTemplate::parse(chat_template);
  REQUIRE(made.has_value());
  model->chat_template = std::make_shared<const ChatTemplate>(*made);
  model->context = 1000;
  model->name = "small";
  return model;
}

}  // namespace

TEST_CASE("openai request: defaults are OpenAI's") {
  const auto request = chat("");
  CHECK(request.choices == 1);
  CHECK_FALSE(request.stream);
  CHECK_FALSE(request.max_tokens.has_value());
  CHECK_FALSE(request.has_seed);
  CHECK(request.sampling.temperature == 1);
  CHECK(request.sampling.top_p == 1);
  CHECK(request.sampling.n_logprobs == -1);
  CHECK(content(request, 0) == "hi");
}

TEST_CASE("openai request: null counts as absent and unknown fields are ignored") {
  const auto request = chat(
      R"(,"temperature":null,"n":null,"stop":null,"seed":null,"tools":null,"user":"u","frobnicate":{"a":[1]})");
  CHECK(request.sampling.temperature == 1);
  CHECK(request.stop.empty());
  CHECK_FALSE(request.has_seed);
}

TEST_CASE("openai request: sampling fields arrive where they belong") {
  const auto request = chat(
      R"(,"temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"repetition_penalty":1.1,"presence_penalty":-2,"frequency_penalty":2,"seed":-1,"min_tokens":2,"max_tokens":5,"ignore_eos":true,"logit_bias":{"7":-100},"n":3)");
  CHECK(request.sampling.temperature == 0.5f);
  CHECK(request.sampling.top_p == 0.9f);
  CHECK(request.sampling.top_k == 0);
  CHECK(request.sampling.min_p == 0.1f);
  CHECK(request.sampling.repetition == 1.1f);
  CHECK(request.sampling.presence == -2);
  CHECK(request.sampling.frequency == 2);
  CHECK(request.sampling.seed == ~uint64_t{0});
  CHECK(request.has_seed);
  CHECK(request.sampling.min_new == 2);
  CHECK(request.max_tokens == 5);
  CHECK(request.sampling.ignore_eos);
  CHECK(request.sampling.bias == std::vector<std::pair<int32_t, float>>{{7, -100.0f}});
  CHECK(request.choices == 3);
}

TEST_CASE("openai request: max_completion_tokens wins over max_tokens") {
  CHECK(chat(R"(,"max_tokens":5,"max_completion_tokens":9)").max_tokens == 9);
}

TEST_CASE("openai request: stop is a string or a list") {
  CHECK(chat(R"(,"stop":"a")").stop == std::vector<std::string>{"a"});
  CHECK(chat(R"(,"stop":["a","b"])").stop == std::vector<std::string>{"a", "b"});
  CHECK(chat(R"(,"stop_token_ids":[1,2])").stop_ids == std::vector{TokenId(1), TokenId(2)});
}

TEST_CASE("openai request: logprobs of both APIs") {
  CHECK(chat(R"(,"logprobs":true)").sampling.n_logprobs == 0);
  CHECK(chat(R"(,"logprobs":true,"top_logprobs":4)").sampling.n_logprobs == 4);
  CHECK(chat(R"(,"logprobs":false,"top_logprobs":0)").sampling.n_logprobs == -1);
  CHECK(parsed(Api::completions, R"({"prompt":"a","logprobs":3})").sampling.n_logprobs == 3);
}

TEST_CASE("openai request: a completion prompt is text, tokens, or a list of one of them") {
  const auto only = [](const std::string& prompt) {
    const auto request = parsed(Api::completions, R"({"prompt":)" + prompt + "}");
    REQUIRE(request.inputs.size() == 1);
    return request.inputs[0];
  };
  CHECK(std::get<TextInput>(only(R"("a")")).text == "a");
  CHECK(std::get<TextInput>(only(R"(["a"])")).text == "a");
  const std::vector tokens{TokenId(1), TokenId(2)};
  CHECK(std::get<std::vector<TokenId>>(only("[1,2]")) == tokens);
  CHECK(std::get<std::vector<TokenId>>(only("[[1,2]]")) == tokens);
  CHECK(parsed(Api::completions, R"({"prompt":"a","echo":true,"max_tokens":0})").max_tokens == 0);
}

TEST_CASE(
    "openai request: several prompts stay in order, texts and tokens alike, up to the bounds") {
  const auto request =
      parsed(Api::completions, R"({"prompt":["a",[3,4],"c"],"n":2,"add_special_tokens":false})");
  REQUIRE(request.inputs.size() == 3);
  CHECK(std::get<TextInput>(request.inputs[0]).text == "a");
  CHECK_FALSE(std::get<TextInput>(request.inputs[0]).add_special_tokens);
  CHECK(std::get<std::vector<TokenId>>(request.inputs[1]) == std::vector{TokenId(3), TokenId(4)});
  CHECK(std::get<TextInput>(request.inputs[2]).text == "c");
  const auto many = [](size_t count, int n) {
    std::string body = R"({"n":)" + std::to_string(n) + R"(,"prompt":["a")";
    for (size_t i = 1; i < count; ++i) body += R"(,"a")";
    return parse_generation(Api::completions, body + "]}");
  };
  REQUIRE(many(kPromptsMax, 2).has_value());
  CHECK(many(kPromptsMax, 2)->inputs.size() == kPromptsMax);
  REQUIRE_FALSE(many(kPromptsMax + 1, 1).has_value());
  CHECK(many(kPromptsMax + 1, 1).error().message ==
        "`prompt` holds 129 prompts: send at most 128 a request.");
  REQUIRE_FALSE(many(kPromptsMax, 3).has_value());
  CHECK(many(kPromptsMax, 3).error().message ==
        "`prompt` holds 128 prompts and `n` is 3, which makes 384 answers: ask for at most 256 a "
        "request.");
  CHECK(many(kPromptsMax, 3).error().param == "prompt");
}

TEST_CASE("openai request: inference has its own defaults") {
  const auto request = parsed(Api::inference, R"({"input_text":"hi"})");
  CHECK(request.max_tokens == 128);
  CHECK(request.sampling.temperature == 0.7f);
  CHECK(content(request, 0) == "hi");
  CHECK(
      std::get<TextInput>(parsed(Api::inference, R"({"input_text":"hi","raw":true})").inputs.at(0))
          .text == "hi");
}

TEST_CASE("openai request: supported at the default value only") {
  CHECK(
      chat(
          R"(,"response_format":{"type":"text"},"tool_choice":"auto","modalities":["text"],"tools":[])")
          .choices == 1);
  CHECK(parsed(Api::completions, R"({"prompt":"a","suffix":"","best_of":1})").choices == 1);
}

TEST_CASE("openai request: arguments of a tool call reach templates as an object") {
  const auto request = parsed(
      Api::chat,
      R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","tool_call_id":"c","content":"2"}]})");
  const auto& message = std::get<ChatInput>(request.inputs.at(0)).messages.array.at(0);
  CHECK(message.object.at(1).value.kind == TemplateValue::Kind::none);
  const auto& function = message.object.at(2).value.array.at(0).object.at(2).value;
  CHECK(function.object.at(1).value.kind == TemplateValue::Kind::object);
  CHECK(function.object.at(1).value.object.at(0).name == "x");
}

TEST_CASE("prompt: control text that a client wrote stays text, the template's own counts") {
  const auto model = small_model("{% for m in messages %}<|a|>{{ m.content }}<|b|>{% endfor %}");
  auto tokens = [&](std::string text) {
    return *chat_tokens(single_user_message(std::move(text)), *model);
  };
  const TokenId a(256), b(257);
  auto bytes = [](std::string_view text) {
    std::vector<TokenId> out;
    for (unsigned char c : text) out.push_back(TokenId(c));
    return out;
  };
  auto wrapped = [&](std::string_view text) {
    auto out = bytes(text);
    out.insert(out.begin(), a);
    out.push_back(b);
    return out;
  };
  CHECK(tokens("hi") == wrapped("hi"));
  CHECK(tokens("<|b|>") == wrapped("<|b|>"));
  CHECK(tokens("x<|a|>y<|b|><|b|>z") == wrapped("x<|a|>y<|b|><|b|>z"));
  CHECK(tokens("\xef\xb7\x90<|a|>") ==
        wrapped("\xef\xb7\x90<|a|>"));  // the first marker is taken by the client
  // Halves that only meet because of a marker must not join.
  CHECK(tokens("<\xef\xb7\x91|a|>") == wrapped("<\xef\xb7\x91|a|>"));
}

TEST_CASE(
    "prompt: end-of-generation tokens stop unless ignored; max_tokens is cut to the context") {
  const auto model = small_model("{% for m in messages %}{{ m.content }}{% endfor %}");
  auto made = prepare(chat(R"(,"max_tokens":100000,"stop_token_ids":[5])"), *model, {});
  REQUIRE(made.has_value());
  CHECK(made->at(0).max_new == 998);
  CHECK(made->at(0).stop_ids == std::vector{TokenId(257), TokenId(5)});
  made = prepare(chat(R"(,"ignore_eos":true)"), *model, {});
  REQUIRE(made.has_value());
  CHECK(made->at(0).stop_ids.empty());
  CHECK(made->at(0).max_new == 998);
}

}  // namespace openai_request_test
}  // namespace troupe
