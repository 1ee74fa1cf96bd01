#include "model/files/weights_id.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "config/digest.h"

namespace troupe {

Digest weights_id_of(std::span<const std::span<const std::byte>> parts) {
  std::vector<std::span<const std::byte>> chunks;
  for (auto part : parts)
    for (size_t at = 0; at < part.size(); at += kDigestChunkBytes)
      chunks.push_back(part.subspan(at, std::min(kDigestChunkBytes, part.size() - at)));
  std::vector<Digest> digests(chunks.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < chunks.size(); i = next++) digests[i] = sha256(chunks[i]);
  };
  {
    constexpr size_t kThreadsMax = 8;  // beyond that memory bandwidth is the limit
    const size_t threads = std::min<size_t>(
        {kThreadsMax, std::max(1u, std::thread::hardware_concurrency()), chunks.size()});
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
  }
  return sha256(std::as_bytes(std::span(digests)));
}

}  // namespace troupe
