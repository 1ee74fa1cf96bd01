// Small templates, each for a few constructs, against the texts PyPI jinja2 makes of them.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "model/chat_template.h"
#include "model/text/json_value.h"

using namespace troupe;

namespace jinja_snippets_test {
namespace {

// What the oracle's strftime_now() is given: 2025-03-09 14:05:06.
constexpr std::chrono::sys_seconds kNow{std::chrono::seconds{1'741'529'106}};

TemplateValue read_json(const std::string& name) {
  const auto path = std::filesystem::path(TROUPE_SOURCE_DIR) / "tests/golden/templates" / name;
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path.string(), " is missing");
  std::stringstream text;
  text << file.rdbuf();
  auto value = template_value_from_json(text.str());
  REQUIRE_MESSAGE(value.has_value(), path.string());
  return *std::move(value);
}

}  // namespace

TEST_CASE("chat template: small templates give jinja2's text, or an error where it has one") {
  const TemplateValue snippets = read_json("snippets.json");
  const TemplateValue expected = read_json("snippets_expected.json");
  const auto& globals = snippets.object[0].value.object;
  const auto& sources = snippets.object[1].value.array;
  REQUIRE(sources.size() > 250);
  REQUIRE(sources.size() == expected.array.size());
  for (size_t i = 0; i < sources.size(); ++i) {
    INFO("template ", i, ": ", sources[i].string);
    const auto chat = ChatTemplate::parse(sources[i].string);
    const auto text = chat ? chat->render(globals, kNow) : std::unexpected(chat.error());
    if (expected.array[i].kind == TemplateValue::Kind::none) {
      CHECK_FALSE(text.has_value());
    } else if (text) {
      CHECK(*text == expected.array[i].string);
    } else {
      CHECK(text.error().message == "");
    }
  }
}

}  // namespace jinja_snippets_test
