#include "model/text_stream.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "config/check.h"
#include "config/limits.h"
#include "model/text/unicode.h"

namespace troupe {

namespace {

struct Found {
  size_t begin, end;
};

/// The stop string that is complete first, and of those that end there the longest. The first
/// `searched` bytes are known to hold none.
std::optional<Found> find_stop(std::string_view text, const std::vector<std::string>& stops,
                               size_t searched) {
  std::optional<Found> best;
  for (const std::string& stop : stops) {
    const size_t from = searched >= stop.size() ? searched - stop.size() + 1 : 0;
    const size_t begin = text.find(stop, from);
    if (begin == std::string_view::npos) continue;
    const Found found{begin, begin + stop.size()};
    if (!best || std::pair(found.end, found.begin) < std::pair(best->end, best->begin))
      best = found;
  }
  return best;
}

/// Length of the longest end of `text` that begins some stop string.
size_t unsure_bytes(std::string_view text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops)
    for (size_t n = std::min(stop.size() - 1, text.size()); n > longest; --n)
      if (text.ends_with(std::string_view(stop).substr(0, n))) longest = n;
  return longest;
}

}  // namespace

TextStream::TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops)
    : tokenizer_(std::move(tokenizer)), characters_(std::make_unique<LossyUtf8>()) {
  TROUPE_CHECK(stops.size() <= kStopStringsMax, stops.size());
  for (const std::string& stop : stops) {
    TROUPE_CHECK(stop.size() <= kStopStringBytesMax, stop.size());
    // Valid UTF-8, so that a match can't begin inside a character.
    LossyUtf8 lossy;
    std::string valid;
    lossy.push(stop, valid);
    lossy.finish(valid);
    if (!valid.empty()) stops_.push_back(std::move(valid));
  }
}

TextStream::~TextStream() = default;
TextStream::TextStream(TextStream&&) noexcept = default;
TextStream& TextStream::operator=(TextStream&&) noexcept = default;

TextStream::Piece TextStream::take(size_t searched) {
  Piece piece;
  if (const auto found = find_stop(held_, stops_, searched)) {
    stopped_ = true;
    held_.resize(found->begin);
    piece.text = std::exchange(held_, {});
  } else {
    const size_t sure = held_.size() - unsure_bytes(held_, stops_);
    piece.text = held_.substr(0, sure);
    held_.erase(0, sure);
  }
  piece.stopped = stopped_;
  shown_ += piece.text.size();
  return piece;
}

TextStream::Piece TextStream::push(TokenId token) {
  if (stopped_) return {"", true};
  const size_t searched = held_.size();
  characters_->push(tokenizer_->bytes_of(token), held_);
  return take(searched);
}

std::string TextStream::finish() {
  if (stopped_) return {};
  const size_t searched = held_.size();
  characters_->finish(held_);
  std::string text = take(searched).text;
  text += held_;
  shown_ += held_.size();
  held_.clear();
  return text;
}

}  // namespace troupe
