// Bounds, errors and speed of the chat template engine, and the JSON it is fed with. What it
// renders is compared with jinja2 in tests/model/.
#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "config/limits.h"
#include "model/chat_template.h"
#include "model/text/json_value.h"
#include "tests/support/message_of.h"

using namespace troupe;

namespace jinja_test {
namespace {

constexpr std::chrono::sys_seconds kNow{};

Error parse_error(const std::string& source) {
  const auto chat = ChatTemplate::parse(source);
  REQUIRE_MESSAGE(!chat.has_value(), source);
  return chat.error();
}

Result<std::string> render(const std::string& source, std::vector<TemplateMember> globals = {}) {
  const auto chat = ChatTemplate::parse(source);
  REQUIRE_MESSAGE(chat.has_value(), test::message_of(chat));
  return chat->render(globals, kNow);
}

Error render_error(const std::string& source) {
  const auto text = render(source);
  REQUIRE_MESSAGE(!text.has_value(), source);
  return text.error();
}

bool says(const Error& error, const std::string& part) {
  INFO(error.message);
  return error.message.find(part) != std::string::npos;
}

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("jinja: what is not supported is refused when parsing, with its name and line") {
  const std::pair<std::string, std::string> cases[] = {
      {"a\n{% include 'x' %}", "line 2: the tag 'include'"},
      {"{% block b %}{% endblock %}", "the tag 'block'"},
      {"{% if false %}\n\n{{ x | urlize }}{% endif %}", "line 3: the filter 'urlize'"},
      {"{{ x | map('pprint') }}", "the filter 'pprint'"},
      {"{{ x | select('nosuch') }}", "the test 'nosuch'"},
      {"{{ x | selectattr('a', 'nosuch') }}", "the test 'nosuch'"},
      {"{{ x is nosuch }}", "the test 'nosuch'"},
      {"{{ x.encode('utf-8') }}", "the method 'encode'"},
      {"{{ cycler(1, 2) }}", "the function 'cycler'"},
      {"{% for x in y recursive %}{% endfor %}", "a recursive loop"},
      {"{{ f(*args) }}", "unpacking arguments"},
      {"{% macro m() %}{{ varargs }}{% endmacro %}", "the name 'varargs' in a macro"},
      {"{{ 0x10 }}", "a number that is not decimal"},
      {"{{ 99999999999999999999 }}", "an integer beyond 64 bits"},
  };
  for (const auto& [source, part] : cases) {
    const Error error = parse_error(source);
    CHECK(error.code == ErrorCode::unsupported);
    CHECK(says(error, part + " "));
  }
}

TEST_CASE("jinja: a syntax error names its line") {
  const Error error = parse_error("fine\n{{ 1 +\n }}\n");
  CHECK(error.code == ErrorCode::invalid_argument);
  CHECK(says(error, "line 3: unexpected 'end of the tag'"));
  CHECK(says(parse_error("\n{% if x %}"), "expected {% endif %}"));
  CHECK(says(parse_error("{% nosuch %}"), "unknown tag 'nosuch'"));
}

TEST_CASE("jinja: a template's own refusal and its type errors say why and where") {
  const Error refused = render_error("\n{{ raise_exception('roles must alternate') }}");
  CHECK(refused.code == ErrorCode::invalid_argument);
  CHECK(refused.param == "messages");
  CHECK(says(refused, "line 2: the chat template refuses this conversation: roles must alternate"));
  CHECK(says(render_error("{{ nothing.attr }}"), "line 1: 'nothing' is undefined"));
  CHECK(says(render_error("{{ 1 + 'a' }}"), "unsupported operand types for +: 'int' and 'str'"));
  CHECK(says(render_error("{{ [].append(1) }}"), ".append() would change a value"));
}

TEST_CASE("jinja: loops end at the bound of steps") {
  const Error error = render_error(
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
  CHECK(error.code == ErrorCode::too_large);
  CHECK(says(error, "needs more than 4000000 steps"));
}

TEST_CASE("jinja: comparing lists that share their parts ends at the bound of steps") {
  const Error error = render_error(
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(80) %}{% set ns.a = [ns.a, ns.a] %}"
      "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}");
  CHECK(error.code == ErrorCode::too_large);
}

TEST_CASE("jinja: texts and output end at the bound of bytes") {
  const char* const sources[] = {
      "{{ 'x' * 99999999 }}",
      "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s * 2 %}{% endfor %}",
      "{% set s = 'x' * 4000000 %}{{ s }}{{ s }}{{ s }}",
      "{% set s = 'x' * 4000 %}{{ s.replace('x', s) }}",
      "{% set s = 'x' * 4000 %}{{ s | replace('x', s) }}",
      "{{ 'x'.center(999999999) }}",
      "{{ [1] | tojson(indent=999999999) }}",
      "{{ 'a\nb' | indent(999999999) }}",
      "{{ ('x' * 4000) | join('y' * 9000) }}",
      "{{ [1] * 99999999 }}",
  };
  for (const char* source : sources) {
    INFO(source);
    CHECK(render_error(source).code == ErrorCode::too_large);
  }
  CHECK(render("{{ 'x' * 8000000 }}")->size() == 8'000'000);
}

TEST_CASE("jinja: nesting ends at its bound, in source, values and calls") {
  const int deep = kTemplateDepthMax + 1;
  CHECK(parse_error("{{ " + repeated("(", deep) + "1" + repeated(")", deep) + " }}").code ==
        ErrorCode::too_large);
  CHECK(parse_error("{{ " + repeated("not ", deep) + "1 }}").code == ErrorCode::too_large);
  CHECK(parse_error("{{ " + repeated("-", deep) + "1 }}").code == ErrorCode::too_large);
  CHECK(parse_error("{{ x" + repeated(".a", deep) + " }}").code == ErrorCode::too_large);
  CHECK(parse_error("{{ x" + repeated("|trim", deep) + " }}").code == ErrorCode::too_large);
  CHECK(parse_error("{{ 1" + repeated(" if 1 else 1", deep) + " }}").code == ErrorCode::too_large);
  CHECK(parse_error(repeated("{% if x %}", deep) + repeated("{% endif %}", deep)).code ==
        ErrorCode::too_large);
  CHECK(says(render_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "deep"));
  CHECK(says(render_error("{% set ns = namespace(l=[]) %}{% for i in range(200) %}"
                          "{% set ns.l = [ns.l] %}{% endfor %}"),
             "nests lists or dicts more than 100 deep"));
  // Long is not deep.
  CHECK(*render("{{ 0" + repeated(" + 1", 5'000) + " }}") == "5000");
  CHECK(*render("{% if 0 %}" + repeated("{% elif 0 %}", 5'000) + "{% else %}x{% endif %}") == "x");
}

TEST_CASE(
    "jinja: macros that call deep expressions end at the bound of nesting, not of the stack") {
  const std::string deep = repeated("(", 40) + "f(n + 1)" + repeated(" ~ '')", 40);
  const Error error = render_error("{% macro f(n) %}{{ " + deep + " }}{% endmacro %}{{ f(0) }}");
  CHECK(error.code == ErrorCode::too_large);
  CHECK(says(error, "nests more than 1500 evaluations"));
}

TEST_CASE("jinja: a template beyond its bound of bytes is refused unread") {
  CHECK(parse_error(std::string(kTemplateBytesMax + 1, 'x')).code == ErrorCode::too_large);
  CHECK(ChatTemplate::parse(std::string(kTemplateBytesMax, 'x')).has_value());
}

TEST_CASE("jinja: a conversation nested beyond the bound is refused") {
  TemplateValue value = TemplateValue::of("x");
  for (int i = 0; i < kTemplateDepthMax + 1; ++i) value = TemplateValue::list({value});
  const auto text = render("{{ messages }}", {{"messages", value}});
  REQUIRE_FALSE(text.has_value());
  CHECK(text.error().code == ErrorCode::too_large);
  CHECK(*render("not looked at", {{"messages", value}}) == "not looked at");
}

TEST_CASE("jinja: the template tells which globals it mentions") {
  const auto chat = ChatTemplate::parse("{% if tools %}{{ messages[0].content }}{% endif %}");
  REQUIRE(chat.has_value());
  CHECK(chat->uses("tools"));
  CHECK(chat->uses("messages"));
  CHECK_FALSE(chat->uses("documents"));
  CHECK_FALSE(chat->uses("content"));
}

TEST_CASE("jinja: bytes that are not UTF-8 come through as they are") {
  const std::vector<TemplateMember> globals = {{"x", TemplateValue::of(std::string("a\xff\xc3"
                                                                                   "b"))}};
  CHECK(*render("{{ x }}|{{ x|length }}|{{ x|upper }}|{{ x[::-1] }}", globals) ==
        "a\xff\xc3"
        "b|4|A\xff\xc3"
        "B|b\xc3\xff"
        "a");
}

TEST_CASE("json value: numbers keep what Python would make of them") {
  const auto render_json = [](const std::string& json) {
    const auto value = template_value_from_json(json);
    REQUIRE_MESSAGE(value.has_value(), test::message_of(value));
    return *render("{{ v }}", {{"v", *value}});
  };
  CHECK(render_json("[1, 1.0, -0, 1e2, 0.1, -5]") == "[1, 1.0, 0, 100.0, 0.1, -5]");
  CHECK(render_json("18446744073709551616") == "18446744073709551616");
  CHECK(render_json("-9223372036854775808") == "-9223372036854775808");
  CHECK(render_json(" {\"a\": 1, \"b\": null, \"a\": true} ") == "{'a': True, 'b': None}");
  CHECK(render_json("\"\\u00e9\\ud83c\\udf89\"") == "é🎉");
}

TEST_CASE("json value: text that is no JSON is refused") {
  for (const char* json :
       {"", "{", "[1,]", "{\"a\" 1}", "nul", "tru", "1 2", "[1] [2]", "01", "'a'", "\"\\x\"",
        "\"\xff\"", "[1", "1,2", "1],[2", "{\"a\": 1,}", "NaN", "-", "\"\\ud800\""}) {
    INFO(json);
    const auto value = template_value_from_json(json);
    REQUIRE_FALSE(value.has_value());
    CHECK(value.error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("json value: nesting ends at its bound") {
  CHECK(template_value_from_json(repeated("[", kJsonDepthMax) + repeated("]", kJsonDepthMax))
            .has_value());
  const auto deep =
      template_value_from_json(repeated("[", kJsonDepthMax + 1) + repeated("]", kJsonDepthMax + 1));
  REQUIRE_FALSE(deep.has_value());
  CHECK(deep.error().code == ErrorCode::too_large);
  CHECK_FALSE(template_value_from_json(repeated("{\"a\":", kJsonDepthMax + 1) + "1" +
                                       repeated("}", kJsonDepthMax + 1))
                  .has_value());
}

TEST_CASE("jinja: how long a conversation of 50 turns takes") {
  std::vector<TemplateValue> messages;
  for (int i = 0; i < 50; ++i) {
    messages.push_back(TemplateValue::dict(
        {{"role", TemplateValue::of(i % 2 == 0 ? "user" : "assistant")},
         {"content", TemplateValue::of(repeated("some words of a turn ", 20))}}));
  }
  const std::vector<TemplateMember> globals = {{"messages", TemplateValue::list(messages)},
                                               {"add_generation_prompt", TemplateValue::of(true)}};
  const auto chat = ChatTemplate::parse(
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
      "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
      "message['role'] + "
      "'\n' + message['content'] | trim + '<|im_end|>' + '\n'}}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}");
  REQUIRE(chat.has_value());
  REQUIRE(chat->render(globals, kNow)->size() > 20'000);
  constexpr int kRounds = 200;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) REQUIRE(chat->render(globals, kNow).has_value());
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
  MESSAGE("a conversation of 50 turns renders in ", spent.count() / kRounds, " us");
}

}  // namespace jinja_test
