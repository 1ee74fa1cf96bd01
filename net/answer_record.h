// Collects the bytes of one cacheable answer while they are written, and puts them into the
// response cache when the Router says that the answer may be kept. Io thread of the bridge. Bound:
// an answer of kCachedResponseBytesMax, all records together kAnswerRecordsBytesMax; what does not
// fit is not kept.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cache/response_cache.h"
#include "cluster/router.h"

namespace troupe {

/// Bytes held by all records of a bridge.
struct RecordedBytes {
  int64_t now = 0;
};

class AnswerRecord {
 public:
  /// `total` must outlive the record.
  AnswerRecord(std::shared_ptr<ResponseCache> cache, const Digest& key, RecordedBytes& total)
      : cache_(std::move(cache)), key_(key), total_(&total) {}
  ~AnswerRecord() { forget(); }
  AnswerRecord(const AnswerRecord&) = delete;
  AnswerRecord& operator=(const AnswerRecord&) = delete;

  /// The next bytes the client is sent.
  void add(std::string_view bytes);
  /// Nothing of this answer is kept.
  void forget();
  /// The answer is complete and may be kept.
  void keep(RequestId id, Finish ending, const Timings& timings);

 private:
  std::shared_ptr<ResponseCache> cache_;
  Digest key_;
  RecordedBytes* total_;
  std::string bytes_;
  bool forgotten_ = false;
};

}  // namespace troupe
