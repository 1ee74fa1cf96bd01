// troupe chat: a conversation in the terminal, over the HTTP API like any other client.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>

#include "app/commands.h"
#include "net/client_json.h"
#include "net/http_client.h"

namespace troupe {

namespace {

struct ChatFlags {
  std::string url = "http://127.0.0.1:8080", model, system, message, key;
  int32_t max_tokens = 512;
  double temperature = 0.7;
};

/// Asks and prints the answer as it comes; returns it.
Result<std::string> ask(const HttpClient& client, const ChatFlags& flags,
                        const std::vector<ChatTurn>& turns) {
  std::string text, problem;
  auto answer = client.stream("/v1/chat/completions",
                              chat_request(flags.model, turns, flags.max_tokens, flags.temperature),
                              600s, [&](std::string_view data) {
                                auto delta = parse_chat_delta(data);
                                if (!delta || !delta->error.empty()) {
                                  problem = delta ? delta->error : delta.error().message;
                                  return false;
                                }
                                text += delta->content;
                                std::fputs(delta->content.c_str(), stdout);
                                std::fflush(stdout);
                                return true;
                              });
  std::fputc('\n', stdout);
  if (!answer) return std::unexpected(answer.error());
  if (answer->status != 200) return fail(ErrorCode::unavailable, error_sentence(answer->body));
  if (!problem.empty()) return fail(ErrorCode::unavailable, problem);
  return text;
}

Result<int> converse(const HttpClient& client, const ChatFlags& flags,
                     std::vector<ChatTurn> turns) {
  const size_t start = turns.size();
  std::printf("Chatting with %s. /reset starts over, /quit or Ctrl-D ends.\n", flags.model.c_str());
  for (std::string line;;) {
    std::fputs("> ", stdout);
    std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/quit") break;
    if (line.empty()) continue;
    if (line == "/reset") {
      turns.resize(start);
      continue;
    }
    turns.push_back({"user", line});
    auto text = ask(client, flags, turns);
    if (text) {
      turns.push_back({"assistant", *text});
    } else {
      std::fprintf(stderr, "%s\n", text.error().message.c_str());
      turns.pop_back();
    }
  }
  std::fputc('\n', stdout);
  return 0;
}

Result<int> chat(ChatFlags flags) {
  auto client = HttpClient::make(flags.url, flags.key);
  if (!client) return std::unexpected(client.error());
  if (flags.model.empty()) {
    auto answer = client->get("/v1/models", 10s);
    if (!answer) return std::unexpected(answer.error());
    if (answer->status != 200) return fail(ErrorCode::unavailable, error_sentence(answer->body));
    auto models = parse_models(answer->body);
    if (!models) return std::unexpected(models.error());
    if (models->empty())
      return fail(ErrorCode::unavailable, "the server has no model yet; try again in a moment");
    flags.model = models->front();
  }
  std::vector<ChatTurn> turns;
  if (!flags.system.empty()) turns.push_back({"system", flags.system});
  if (flags.message.empty() && ::isatty(STDIN_FILENO))
    return converse(*client, flags, std::move(turns));
  if (flags.message.empty() && !std::getline(std::cin, flags.message))
    return fail(ErrorCode::invalid_argument,
                "there is nothing to ask; give a message, as troupe chat 'Hello'");
  turns.push_back({"user", flags.message});
  auto text = ask(*client, flags, turns);
  if (!text) return std::unexpected(text.error());
  return 0;
}

}  // namespace

void add_chat(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* c = app.add_subcommand("chat", "Talk to a served model in the terminal");
  c->add_option("message", flags->message,
                "Ask once and print the answer; without it a conversation starts");
  c->add_option("--url", flags->url, "Address of a router")->capture_default_str();
  c->add_option("--model", flags->model, "Model name (default: the first one served)");
  c->add_option("--system", flags->system, "System message");
  c->add_option("--max-tokens", flags->max_tokens, "Longest answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  c->add_option("--temperature", flags->temperature, "0 is deterministic")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 2.0));
  c->add_option("--key", flags->key, "API key, where the server asks for one");
  c->footer("Examples:\n  troupe chat\n  troupe chat 'What does HTTP stand for?' --temperature 0");
  c->callback([flags, &chosen] { chosen = [flags] { return chat(*flags); }; });
}

}  // namespace troupe
