// Remembers weights ids from one start to the next, so that a file that did not change is not read
// whole again: one small file, private to its owner. It answers what a file was, not what bytes
// are: bytes from a peer are always verified.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "config/ids.h"
#include "model/files/mapped_file.h"

namespace troupe {

/// Any thread or process may use the same path at once; a writer that loses a race is forgotten.
class WeightsIdMemory {
 public:
  /// An empty path remembers nothing.
  explicit WeightsIdMemory(std::string path) : path_(std::move(path)) {}

  /// The id of files in exactly these states. nullopt also if the memory is damaged, somebody
  /// else's, or readable by others.
  std::optional<Digest> recall(std::span<const FileFacts> files) const;
  /// Keeps the last kWeightsIdsMax. Files changed a moment ago are not remembered: they may change
  /// again within one tick of their clock. A memory that can't be written costs time, nothing else.
  void remember(std::span<const FileFacts> files, const Digest& id) const;

 private:
  std::string path_;
};

}  // namespace troupe
