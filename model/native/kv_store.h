// The paged KV of a partition: bytes, and where the units of kv_layout.h lie in them. Written by
// the pool's threads at different positions, read by all between phases.
#pragma once

#include <cstdint>

#include "config/ids.h"
#include "config/result.h"
#include "model/native/arena.h"
#include "model/native/kv_layout.h"
#include "model/partition.h"

namespace troupe::native {

/// Which part of a model's KV a store holds: from these on, as many as its KvLayout says.
struct KvShare {
  int32_t model_layers = 0, model_heads = 0;
  int32_t first_layer = 0, first_head = 0;
};

class KvStore {
 public:
  KvStore() = default;
  static Result<KvStore> make(const KvLayout& layout, const KvShare& share);

  // Layers and kv heads are counted from the store's first.
  const KvLayout& layout() const { return layout_; }
  unsigned char* layer(int32_t index) const { return base_ + layout_.layer(index); }
  unsigned char* unit(int32_t layer_index, int32_t block, int32_t kv_head) const {
    return layer(layer_index) + layout_.unit(block, kv_head);
  }
  /// All layers and heads of a block (copy-on-write).
  void copy(int32_t from, int32_t to) const;

  /// Names the model's units and their layout, whoever holds them: images travel between stores
  /// with equal ids.
  Digest layout_id() const;
  /// Images count layers and heads of the model. invalid_argument unless the image is of this
  /// layout, one of this store's, and the block exists.
  Result<void> export_block(BlockId block, BlockImage& image) const;
  Result<void> import_block(BlockId block, const BlockImage& image) const;
  int64_t bytes() const { return layout_.bytes(); }

 private:
  Result<void> check(BlockId block, const BlockImage& image) const;
  unsigned char* unit_of(BlockId block, const BlockImage& image) const {
    return unit(image.layer - share_.first_layer, block.value, image.kv_head - share_.first_head);
  }

  KvLayout layout_;
  KvShare share_;
  HugeBuffer memory_;
  unsigned char* base_ = nullptr;
};

}  // namespace troupe::native
