#include "cluster/cached_response_codec.h"

#include <bit>
#include <concepts>
#include <cstring>
#include <utility>

namespace troupe {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kMagic = 0x31524354;  // "TCR1": the last digit is the version
constexpr size_t kChoiceBytesMin = 12;   // finish and two counts
constexpr size_t kLogProbsBytesMin = 8;
constexpr size_t kTopBytes = 8;

struct Counter {
  size_t bytes = 0;
  template <class T>
  void put(T) {
    bytes += sizeof(T);
  }
};

struct Writer {
  std::vector<std::byte> bytes;
  template <class T>
  void put(T value) {
    const size_t at = bytes.size();
    bytes.resize(at + sizeof(T));
    std::memcpy(bytes.data() + at, &value, sizeof(T));
  }
};

template <class Out>
void write(Out& out, const std::vector<LogProbs>& all) {
  out.put(static_cast<uint32_t>(all.size()));
  for (const LogProbs& one : all) {
    out.put(one.logprob);
    out.put(static_cast<uint32_t>(one.top.size()));
    for (const TokenLogprob& top : one.top) {
      out.put(top.token);
      out.put(top.logprob);
    }
  }
}

template <class Out>
void write(Out& out, const CachedResponse& response) {
  out.put(kMagic);
  out.put(static_cast<uint32_t>(response.choices.size()));
  for (const CachedChoice& choice : response.choices) {
    out.put(static_cast<uint32_t>(choice.finish));
    out.put(static_cast<uint32_t>(choice.tokens.size()));
    for (TokenId token : choice.tokens) out.put(token.value);
    write(out, choice.logprobs);
  }
  write(out, response.prompt_logprobs);
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  T take() {
    T value{};
    if (bytes_.size() < sizeof(T)) {
      broken_ = true;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  /// A count of things of at least `bytes_each`: never more than the rest can hold.
  size_t count(size_t bytes_each) {
    const auto n = take<uint32_t>();
    if (n > bytes_.size() / bytes_each) broken_ = true;
    return broken_ ? 0 : n;
  }
  std::vector<LogProbs> logprobs() {
    std::vector<LogProbs> all(count(kLogProbsBytesMin));
    for (LogProbs& one : all) {
      one.logprob = take<float>();
      one.top.resize(count(kTopBytes));
      for (TokenLogprob& top : one.top) {
        top.token = take<int32_t>();
        top.logprob = take<float>();
      }
      if (broken_) return {};
    }
    return all;
  }
  void mark_broken() { broken_ = true; }
  bool broken() const { return broken_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
  bool broken_ = false;
};

}  // namespace

size_t encoded_size(const CachedResponse& response) {
  Counter counter;
  write(counter, response);
  return counter.bytes;
}

std::vector<std::byte> encode(const CachedResponse& response) {
  Writer writer;
  writer.bytes.reserve(encoded_size(response));
  write(writer, response);
  return std::move(writer.bytes);
}

Result<CachedResponse> decode_cached_response(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  if (reader.take<uint32_t>() != kMagic)
    return fail(ErrorCode::data_loss, "The cached answer is of another format; it is not used.");
  CachedResponse response;
  response.choices.resize(reader.count(kChoiceBytesMin));
  for (CachedChoice& choice : response.choices) {
    const auto finish = reader.take<uint32_t>();
    if (finish != static_cast<uint32_t>(Finish::stop) &&
        finish != static_cast<uint32_t>(Finish::length))
      reader.mark_broken();
    choice.finish = static_cast<Finish>(finish);
    choice.tokens.resize(reader.count(sizeof(int32_t)));
    for (TokenId& token : choice.tokens) token = TokenId(reader.take<int32_t>());
    choice.logprobs = reader.logprobs();
    if (reader.broken()) break;
  }
  response.prompt_logprobs = reader.logprobs();
  if (reader.broken() || !reader.at_end())
    return fail(ErrorCode::data_loss,
                "The cached answer is cut or has impossible counts; it is not used.");
  return response;
}

}  // namespace troupe
