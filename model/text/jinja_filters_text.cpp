// Filters that make text.
#include <algorithm>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_filters.h"
#include "model/text/jinja_print.h"
#include "model/text/jinja_text.h"
#include "model/text/json_value.h"

namespace troupe::jinja {

namespace {

using Given = const Arguments&;

// Jinja2's soft_str: strings stay as they are, with their mark of safety.
Value soft_text(Meter& meter, const Value& value) {
  return value.is_string() ? value : Value::string(to_str(meter, value));
}

template <std::string (*mapper)(std::string_view)>
Value mapped(Meter& meter, const Value& input, Given given) {
  bind<0>("the filter", given, {});
  const Value text = soft_text(meter, input);
  return meter.text(mapper(text.text()), text.is_safe());
}

// Words start after blanks and opening brackets; unlike str.title, not after apostrophes.
std::string title_words(std::string_view text) {
  std::string out;
  size_t start = 0;
  const auto finish = [&](size_t end) {
    if (start >= end) return;
    const size_t first = code_point_at(text, start).bytes;
    out += to_upper(text.substr(start, first)) +
           to_lower(text.substr(start + first, end - start - first));
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (is_blank(c.value) ||
        (c.value < 0x80 && std::string_view("-({[<").contains(static_cast<char>(c.value)))) {
      finish(at);
      out += text.substr(at, c.bytes);
      start = at + c.bytes;
    }
    at += c.bytes;
  }
  finish(text.size());
  return out;
}

Value string_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("string", given, {});
  return soft_text(meter, input);
}

Value safe_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("safe", given, {});
  return Value::string(to_str(meter, input), true);
}

Value escape_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("escape", given, {});
  if (input.is_safe()) return input;
  return meter.text(escape_html(to_str(meter, input)), true);
}

Value force_escape_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("forceescape", given, {});
  return meter.text(escape_html(to_str(meter, input)), true);
}

Value trim_filter(Meter& meter, const Value& input, Given given) {
  const auto [characters] = bind<1>("trim", given, {"chars"});
  const Value text = soft_text(meter, input);
  if (characters == nullptr || characters->is_none()) {
    return meter.text(std::string(strip(text.text(), std::nullopt, Side::both)), text.is_safe());
  }
  if (!characters->is_string()) give_up("trim takes a string");
  return meter.text(std::string(strip(text.text(), characters->text(), Side::both)),
                    text.is_safe());
}

Value replace_filter(Meter& meter, const Value& input, Given given) {
  const auto [old_value, new_value, count] = bind<3>("replace", given, {"old", "new", "count"});
  if (old_value == nullptr || new_value == nullptr)
    give_up("replace needs what to replace and with what");
  const std::string text = to_str(meter, input), from = to_str(meter, *old_value),
                    to = to_str(meter, *new_value);
  meter.bytes(text.size() + count_of(text, from) * to.size());
  const int64_t limit = count == nullptr || count->is_none() ? -1 : to_integer(*count, "count");
  return meter.text(replace(text, from, to, limit));
}

Value indent_filter(Meter& meter, const Value& input, Given given) {
  const auto [width, first, blank] = bind<3>("indent", given, {"width", "first", "blank"});
  std::string indent(4, ' ');
  if (width != nullptr && width->is_string()) {
    indent = width->text();
  } else if (width != nullptr) {
    const int64_t count = std::max<int64_t>(to_integer(*width, "the indentation"), 0);
    meter.bytes(static_cast<size_t>(count));
    indent.assign(static_cast<size_t>(count), ' ');
  }
  if (!input.is_string()) give_up("indent takes a string, not " + std::string(type_name(input)));
  const std::string source = input.text() + "\n";
  const std::vector<std::string_view> lines = split_lines(source);
  const bool indents_blank = blank != nullptr && truthy(*blank);
  meter.bytes(source.size() + lines.size() * indent.size());
  std::string out = first != nullptr && truthy(*first) ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (indents_blank || !lines[i].empty())) out += indent;
    out += lines[i];
  }
  return meter.text(std::move(out), input.is_safe());
}

Value center_filter(Meter& meter, const Value& input, Given given) {
  const auto [width] = bind<1>("center", given, {"width"});
  Arguments one;
  one.positional.push_back(width != nullptr ? *width : Value::integer(80));
  return call_method(meter, soft_text(meter, input), "center", one);
}

Value truncate_filter(Meter& meter, const Value& input, Given given) {
  const auto [length, kill_words, end, leeway] =
      bind<4>("truncate", given, {"length", "killwords", "end", "leeway"});
  const int64_t limit = length != nullptr ? to_integer(*length, "length") : 255;
  const int64_t slack = leeway != nullptr && !leeway->is_none() ? to_integer(*leeway, "leeway") : 5;
  const std::string tail = end != nullptr ? to_str(meter, *end) : "...";
  const auto tail_length = static_cast<int64_t>(count_code_points(tail));
  if (!input.is_string()) give_up("truncate takes a string");
  if (limit < tail_length || slack < 0) give_up("truncate needs a length of at least its ending's");
  const std::string& text = input.text();
  meter.bytes(text.size());
  if (static_cast<int64_t>(count_code_points(text)) - slack <= limit) return input;
  std::string kept = text.substr(0, byte_offset(text, static_cast<size_t>(limit - tail_length)));
  const bool whole_words = kill_words == nullptr || !truthy(*kill_words);
  if (const size_t space = kept.rfind(' '); whole_words && space != std::string::npos)
    kept.resize(space);
  return meter.text(kept + tail);
}

Value format_filter(Meter& meter, const Value& input, Given given) {
  if (!given.named.empty()) give_up_unsupported("named arguments of the format filter");
  return percent_format(meter, soft_text(meter, input), given.positional);
}

Value to_json_filter(Meter& meter, const Value& input, Given given) {
  const auto [ascii, indent, separators, sort_keys] =
      bind<4>("tojson", given, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  if (ascii != nullptr && truthy(*ascii)) style.characters = JsonStyle::Characters::ascii;
  if (sort_keys != nullptr && truthy(*sort_keys)) style.keys = JsonStyle::Keys::sorted;
  if (indent != nullptr && indent->is_string()) {
    style.indent = indent->text();
  } else if (indent != nullptr && !indent->is_none()) {
    const int64_t width = std::max<int64_t>(to_integer(*indent, "indent"), 0);
    meter.bytes(static_cast<size_t>(width));
    style.indent = std::string(static_cast<size_t>(width), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (separators != nullptr && !separators->is_none()) {
    const std::vector<Value> two = items_of(meter, *separators);
    if (two.size() != 2 || !two[0].is_string() || !two[1].is_string()) {
      give_up("separators of tojson are two strings");
    }
    style.item_separator = two[0].text();
    style.key_separator = two[1].text();
  }
  return meter.text(to_json(meter, input, style));
}

// Not Jinja2's, but DeepSeek's templates expect it of whoever renders them: json.loads().
Value from_json_filter(Meter& meter, const Value& input, Given given) {
  bind<0>("from_json", given, {});
  if (!input.is_string()) give_up("from_json takes a string, not " + std::string(type_name(input)));
  meter.bytes(input.text().size());
  const Result<TemplateValue> parsed = template_value_from_json(input.text());
  if (!parsed) give_up("from_json: " + parsed.error().message);
  return from_template_value(meter, *parsed);
}

constexpr Filter kTextFilters[] = {
    {"upper", mapped<to_upper>},
    {"lower", mapped<to_lower>},
    {"capitalize", mapped<capitalize>},
    {"title", mapped<title_words>},
    {"string", string_filter},
    {"safe", safe_filter},
    {"escape", escape_filter},
    {"e", escape_filter},
    {"forceescape", force_escape_filter},
    {"trim", trim_filter},
    {"replace", replace_filter},
    {"indent", indent_filter},
    {"center", center_filter},
    {"truncate", truncate_filter},
    {"format", format_filter},
    {"tojson", to_json_filter},
    {"from_json", from_json_filter},
};

}  // namespace

std::span<const Filter> text_filters() { return kTextFilters; }

}  // namespace troupe::jinja
