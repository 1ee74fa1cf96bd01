// The tables find_filter() looks in, one per file.
#pragma once

#include <span>

#include "model/text/jinja_library.h"

namespace troupe::jinja {

std::span<const Filter> text_filters();
std::span<const Filter> number_filters();
std::span<const Filter> item_filters();
std::span<const Filter> choice_filters();

/// What sort, min, max, unique and dictsort compare: strings in lower case unless `case_sensitive`.
Value sort_key(Meter& meter, const Value& value, const Value* case_sensitive);
/// Follows "a.b.0" into a value, as the `attribute` argument of many filters does.
Value follow_attribute(Meter& meter, const Value& value, const Value& path);

}  // namespace troupe::jinja
