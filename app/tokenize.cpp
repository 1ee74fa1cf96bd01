// troupe tokenize MODEL TEXT: what a model's tokenizer makes of a text.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <memory>

#include "app/commands.h"
#include "model/files/model_files.h"
#include "model/tokenizer.h"
#include "net/json_writer.h"

namespace troupe {

void add_tokenize(CLI::App& app, Command& chosen) {
  struct Flags {
    std::string model, text;
    bool special = false, json = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* c = app.add_subcommand("tokenize", "Show the tokens of a text");
  c->add_option("model", flags->model, "GGUF file or Hugging Face model directory")->required();
  c->add_option("text", flags->text, "The text; read from standard input if left out");
  c->add_flag("--special", flags->special,
              "Let special-token text in the input become special tokens");
  c->add_flag("--json", flags->json, "Print {\"tokens\":[...],\"count\":N}");
  c->footer(
      "Examples:\n  troupe tokenize model.gguf 'Hello, world'\n  troupe tokenize model.gguf --json "
      "< prompt.txt");
  c->callback([flags, &chosen, c] {
    const bool from_stdin = c->count("text") == 0;
    chosen = [flags, from_stdin]() -> Result<int> {
      auto spec = open_tokenizer(flags->model);
      if (!spec) return std::unexpected(spec.error());
      auto tokenizer = Tokenizer::make(std::move(*spec));
      if (!tokenizer) return std::unexpected(tokenizer.error());
      if (from_stdin) flags->text.assign(std::istreambuf_iterator<char>(std::cin), {});
      const auto tokens =
          (*tokenizer)
              ->encode(flags->text, flags->special ? SpecialText::parse : SpecialText::plain);
      std::string out;
      if (flags->json) {
        JsonWriter w(out);
        w.begin_object().key("tokens").begin_array();
        for (TokenId token : tokens) w.integer(token.value);
        w.end_array().field("count", static_cast<int64_t>(tokens.size())).end_object();
        out += '\n';
      } else {
        for (TokenId token : tokens) {
          std::string text((*tokenizer)->bytes_of(token));
          if (text.empty())
            text = (*tokenizer)->spec().tokens[static_cast<size_t>(token.value)].text;
          std::string shown;
          append_json_escaped(shown, text);
          out += fmt::format("{:>7}  \"{}\"\n", token.value, shown);
        }
        out += fmt::format("{} tokens\n", tokens.size());
      }
      std::fputs(out.c_str(), stdout);
      return 0;
    };
  });
}

}  // namespace troupe
