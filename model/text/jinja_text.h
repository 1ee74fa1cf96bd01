// Python's str methods over UTF-8: lengths and positions count code points, blanks and letters are
// Unicode's. Pure functions; bytes that are not UTF-8 count as one character each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::jinja {

/// The code point at `at` and how many bytes it takes; a wrong byte is its own value and takes one.
struct CodePoint {
  int32_t value;
  size_t bytes;
};
CodePoint code_point_at(std::string_view text, size_t at);
void append_code_point(std::string& out, int32_t value);

size_t count_code_points(std::string_view text);
/// Byte offset of the code point with this index; text.size() when there are not so many.
size_t byte_offset(std::string_view text, size_t index);

bool is_blank(int32_t code_point);  ///< str.isspace of one character
bool is_letter(int32_t code_point);
bool is_digit(int32_t code_point);
bool is_upper(int32_t code_point);
bool is_lower(int32_t code_point);
bool is_printable(int32_t code_point);

enum class Side : uint8_t { left, right, both };
/// Without `characters`: blanks.
std::string_view strip(std::string_view text, std::optional<std::string_view> characters,
                       Side side);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
/// str.title: each run of letters starts with a capital.
std::string title(std::string_view text);

/// `limit` < 0: no limit. Without `separator`: at runs of blanks, none at the ends.
std::vector<std::string_view> split(std::string_view text,
                                    std::optional<std::string_view> separator, int64_t limit);
std::vector<std::string_view> split_right(std::string_view text,
                                          std::optional<std::string_view> separator, int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text);

/// How often `part` occurs, without overlaps; an empty part occurs between all characters and at
/// the ends.
size_t count_of(std::string_view text, std::string_view part);
/// `limit` < 0: all.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t limit);

/// Escapes & < > ' " for HTML, as markupsafe does.
std::string escape_html(std::string_view text);

}  // namespace troupe::jinja
