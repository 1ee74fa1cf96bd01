#include "net/tcp_mesh.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "config/check.h"
#include "net/collective_frame.h"

namespace troupe {

TcpMesh::TcpMesh(int rank, uint32_t generation, std::vector<std::optional<TlsPipe>> pipes,
                 std::shared_ptr<StopSignal> stop)
    : rank_(rank), generation_(generation), pipes_(std::move(pipes)), stop_(std::move(stop)) {
  for (int r = 0; r < size(); ++r)
    TROUPE_CHECK(pipes_[static_cast<size_t>(r)].has_value() == (r != rank), r, rank);
  polled_.reserve(2 * pipes_.size() + 1);
}

std::unexpected<Error> TcpMesh::gone(int peer) {
  return fail(ErrorCode::unavailable,
              fmt::format("the connection of rank {} to rank {} is over ({}); start another "
                          "generation",
                          rank_, peer, pipe(peer).ending()));
}

Result<size_t> TcpMesh::write(int peer, std::span<const std::byte> bytes) {
  const auto taken = pipe(peer).write(bytes);
  if (!taken) return gone(peer);
  return *taken;
}

Result<bool> TcpMesh::flush(int peer) {
  const auto flushed = pipe(peer).flush();
  if (!flushed) return gone(peer);
  return *flushed;
}

Result<size_t> TcpMesh::read(int peer, std::span<std::byte> into) {
  const auto got = pipe(peer).read(into);
  if (!got) return gone(peer);
  return *got;
}

Result<bool> TcpMesh::wait(const Interest& interest, Instant until) {
  polled_.assign(1, {stop_->descriptor(), POLLIN, 0});
  for (const int r : interest.readable) polled_.push_back({pipe(r).descriptor(), POLLIN, 0});
  // A peer that is written to and closes its side has given up: it would read on otherwise.
  for (const int r : interest.writable)
    polled_.push_back({pipe(r).descriptor(), POLLOUT | POLLRDHUP, 0});
  const Duration left =
      std::max(until - PipeMesh::Instant::clock::now(), PipeMesh::Instant::duration::zero());
  constexpr int64_t kSecond = 1'000'000'000;
  const timespec limit{.tv_sec = left.count() / kSecond, .tv_nsec = left.count() % kSecond};
  const int ready = ::ppoll(polled_.data(), polled_.size(), &limit, nullptr);
  if (ready == 0) return false;
  TROUPE_CHECK(ready > 0 || errno == EINTR, errno);
  for (size_t i = 0; ready > 0 && i < interest.writable.size(); ++i) {
    const pollfd& seen = polled_[1 + interest.readable.size() + i];
    if ((seen.revents & POLLRDHUP) == 0 || (seen.revents & POLLOUT) != 0) continue;
    return fail(ErrorCode::unavailable,
                fmt::format("rank {} gave up while rank {} was sending to it; start another "
                            "generation",
                            interest.writable[i], rank_));
  }
  return true;
}

Result<void> TcpMesh::check() {
  if (!stop_->raised()) return {};
  return fail(ErrorCode::aborted,
              fmt::format("generation {} was aborted; start another one", generation_));
}

void TcpMesh::end(const Error& reason, std::span<const char> between) noexcept {
  const std::string_view text = std::string_view(reason.message).substr(0, kCollectiveTextBytesMax);
  const FrameHeader header{.generation = generation_,
                           .kind = CallKind::fault,
                           .detail = static_cast<uint16_t>(reason.code),
                           .bytes = text.size()};
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    TlsPipe& to = pipe(r);
    if (between[static_cast<size_t>(r)] != 0 && to.ending().empty()) {
      to.write(std::as_bytes(std::span(&header, 1)));
      to.write(std::as_bytes(std::span(text)));
      to.flush();
    }
    // Who waits for a rank that hangs meets its own deadline soon; an end of the connection before
    // would only hide the reason.
    if (reason.code != ErrorCode::deadline_exceeded) to.finish();
  }
}

}  // namespace troupe
