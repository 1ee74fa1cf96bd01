#include "net/shm_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "config/check.h"

namespace troupe {

namespace {

constexpr uint64_t kMapMagic = 0x31304d4853505254;  // "TRPSHM01"
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr size_t kControlBytes = (sizeof(ShmControl) + 4095) / 4096 * 4096;

size_t map_bytes(uint32_t ranks) {
  return kControlBytes + size_t{ranks} * (ranks - 1) * sizeof(ShmRing);
}

std::byte* map(int descriptor, size_t bytes) {
  void* base =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, 0);
  return base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
}

std::unexpected<Error> no_memory(size_t bytes) {
  const int error = errno;
  return fail(
      ErrorCode::unavailable,
      fmt::format("{} KiB of shared memory for a group's ranks can't be had ({}); free memory "
                  "or spread the group over more hosts",
                  bytes / 1024, std::strerror(error)));
}

std::unexpected<Error> foreign() {
  return fail(ErrorCode::data_loss,
              "the descriptor is not the shared memory of a group made by this build; start all "
              "ranks of a group from one build");
}

}  // namespace

Result<std::shared_ptr<ShmMap>> ShmMap::create(int ranks, uint32_t generation) {
  if (ranks < 2 || ranks > kCollectiveRanksMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} ranks can't share memory; give a host 2 to {} ranks of a group",
                            ranks, kCollectiveRanksMax));
  const auto count = static_cast<uint32_t>(ranks);
  const size_t bytes = map_bytes(count);
  FileDescriptor memory(::memfd_create("troupe ranks", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  // Allocated now: a page that is missing later would be a SIGBUS in the middle of a step.
  if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fallocate(memory.get(), 0, 0, static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0)
    return no_memory(bytes);
  std::byte* const base = map(memory.get(), bytes);
  if (base == nullptr) return no_memory(bytes);
  auto* control = new (base) ShmControl;
  control->magic = kMapMagic;
  control->ranks = count;
  control->generation = generation;
  // The rings are zeroed memory, which is what an empty one is.
  return std::shared_ptr<ShmMap>(new ShmMap(std::move(memory), base, bytes, count, generation));
}

Result<std::shared_ptr<ShmMap>> ShmMap::open(int descriptor) {
  struct stat status {};
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || ::fstat(descriptor, &status) != 0 ||
      static_cast<size_t>(status.st_size) < kControlBytes)
    return foreign();
  const auto bytes = static_cast<size_t>(status.st_size);
  std::byte* const base = map(descriptor, bytes);
  if (base == nullptr) return no_memory(bytes);
  const auto* control = std::launder(reinterpret_cast<const ShmControl*>(base));
  const uint32_t ranks = control->ranks, generation = control->generation;
  if (control->magic != kMapMagic || ranks < 2 || ranks > kCollectiveRanksMax ||
      map_bytes(ranks) != bytes) {
    ::munmap(base, bytes);
    return foreign();
  }
  return std::shared_ptr<ShmMap>(new ShmMap({}, base, bytes, ranks, generation));
}

ShmMap::~ShmMap() { ::munmap(base_, bytes_); }

ShmControl& ShmMap::control() const { return *std::launder(reinterpret_cast<ShmControl*>(base_)); }

ShmRing& ShmMap::ring(int from, int to) const {
  TROUPE_CHECK(from != to && from >= 0 && to >= 0 && from < ranks() && to < ranks(), from, to);
  const int index = from * (ranks() - 1) + (to < from ? to : to - 1);
  std::byte* const place = base_ + kControlBytes + static_cast<size_t>(index) * sizeof(ShmRing);
  return *std::launder(reinterpret_cast<ShmRing*>(place));
}

void ShmMap::abort() const noexcept {
  control().aborted.store(1);
  for (uint32_t r = 0; r < ranks_; ++r) control().bells[r].ring_always();
}

}  // namespace troupe
