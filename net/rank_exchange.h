// Moves the messages of one call over a PipeMesh: all directions at once, so that no order of ranks
// can lock up, under one deadline. Frames are checked against what this rank awaits before a byte
// of theirs is used. One thread, except abort(). After an error it stays ended.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/collective.h"
#include "net/collective_frame.h"
#include "net/pipe_mesh.h"

namespace troupe {

class RankExchange {
 public:
  /// `first` is what people call the mesh's rank 0: where it joins a part of a group.
  RankExchange(std::unique_ptr<PipeMesh> mesh, uint32_t generation, int first = 0);

  int rank() const { return mesh_->rank(); }
  int size() const { return mesh_->size(); }
  size_t direct_bytes_max() const { return mesh_->direct_bytes_max(); }

  /// Starts the clock of a call. `detail` as in FrameHeader.
  Result<void> start(CallTag tag, CallKind kind, int detail = 0);
  struct Out {
    int peer;
    std::span<const std::byte> body;
  };
  struct In {
    int peer;
    std::span<std::byte> body;
  };
  /// One round of the started call: returns when all has come and all has left. A peer stands at
  /// most once in each list.
  Result<void> run(std::span<const Out> outs, std::span<const In> ins);
  /// Ends the generation; always returns an error.
  Result<void> fail(Error reason);
  void abort(uint32_t generation) noexcept;

 private:
  struct Outgoing {
    Out to;
    FrameHeader header;
    size_t sent = 0;  ///< bytes of header and body that the mesh took
    bool finished = false;
  };
  struct Incoming {
    In from;
    FrameHeader header;
    size_t got = 0;  ///< bytes of header and body
    bool finished = false;
  };

  int named(int rank) const { return first_ + rank; }
  FrameHeader header_of(size_t bytes) const;
  Result<size_t> push(Outgoing& out);
  Result<size_t> pull(Incoming& in);
  Result<void> accept(const Incoming& in);
  Result<void> read_fault(const Incoming& in);
  Result<void> wait();
  Error too_late() const;

  std::unique_ptr<PipeMesh> mesh_;
  const uint32_t generation_;
  const int first_;
  std::optional<Error> over_;

  // The call in progress.
  FrameHeader call_;
  Duration allowed_{};
  PipeMesh::Instant until_;
  std::vector<Outgoing> outs_;
  std::vector<Incoming> ins_;
  std::vector<int> readable_, writable_;
  std::vector<char> between_;  ///< by peer: what was written ends with a whole frame
};

}  // namespace troupe
