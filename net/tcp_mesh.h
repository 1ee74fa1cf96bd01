// PipeMesh over one TLS connection to each other rank. Waits in poll(). Owner: one RankExchange;
// one thread, except abort().
#pragma once

#include <poll.h>

#include <memory>
#include <optional>
#include <vector>

#include "config/limits.h"
#include "net/pipe_mesh.h"
#include "net/stop_signal.h"
#include "net/tls_pipe.h"

namespace troupe {

class TcpMesh final : public PipeMesh {
 public:
  /// `pipes` by rank; that of `rank` itself is empty. `stop` ends the generation.
  TcpMesh(int rank, uint32_t generation, std::vector<std::optional<TlsPipe>> pipes,
          std::shared_ptr<StopSignal> stop);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(pipes_.size()); }
  size_t direct_bytes_max() const override { return kDirectGatherBytesMax; }
  Result<size_t> write(int peer, std::span<const std::byte> bytes) override;
  Result<bool> flush(int peer) override;
  Result<size_t> read(int peer, std::span<std::byte> into) override;
  Result<bool> wait(const Interest& interest, Instant until) override;
  Result<void> check() override;
  void end(const Error& reason, std::span<const char> between) noexcept override;
  void abort() noexcept override { stop_->raise(); }

 private:
  TlsPipe& pipe(int peer) { return *pipes_[static_cast<size_t>(peer)]; }
  std::unexpected<Error> gone(int peer);

  const int rank_;
  const uint32_t generation_;
  std::vector<std::optional<TlsPipe>> pipes_;
  std::shared_ptr<StopSignal> stop_;
  std::vector<pollfd> polled_;
};

}  // namespace troupe
