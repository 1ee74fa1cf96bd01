#include "model/text/jinja_string_methods.h"

#include <algorithm>
#include <array>
#include <optional>

#include "model/text/jinja_failure.h"
#include "model/text/jinja_text.h"

namespace troupe::jinja {

namespace {

using Given = const Arguments&;

std::string quoted(std::string_view name) { return "." + std::string(name) + "()"; }

// A string argument; none and missing are no string.
std::optional<std::string_view> text_or_none(const Value* value, std::string_view name) {
  if (value == nullptr || value->is_none()) return std::nullopt;
  if (value->is_undefined()) fail_undefined(*value);
  if (!value->is_string()) {
    give_up(quoted(name) + " takes a string, not " + std::string(type_name(*value)));
  }
  return value->text();
}

std::string_view text(const Value* value, std::string_view name) {
  const auto given = text_or_none(value, name);
  if (!given) give_up(quoted(name) + " needs a string");
  return *given;
}

template <Side side>
Value strip_method(Meter& meter, const Value& receiver, Given given) {
  const auto [characters] = bind<1>(".strip()", given, {"chars"});
  return meter.text(std::string(strip(receiver.text(), text_or_none(characters, "strip"), side)),
                    receiver.is_safe());
}

Value list_of(Meter& meter, const std::vector<std::string_view>& parts, const Value& receiver) {
  meter.items(parts.size() * 4);
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) {
    items.push_back(meter.text(std::string(part), receiver.is_safe()));
  }
  return meter.list(std::move(items));
}

using Splitter = std::vector<std::string_view> (*)(std::string_view,
                                                   std::optional<std::string_view>, int64_t);
template <Splitter splitter>
Value split_method(Meter& meter, const Value& receiver, Given given) {
  const auto [separator, limit] = bind<2>(".split()", given, {"sep", "maxsplit"});
  const auto by = text_or_none(separator, "split");
  if (by && by->empty()) give_up("empty separator");
  return list_of(
      meter, splitter(receiver.text(), by, limit != nullptr ? to_integer(*limit, "maxsplit") : -1),
      receiver);
}

Value split_lines_method(Meter& meter, const Value& receiver, Given given) {
  if (!given.positional.empty() || !given.named.empty()) {
    give_up_unsupported("arguments of .splitlines()");
  }
  return list_of(meter, split_lines(receiver.text()), receiver);
}

enum class End : uint8_t { start, end };
template <End end>
Value has_affix(Meter& meter, const Value& receiver, Given given) {
  const std::string_view name = end == End::start ? "startswith" : "endswith";
  const auto [affix] = bind<1>(name, given, {"prefix"});
  const auto matches = [&](const Value& part) {
    const std::string_view wanted = text(&part, name);
    meter.bytes(wanted.size());
    return end == End::start ? receiver.text().starts_with(wanted)
                             : receiver.text().ends_with(wanted);
  };
  if (affix != nullptr && affix->is(Kind::tuple)) {
    return Value::boolean(std::ranges::any_of(affix->items().items, matches));
  }
  if (affix == nullptr) give_up(quoted(name) + " needs a string");
  return Value::boolean(matches(*affix));
}

template <End end>
Value remove_affix(Meter& meter, const Value& receiver, Given given) {
  const auto [affix] = bind<1>(".removeprefix()", given, {"prefix"});
  const std::string_view wanted = text(affix, end == End::start ? "removeprefix" : "removesuffix");
  std::string_view rest = receiver.text();
  if (end == End::start && rest.starts_with(wanted)) rest.remove_prefix(wanted.size());
  if (end == End::end && rest.ends_with(wanted)) rest.remove_suffix(wanted.size());
  return meter.text(std::string(rest), receiver.is_safe());
}

Value replace_method(Meter& meter, const Value& receiver, Given given) {
  const auto [old_text, new_text, count] = bind<3>(".replace()", given, {"old", "new", "count"});
  const std::string_view from = text(old_text, "replace"), to = text(new_text, "replace");
  meter.bytes(receiver.text().size());
  meter.bytes(receiver.text().size() + count_of(receiver.text(), from) * to.size());
  const int64_t limit = count != nullptr ? to_integer(*count, "count") : -1;
  // Markup escapes what is put in.
  const std::string safe_to =
      receiver.is_safe() && !new_text->is_safe() ? escape_html(to) : std::string(to);
  return meter.text(replace(receiver.text(), from, safe_to, limit), receiver.is_safe());
}

using Mapper = std::string (*)(std::string_view);
template <Mapper mapper>
Value mapped_method(Meter& meter, const Value& receiver, Given given) {
  if (!given.positional.empty() || !given.named.empty()) give_up("the method takes no arguments");
  return meter.text(mapper(receiver.text()), receiver.is_safe());
}

Value join_method(Meter& meter, const Value& receiver, Given given) {
  const auto [parts] = bind<1>(".join()", given, {"iterable"});
  if (parts == nullptr) give_up(".join() needs a list");
  std::string out;
  bool first = true;
  for (const Value& part : items_of(meter, *parts)) {
    if (!first) out += receiver.text();
    first = false;
    out += text(&part, "join");
    meter.bytes(out.size() > 1 << 20 ? out.size() : 0);
  }
  return meter.text(std::move(out), receiver.is_safe());
}

// Code point index of the found byte offset, or -1.
int64_t index_of(const std::string& whole, size_t found) {
  if (found == std::string::npos) return -1;
  return static_cast<int64_t>(count_code_points(std::string_view(whole).substr(0, found)));
}

enum class Find : uint8_t { first, last, first_or_fail };
template <Find how>
Value find_method(Meter& meter, const Value& receiver, Given given) {
  const auto [wanted, start] = bind<2>(".find()", given, {"sub", "start"});
  const std::string& whole = receiver.text();
  meter.bytes(whole.size());
  const std::string_view part = text(wanted, "find");
  int64_t from = start != nullptr && !start->is_none() ? to_integer(*start, "start") : 0;
  const auto length = static_cast<int64_t>(count_code_points(whole));
  if (from < 0) from = std::max<int64_t>(from + length, 0);
  if (from > length) return Value::integer(-1);
  const size_t offset = byte_offset(whole, static_cast<size_t>(from));
  size_t found = how == Find::last ? whole.rfind(part) : whole.find(part, offset);
  if (how == Find::last && found < offset) found = std::string::npos;
  if (how == Find::first_or_fail && found == std::string::npos) give_up("substring not found");
  return Value::integer(index_of(whole, found));
}

Value count_method(Meter& meter, const Value& receiver, Given given) {
  const auto [wanted] = bind<1>(".count()", given, {"sub"});
  meter.bytes(receiver.text().size());
  return Value::integer(static_cast<int64_t>(count_of(receiver.text(), text(wanted, "count"))));
}

// All characters fit, and there is one.
template <bool (*fits)(int32_t)>
Value all_of_method(Meter& meter, const Value& receiver, Given) {
  const std::string& whole = receiver.text();
  meter.bytes(whole.size());
  for (size_t at = 0; at < whole.size(); at += code_point_at(whole, at).bytes) {
    if (!fits(code_point_at(whole, at).value)) return Value::boolean(false);
  }
  return Value::boolean(!whole.empty());
}

bool is_letter_or_digit(int32_t c) { return is_letter(c) || is_digit(c); }

template <bool (*wanted)(int32_t), bool (*other)(int32_t)>
Value cased_method(Meter& meter, const Value& receiver, Given) {
  const std::string& whole = receiver.text();
  meter.bytes(whole.size());
  bool any = false;
  for (size_t at = 0; at < whole.size(); at += code_point_at(whole, at).bytes) {
    const int32_t c = code_point_at(whole, at).value;
    if (other(c)) return Value::boolean(false);
    any = any || wanted(c);
  }
  return Value::boolean(any);
}

// ljust, rjust, center and zfill: how many fill characters go to the left and right.
enum class Pad : uint8_t { left, right, center, zeros };
template <Pad pad>
Value pad_method(Meter& meter, const Value& receiver, Given given) {
  const auto [width, fill] = bind<2>(".ljust()", given, {"width", "fillchar"});
  if (width == nullptr) give_up("a width is needed");
  const std::string_view with = fill != nullptr     ? text(fill, "ljust")
                                : pad == Pad::zeros ? "0"
                                                    : " ";
  if (count_code_points(with) != 1) give_up("the fill character must be one character");
  const std::string& whole = receiver.text();
  const int64_t wanted = std::max<int64_t>(to_integer(*width, "width"), 0);
  const int64_t missing =
      std::max<int64_t>(wanted - static_cast<int64_t>(count_code_points(whole)), 0);
  meter.bytes(static_cast<size_t>(missing) > SIZE_MAX / 8
                  ? SIZE_MAX
                  : static_cast<size_t>(missing) * with.size());
  // Python's center puts the odd one to the left when the width is odd.
  const int64_t left = pad == Pad::right    ? 0
                       : pad == Pad::center ? missing / 2 + (missing & wanted & 1)
                                            : missing;
  const bool signs = pad == Pad::zeros && !whole.empty() && (whole[0] == '-' || whole[0] == '+');
  std::string out = signs ? whole.substr(0, 1) : "";
  for (int64_t i = 0; i < left; ++i) out += with;
  out += whole.substr(signs ? 1 : 0);
  for (int64_t i = left; i < missing; ++i) out += with;
  return meter.text(std::move(out), receiver.is_safe());
}

template <Find how>
Value partition_method(Meter& meter, const Value& receiver, Given given) {
  const auto [separator] = bind<1>(".partition()", given, {"sep"});
  const std::string_view by = text(separator, "partition");
  if (by.empty()) give_up("empty separator");
  const std::string& whole = receiver.text();
  const size_t found = how == Find::last ? whole.rfind(by) : whole.find(by);
  std::string parts[3];
  if (found != std::string::npos) {
    parts[0] = whole.substr(0, found);
    parts[1] = by;
    parts[2] = whole.substr(found + by.size());
  } else {
    parts[how == Find::last ? 2 : 0] = whole;
  }
  std::vector<Value> items;
  for (std::string& part : parts) items.push_back(meter.text(std::move(part), receiver.is_safe()));
  return meter.sequence(Kind::tuple, std::move(items));
}

constexpr StringMethod kMethods[] = {
    {"strip", strip_method<Side::both>},
    {"lstrip", strip_method<Side::left>},
    {"rstrip", strip_method<Side::right>},
    {"split", split_method<split>},
    {"rsplit", split_method<split_right>},
    {"splitlines", split_lines_method},
    {"startswith", has_affix<End::start>},
    {"endswith", has_affix<End::end>},
    {"removeprefix", remove_affix<End::start>},
    {"removesuffix", remove_affix<End::end>},
    {"replace", replace_method},
    {"upper", mapped_method<to_upper>},
    {"lower", mapped_method<to_lower>},
    {"casefold", mapped_method<to_lower>},
    {"title", mapped_method<title>},
    {"capitalize", mapped_method<capitalize>},
    {"swapcase", mapped_method<swap_case>},
    {"join", join_method},
    {"find", find_method<Find::first>},
    {"rfind", find_method<Find::last>},
    {"index", find_method<Find::first_or_fail>},
    {"count", count_method},
    {"format", brace_format},
    {"isspace", all_of_method<is_blank>},
    {"isdigit", all_of_method<is_digit>},
    {"isalpha", all_of_method<is_letter>},
    {"isalnum", all_of_method<is_letter_or_digit>},
    {"isupper", cased_method<is_upper, is_lower>},
    {"islower", cased_method<is_lower, is_upper>},
    {"ljust", pad_method<Pad::right>},
    {"rjust", pad_method<Pad::left>},
    {"center", pad_method<Pad::center>},
    {"zfill", pad_method<Pad::zeros>},
    {"partition", partition_method<Find::first>},
    {"rpartition", partition_method<Find::last>},
};

}  // namespace

const StringMethod* find_string_method(std::string_view name) {
  const auto* found = std::ranges::find(kMethods, name, &StringMethod::name);
  return found == std::end(kMethods) ? nullptr : found;
}

}  // namespace troupe::jinja
