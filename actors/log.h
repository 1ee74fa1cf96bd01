// Logs to standard error: one line an event (<= kLogEventBytesMax), text or JSON. Never blocks:
// when the pipe is full the event is dropped and counted. Prompts and outputs never go here. Any
// thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace troupe {

enum class LogFormat : uint8_t { text, json };
enum class LogLevel : uint8_t { info, warning, error };

/// Once, before threads. `who`: the process, "n1/router".
void start_log(LogFormat format, std::string who);

using LogField = std::pair<std::string_view, std::string>;
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

/// No event is written after this returns: what the process says next on standard error is its last
/// word.
void end_log();

/// Events lost to a full pipe since the start.
uint64_t log_events_dropped();

}  // namespace troupe
