#include "model/text/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>

namespace troupe::jinja {

namespace {

bool is_line_break(int32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

template <class Change>
std::string map_code_points(std::string_view text, Change change) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (c.bytes == 1 && c.value >= 0x80) {
      out += text[at];  // not UTF-8: kept as it is
    } else {
      change(out, c.value);
    }
    at += c.bytes;
  }
  return out;
}

void append_upper(std::string& out, int32_t c) {
  if (c == 0xdf) {
    out += "SS";  // the one letter in common use whose capital is two
  } else {
    append_code_point(out, utf8proc_toupper(c));
  }
}

void append_lower(std::string& out, int32_t c) { append_code_point(out, utf8proc_tolower(c)); }

// Start of the code point that ends before `at`.
size_t previous(std::string_view text, size_t at) {
  size_t start = at - 1;
  while (start > 0 && at - start < 4 && (static_cast<uint8_t>(text[start]) & 0xc0) == 0x80) --start;
  return code_point_at(text, start).bytes == at - start ? start : at - 1;
}

}  // namespace

CodePoint code_point_at(std::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {first, 1};
  utf8proc_int32_t value = 0;
  const utf8proc_ssize_t bytes =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                       static_cast<utf8proc_ssize_t>(text.size() - at), &value);
  if (bytes < 1) return {first, 1};
  return {value, static_cast<size_t>(bytes)};
}

void append_code_point(std::string& out, int32_t value) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t size = utf8proc_encode_char(value, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(std::max<long>(size, 0)));
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) ++count;
  return count;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += code_point_at(text, at).bytes;
  return at;
}

bool is_blank(int32_t c) {
  if (c <= 0x20) return c == 0x20 || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_letter(int32_t c) {
  const utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_digit(int32_t c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_ND; }
bool is_upper(int32_t c) { return utf8proc_isupper(c) != 0; }
bool is_lower(int32_t c) { return utf8proc_islower(c) != 0; }

bool is_printable(int32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string_view strip(std::string_view text, std::optional<std::string_view> characters,
                       Side side) {
  const auto goes = [&](size_t at, size_t bytes) {
    if (!characters) return is_blank(code_point_at(text, at).value);
    for (size_t i = 0; i < characters->size();) {
      const size_t size = code_point_at(*characters, i).bytes;
      if (characters->substr(i, size) == text.substr(at, bytes)) return true;
      i += size;
    }
    return false;
  };
  size_t begin = 0, end = text.size();
  while (side != Side::right && begin < end) {
    const size_t bytes = code_point_at(text, begin).bytes;
    if (!goes(begin, bytes)) break;
    begin += bytes;
  }
  while (side != Side::left && end > begin) {
    const size_t start = previous(text, end);
    if (!goes(start, end - start)) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

std::string to_upper(std::string_view text) { return map_code_points(text, append_upper); }
std::string to_lower(std::string_view text) { return map_code_points(text, append_lower); }

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_code_points(text, [&](std::string& out, int32_t c) {
    if (first) {
      append_code_point(out, utf8proc_totitle(c));
    } else {
      append_lower(out, c);
    }
    first = false;
  });
}

std::string swap_case(std::string_view text) {
  return map_code_points(text, [](std::string& out, int32_t c) {
    if (is_upper(c)) {
      append_lower(out, c);
    } else {
      append_upper(out, c);
    }
  });
}

std::string title(std::string_view text) {
  bool inside = false;
  return map_code_points(text, [&](std::string& out, int32_t c) {
    if (inside) {
      append_lower(out, c);
    } else {
      append_code_point(out, utf8proc_totitle(c));
    }
    inside = is_upper(c) || is_lower(c) || utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
  });
}

std::vector<std::string_view> split(std::string_view text,
                                    std::optional<std::string_view> separator, int64_t limit) {
  std::vector<std::string_view> parts;
  const auto full = [&] { return limit >= 0 && static_cast<int64_t>(parts.size()) >= limit; };
  if (separator) {
    size_t at = 0;
    while (!full()) {
      const size_t found = text.find(*separator, at);
      if (found == std::string_view::npos) break;
      parts.push_back(text.substr(at, found - at));
      at = found + separator->size();
    }
    parts.push_back(text.substr(at));
    return parts;
  }
  std::string_view rest = strip(text, std::nullopt, Side::left);
  while (!rest.empty()) {
    if (full()) {
      parts.push_back(rest);
      break;
    }
    size_t end = 0;
    while (end < rest.size() && !is_blank(code_point_at(rest, end).value)) {
      end += code_point_at(rest, end).bytes;
    }
    parts.push_back(rest.substr(0, end));
    rest = strip(rest.substr(end), std::nullopt, Side::left);
  }
  return parts;
}

std::vector<std::string_view> split_right(std::string_view text,
                                          std::optional<std::string_view> separator,
                                          int64_t limit) {
  if (limit < 0) return split(text, separator, limit);
  std::vector<std::string_view> parts;
  std::string_view rest = separator ? text : strip(text, std::nullopt, Side::right);
  while (static_cast<int64_t>(parts.size()) < limit && (separator || !rest.empty())) {
    if (separator) {
      const size_t found = rest.rfind(*separator);
      if (found == std::string_view::npos) break;
      parts.push_back(rest.substr(found + separator->size()));
      rest = rest.substr(0, found);
    } else {
      size_t start = rest.size();
      while (start > 0 && !is_blank(code_point_at(rest, previous(rest, start)).value)) {
        start = previous(rest, start);
      }
      parts.push_back(rest.substr(start));
      rest = strip(rest.substr(0, start), std::nullopt, Side::right);
    }
  }
  if (separator) {
    parts.push_back(rest);
  } else if (!rest.empty()) {
    parts.push_back(rest);
  }
  std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const size_t after = at + c.bytes;
    if (is_line_break(c.value)) {
      lines.push_back(text.substr(start, at - start));
      start = c.value == '\r' && after < text.size() && text[after] == '\n' ? after + 1 : after;
      at = start;
    } else {
      at = after;
    }
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

size_t count_of(std::string_view text, std::string_view part) {
  if (part.empty()) return count_code_points(text) + 1;
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t limit) {
  std::string out;
  size_t at = 0;
  int64_t done = 0;
  if (from.empty()) {
    while (limit < 0 || done < limit) {
      out += to;
      ++done;
      if (at >= text.size()) return out;
      const size_t bytes = code_point_at(text, at).bytes;
      out += text.substr(at, bytes);
      at += bytes;
    }
    return out.append(text.substr(at));
  }
  while (limit < 0 || done < limit) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at)).append(to);
    at = found + from.size();
    ++done;
  }
  return out.append(text.substr(at));
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace troupe::jinja
