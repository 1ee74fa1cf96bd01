#include "model/gguf_metadata.h"

#include <type_traits>

#include "config/limits.h"

namespace troupe {

namespace {

// GGUF value types, as the specification numbers them.
enum class ValueType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

std::unexpected<Error> truncated() { return fail(ErrorCode::data_loss, "the file ends inside it"); }

Result<bool> take_bool(ByteCursor& cursor) {
  const auto byte = cursor.take<uint8_t>();
  if (!byte) return truncated();
  if (*byte > 1) return fail(ErrorCode::data_loss, "a boolean is neither 0 nor 1");
  return *byte == 1;
}

template <class T>
Result<GgufValue> take_scalar(ByteCursor& cursor) {
  const auto value = cursor.take<T>();
  if (!value) return truncated();
  if constexpr (std::is_floating_point_v<T>) {
    return GgufValue(static_cast<double>(*value));
  } else if constexpr (std::is_signed_v<T>) {
    return GgufValue(static_cast<int64_t>(*value));
  } else {
    return GgufValue(static_cast<uint64_t>(*value));
  }
}

/// `count` is known to be at most kMetadataArrayMax; checked here against what is left before
/// memory is taken.
template <class T>
Result<GgufValue> take_numbers(ByteCursor& cursor, uint64_t count) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
  if (count > cursor.left() / sizeof(T)) return truncated();
  std::vector<Wide> values;
  values.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    const T value = *cursor.take<T>();
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (value > static_cast<uint64_t>(INT64_MAX))
        return fail(ErrorCode::data_loss, "a number in the array is above 2^63");
    }
    values.push_back(static_cast<Wide>(value));
  }
  return GgufValue(std::move(values));
}

Result<GgufValue> take_bools(ByteCursor& cursor, uint64_t count) {
  if (count > cursor.left()) return truncated();
  std::vector<bool> values;
  values.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    const auto value = take_bool(cursor);
    if (!value) return std::unexpected(value.error());
    values.push_back(*value);
  }
  return GgufValue(std::move(values));
}

Result<GgufValue> take_strings(ByteCursor& cursor, uint64_t count) {
  if (count > cursor.left() / sizeof(uint64_t)) return truncated();
  std::vector<std::string> values;
  values.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    auto value = take_gguf_string(cursor, kMetadataStringBytesMax);
    if (!value) return std::unexpected(value.error());
    values.push_back(std::move(*value));
  }
  return GgufValue(std::move(values));
}

std::unexpected<Error> unknown_type(uint32_t type) {
  return fail(ErrorCode::data_loss,
              "its type number " + std::to_string(type) + " is not one of GGUF");
}

Result<GgufValue> take_array(ByteCursor& cursor) {
  const auto type = cursor.take<uint32_t>();
  const auto count = cursor.take<uint64_t>();
  if (!type || !count) return truncated();
  if (*count > kMetadataArrayMax)
    return fail(ErrorCode::too_large, "it has " + std::to_string(*count) +
                                          " elements, the limit is " +
                                          std::to_string(kMetadataArrayMax));
  switch (static_cast<ValueType>(*type)) {
    case ValueType::u8:
      return take_numbers<uint8_t>(cursor, *count);
    case ValueType::i8:
      return take_numbers<int8_t>(cursor, *count);
    case ValueType::u16:
      return take_numbers<uint16_t>(cursor, *count);
    case ValueType::i16:
      return take_numbers<int16_t>(cursor, *count);
    case ValueType::u32:
      return take_numbers<uint32_t>(cursor, *count);
    case ValueType::i32:
      return take_numbers<int32_t>(cursor, *count);
    case ValueType::u64:
      return take_numbers<uint64_t>(cursor, *count);
    case ValueType::i64:
      return take_numbers<int64_t>(cursor, *count);
    case ValueType::f32:
      return take_numbers<float>(cursor, *count);
    case ValueType::f64:
      return take_numbers<double>(cursor, *count);
    case ValueType::boolean:
      return take_bools(cursor, *count);
    case ValueType::string:
      return take_strings(cursor, *count);
    case ValueType::array:
      return fail(ErrorCode::unsupported, "it is an array of arrays, which no model needs");
  }
  return unknown_type(*type);
}

}  // namespace

Result<std::string> take_gguf_string(ByteCursor& cursor, size_t bytes_max) {
  const auto size = cursor.take<uint64_t>();
  if (!size) return truncated();
  if (*size > bytes_max)
    return fail(ErrorCode::too_large, "a string of " + std::to_string(*size) +
                                          " bytes is over the limit of " +
                                          std::to_string(bytes_max));
  const auto text = cursor.take_text(*size);
  if (!text) return truncated();
  return std::string(*text);
}

Result<GgufValue> take_gguf_value(ByteCursor& cursor) {
  const auto type = cursor.take<uint32_t>();
  if (!type) return truncated();
  switch (static_cast<ValueType>(*type)) {
    case ValueType::u8:
      return take_scalar<uint8_t>(cursor);
    case ValueType::i8:
      return take_scalar<int8_t>(cursor);
    case ValueType::u16:
      return take_scalar<uint16_t>(cursor);
    case ValueType::i16:
      return take_scalar<int16_t>(cursor);
    case ValueType::u32:
      return take_scalar<uint32_t>(cursor);
    case ValueType::i32:
      return take_scalar<int32_t>(cursor);
    case ValueType::u64:
      return take_scalar<uint64_t>(cursor);
    case ValueType::i64:
      return take_scalar<int64_t>(cursor);
    case ValueType::f32:
      return take_scalar<float>(cursor);
    case ValueType::f64:
      return take_scalar<double>(cursor);
    case ValueType::boolean: {
      const auto value = take_bool(cursor);
      if (!value) return std::unexpected(value.error());
      return GgufValue(*value);
    }
    case ValueType::string: {
      auto value = take_gguf_string(cursor, kMetadataStringBytesMax);
      if (!value) return std::unexpected(value.error());
      return GgufValue(std::move(*value));
    }
    case ValueType::array:
      return take_array(cursor);
  }
  return unknown_type(*type);
}

}  // namespace troupe
