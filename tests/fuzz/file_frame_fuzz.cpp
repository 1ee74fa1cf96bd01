// What comes over the `file` service. The first 48 bytes as a request; all but the first two as an
// answer to a request for what follows the byte which those two name. Any bytes are refused or mean
// one thing, and how the stream is cut changes nothing.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "config/limits.h"
#include "net/file_frame.h"

namespace {

struct Outcome {
  bool good = true;
  std::vector<uint8_t> file;
  std::optional<troupe::FileAnswer> answer;
  uint64_t at = 0;
  bool gave_up = false;
  bool operator==(const Outcome&) const = default;
};

Outcome read(std::span<const uint8_t> bytes, uint64_t from, size_t cut) {
  troupe::FileAnswerReader reader(from);
  Outcome outcome;
  while (outcome.good && !bytes.empty()) {
    auto part = bytes.first(std::min(cut, bytes.size()));
    bytes = bytes.subspan(part.size());
    while (outcome.good && !part.empty()) {
      const size_t before = part.size();
      const auto data = reader.take(part);
      outcome.good = data.has_value();
      if (!data) break;
      if (part.size() == before) std::abort();  // it must get on
      outcome.file.insert(outcome.file.end(), data->begin(), data->end());
    }
  }
  outcome.answer = reader.answer();
  outcome.at = reader.at();
  outcome.gave_up = reader.gave_up();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  if (size >= troupe::kFileRequestBytes) {
    const auto head = bytes.first<troupe::kFileRequestBytes>();
    if (const auto request = troupe::decode_file_request(head);
        request && !std::ranges::equal(troupe::encode_file_request(*request), head))
      std::abort();
  }
  if (size < 2) return 0;
  const uint64_t from = data[0] + 256u * data[1];
  const auto answer = bytes.subspan(2);
  const Outcome whole = read(answer, from, answer.size() + 1);
  if (whole != read(answer, from, 1) || whole != read(answer, from, 7)) std::abort();
  if (whole.at != from + whole.file.size()) std::abort();
  if (!whole.answer) return 0;
  const auto head = answer.first<troupe::kFileAnswerBytes>();
  if (!std::ranges::equal(troupe::encode_file_answer(*whole.answer), head)) std::abort();
  if (whole.answer->refusal ? !whole.file.empty() : whole.at > whole.answer->size) std::abort();
  return 0;
}
