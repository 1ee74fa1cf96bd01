// The key-value part of a GGUF file: one value at a time. Used by model/gguf.cpp only.
#pragma once

#include <cstdint>
#include <string>

#include "config/result.h"
#include "model/byte_cursor.h"
#include "model/gguf.h"

namespace troupe {

/// The messages of both say what is wrong as a clause; the caller adds the file and the key.
/// A length-prefixed string of at most `bytes_max` bytes.
Result<std::string> take_gguf_string(ByteCursor& cursor, size_t bytes_max);

/// A type number and the value that follows it.
Result<GgufValue> take_gguf_value(ByteCursor& cursor);

}  // namespace troupe
