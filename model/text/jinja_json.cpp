// json.dumps for jinja_print.h.
#include <cmath>

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_library.h"
#include "model/text/jinja_print.h"
#include "model/text/jinja_sort.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

class JsonWriter {
 public:
  JsonWriter(Meter& meter, const JsonStyle& style) : meter_(meter), style_(style) {}

  std::string take() { return std::move(out_); }

  void write(const Value& value) {
    meter_.step();
    if (out_.size() > kTemplateOutputBytesMax) meter_.bytes(out_.size());
    switch (value.kind()) {
      case Kind::none:
        out_ += "null";
        return;
      case Kind::boolean:
        out_ += value.as_boolean() ? "true" : "false";
        return;
      case Kind::integer:
        out_ += std::to_string(value.as_integer());
        return;
      case Kind::big_integer:
        out_ += value.text();
        return;
      case Kind::real:
        out_ += number(value.as_real());
        return;
      case Kind::string:
        quote(value.text());
        return;
      case Kind::list:
      case Kind::tuple:
        write_list(value.items().items);
        return;
      case Kind::dict:
        write_dict(value.dict());
        return;
      default:
        give_up("object of type " + std::string(type_name(value)) + " is not JSON serializable");
    }
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return format_real(value);
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      start_item(i);
      write(items[i]);
    }
    finish();
    out_ += ']';
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) {
      out_ += "{}";
      return;
    }
    const auto& entries = dict.entries;
    const std::vector<size_t> order = stable_order(entries.size(), [&](size_t a, size_t b) {
      return style_.keys == JsonStyle::Keys::sorted &&
             compare_less(meter_, entries[a].first, entries[b].first);
    });
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < order.size(); ++i) {
      start_item(i);
      write_key(entries[order[i]].first);
      out_ += style_.key_separator;
      write(entries[order[i]].second);
    }
    finish();
    out_ += '}';
  }

  void write_key(const Value& key) {
    if (key.is_string()) {
      quote(key.text());
    } else if (key.is_number() || key.is_none()) {
      out_ += '"';
      write(key);
      out_ += '"';
    } else {
      give_up("keys of JSON objects must be str, int, float, bool or None, not " +
              std::string(type_name(key)));
    }
  }

  void start_item(size_t index) {
    if (index > 0) out_ += style_.item_separator;
    break_line();
  }

  void finish() {
    --level_;
    break_line();
  }

  void break_line() {
    if (!style_.indent) return;
    out_ += '\n';
    meter_.bytes(style_.indent->size() * static_cast<size_t>(level_));
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  void quote(std::string_view text) {
    meter_.bytes(text.size());
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text, at);
      append_character(c.value, text.substr(at, c.bytes));
      at += c.bytes;
    }
    out_ += '"';
  }

  void append_character(int32_t c, std::string_view bytes) {
    switch (c) {
      case '"':
        out_ += "\\\"";
        return;
      case '\\':
        out_ += "\\\\";
        return;
      case '\n':
        out_ += "\\n";
        return;
      case '\r':
        out_ += "\\r";
        return;
      case '\t':
        out_ += "\\t";
        return;
      case '\f':
        out_ += "\\f";
        return;
      case '\b':
        out_ += "\\b";
        return;
      default:
        break;
    }
    const bool plain = c >= 0x20 && (style_.characters == JsonStyle::Characters::utf8 || c < 0x7f);
    if (plain) {
      out_ += bytes;
    } else if (c < 0x10000) {
      append_unit(static_cast<uint32_t>(c));
    } else {
      const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
      append_unit(0xd800 + (rest >> 10));
      append_unit(0xdc00 + (rest & 0x3ff));
    }
  }

  void append_unit(uint32_t unit) {
    out_ += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out_ += "0123456789abcdef"[(unit >> shift) & 15];
  }

  Meter& meter_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string to_json(Meter& meter, const Value& value, const JsonStyle& style) {
  JsonWriter writer(meter, style);
  writer.write(value);
  std::string out = writer.take();
  meter.bytes(out.size());
  return out;
}

}  // namespace troupe::jinja
