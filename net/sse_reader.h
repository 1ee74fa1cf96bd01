// Server-sent events out of a stream of bytes (WHATWG HTML 9.2.6, the `data` field only). Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace troupe {

class SseReader {
 public:
  /// Calls `on_event` for each event that `bytes` completes.
  void read(std::string_view bytes, const std::function<void(std::string_view)>& on_event);
  /// Bytes kept for an event that is not complete; the caller bounds them.
  size_t pending() const { return line_.size() + data_.size(); }

 private:
  void end_line(const std::function<void(std::string_view)>& on_event);

  std::string line_, data_;
  bool has_data_ = false, after_return_ = false;
};

}  // namespace troupe
