// JSON Schema (2020-12, which OpenAPI 3.1 uses) as text: every function gives one schema as JSON.
// Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::schema {

std::string anything();
std::string text();
/// One of these words.
std::string words(std::vector<std::string_view> allowed);
std::string text_of(size_t length_min, size_t length_max);
std::string boolean();
std::string integer(int64_t min, int64_t max);
/// A count or an id: not negative.
std::string count();
std::string number();
std::string number(double min, double max);
std::string list(std::string_view items);
std::string list(std::string_view items, size_t size_min, size_t size_max);
/// An object with any names; `values` holds for each value.
std::string map(std::string_view values);
std::string null();
std::string any_of(const std::vector<std::string>& schemas);
std::string or_null(std::string_view schema);
/// "#/components/schemas/NAME".
std::string ref(std::string_view name);

struct Field {
  std::string_view name;
  std::string schema;
};

/// A request: fields not named are ignored by the server, null counts as absent.
std::string request(const std::vector<Field>& required, const std::vector<Field>& optional);
/// An answer: nothing but these.
std::string answer(const std::vector<Field>& required, const std::vector<Field>& optional = {});

}  // namespace troupe::schema
