#include "net/shm_mesh.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "config/check.h"
#include "config/limits.h"
#include "net/collective_frame.h"

namespace troupe {

namespace {

std::unexpected<Error> damaged(int peer) {
  return fail(ErrorCode::data_loss,
              fmt::format("the shared memory between this rank and rank {} was overwritten; start "
                          "another generation",
                          peer));
}

}  // namespace

ShmMesh::ShmMesh(std::shared_ptr<ShmMap> map, int rank)
    : map_(std::move(map)),
      control_(map_->control()),
      rank_(rank),
      peers_(static_cast<size_t>(map_->ranks())) {
  TROUPE_CHECK(rank >= 0 && rank < map_->ranks(), rank);
  for (int r = 0; r < map_->ranks(); ++r)
    if (r != rank)
      peer(r) = {&map_->ring(rank, r), &map_->ring(r, rank),
                 &control_.bells[static_cast<size_t>(r)]};
}

void ShmMesh::publish(Peer& to) {
  to.out->publish(to.staged);
  to.published = to.staged;
  to.bell->ring();
}

Result<size_t> ShmMesh::write(int rank, std::span<const std::byte> bytes) {
  Peer& to = peer(rank);
  size_t written = 0;
  while (written < bytes.size()) {
    const auto room = to.out->room(to.staged);
    if (!room) return damaged(rank);
    const size_t unpublished = static_cast<size_t>(to.staged - to.published);
    const size_t piece =
        std::min({bytes.size() - written, *room, size_t{kShmPieceBytes} - unpublished});
    if (piece == 0) break;
    to.out->put(to.staged, bytes.subspan(written, piece));
    to.staged += piece;
    written += piece;
    if (to.staged - to.published == kShmPieceBytes) publish(to);
  }
  return written;
}

Result<bool> ShmMesh::flush(int rank) {
  Peer& to = peer(rank);
  if (to.staged != to.published) publish(to);
  return true;
}

Result<size_t> ShmMesh::read(int rank, std::span<std::byte> into) {
  Peer& from = peer(rank);
  size_t read = 0;
  while (read < into.size()) {
    const auto available = from.in->available(from.taken);
    if (!available) return damaged(rank);
    const size_t piece = std::min({into.size() - read, *available, size_t{kShmPieceBytes}});
    if (piece == 0) break;
    from.in->copy(from.taken, into.subspan(read, piece));
    read += piece;
    const uint64_t before = std::exchange(from.taken, from.taken + piece);
    if (from.in->release(before, from.taken)) from.bell->ring();
  }
  return read;
}

bool ShmMesh::over() const { return control_.aborted.load() != 0 || control_.fault.load() == 2; }

bool ShmMesh::may_go_on(const Interest& interest) const {
  if (over()) return true;
  for (const int r : interest.readable) {
    const Peer& from = peers_[static_cast<size_t>(r)];
    // Counters that make no sense end the wait too: read() says so.
    if (from.in->available(from.taken) != size_t{0}) return true;
  }
  for (const int r : interest.writable) {
    const Peer& to = peers_[static_cast<size_t>(r)];
    if (to.out->has_room(to.staged)) return true;
  }
  return false;
}

Result<bool> ShmMesh::wait(const Interest& interest, Instant until) {
  if (spin_.spin([&] { return may_go_on(interest); })) return true;
  FutexBell& bell = control_.bells[static_cast<size_t>(rank_)];
  for (;;) {
    const uint32_t ticket = bell.ready();
    if (may_go_on(interest)) {
      bell.stay();
      return true;
    }
    const Duration left = until - std::chrono::steady_clock::now();
    bell.sleep(ticket, left);
    if (may_go_on(interest)) return true;
    if (left <= Duration::zero()) return false;
  }
}

Result<void> ShmMesh::check() {
  if (control_.aborted.load() != 0)
    return fail(ErrorCode::aborted,
                fmt::format("generation {} was aborted; start another one", map_->generation()));
  if (control_.fault.load() != 2) return {};
  const size_t length = std::min<size_t>(control_.fault_length, kCollectiveTextBytesMax);
  return std::unexpected(fault_from(control_.fault_code, std::string(control_.fault_text, length)));
}

void ShmMesh::end(const Error& reason, std::span<const char>) noexcept {
  uint32_t none = 0;
  if (!control_.fault.compare_exchange_strong(none, 1)) return;
  control_.fault_code = static_cast<uint16_t>(reason.code);
  control_.fault_length =
      static_cast<uint16_t>(std::min(reason.message.size(), kCollectiveTextBytesMax));
  std::memcpy(control_.fault_text, reason.message.data(), control_.fault_length);
  control_.fault.store(2);
  for (int r = 0; r < size(); ++r) control_.bells[static_cast<size_t>(r)].ring_always();
}

}  // namespace troupe
