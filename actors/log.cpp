#include "actors/log.h"

#include <poll.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

#include "config/limits.h"

namespace troupe {

namespace {

std::atomic<uint64_t> dropped{0};
std::mutex ending;   // held while an event is written
bool ended = false;  // guarded by `ending`
LogFormat chosen = LogFormat::text;
std::string process = "troupe";

/// A line is at most PIPE_BUF bytes, so a write to a pipe that polls writable is atomic and does
/// not block.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (line.size() > kLogEventBytesMax) {
      line.resize(kLogEventBytesMax);
      line.data()[kLogEventBytesMax - 1] = '\n';
    }
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT) ||
        ::write(STDERR_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
      dropped.fetch_add(1, std::memory_order_relaxed);
  }
  void flush_() override {}
};

void append_json(std::string& out, std::string_view text) {
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  out += '"';
}

}  // namespace

void start_log(LogFormat format, std::string who) {
  chosen = format;
  process = std::move(who);
  auto logger = std::make_shared<spdlog::logger>("troupe", std::make_shared<StderrSink>());
  logger->set_pattern(format == LogFormat::json ? "%v" : "%Y-%m-%dT%H:%M:%S.%e %L %v");
  spdlog::set_default_logger(std::move(logger));
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  const auto spd_level = level == LogLevel::error     ? spdlog::level::err
                         : level == LogLevel::warning ? spdlog::level::warn
                                                      : spdlog::level::info;
  std::string line;
  if (chosen == LogFormat::json) {
    const auto now =
        std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
    line = fmt::format("{{\"time_ms\":{},\"level\":\"{}\",\"process\":",
                       now.time_since_epoch().count(), spdlog::level::to_string_view(spd_level));
    append_json(line, process);
    line += ",\"event\":";
    append_json(line, event);
    for (const auto& [key, value] : fields) {
      line += ',';
      append_json(line, key);
      line += ':';
      append_json(line, value);
    }
    line += '}';
  } else {
    line = fmt::format("{}: {}", process, event);
    for (const auto& [key, value] : fields) line += fmt::format(" {}={}", key, value);
    for (char& c : line)
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  std::lock_guard lock(ending);
  if (!ended) spdlog::log(spd_level, "{}", line);
}

void end_log() {
  std::lock_guard lock(ending);
  ended = true;
}

uint64_t log_events_dropped() { return dropped.load(std::memory_order_relaxed); }

}  // namespace troupe
