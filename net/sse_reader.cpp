#include "net/sse_reader.h"

namespace troupe {

void SseReader::read(std::string_view bytes,
                     const std::function<void(std::string_view)>& on_event) {
  for (char c : bytes) {
    const bool line_feed_of_pair = after_return_ && c == '\n';
    after_return_ = c == '\r';
    if (line_feed_of_pair) continue;
    if (c == '\n' || c == '\r')
      end_line(on_event);
    else
      line_ += c;
  }
}

void SseReader::end_line(const std::function<void(std::string_view)>& on_event) {
  if (line_.empty()) {
    if (has_data_) on_event(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  const size_t colon = line_.find(':');
  if (line_.substr(0, colon) == "data") {
    std::string_view value =
        colon == std::string::npos ? std::string_view{} : std::string_view(line_).substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
  }
  line_.clear();
}

}  // namespace troupe
