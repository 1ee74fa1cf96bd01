#include "model/native/kv_store.h"

#include <cstring>
#include <string>

#include "model/numerics_id.h"

namespace troupe::native {

Result<KvStore> KvStore::make(const KvLayout& layout, const KvShare& share) {
  KvStore store;
  store.layout_ = layout;
  store.share_ = share;
  auto memory = HugeBuffer::make(static_cast<size_t>(store.bytes()));
  if (!memory) return std::unexpected(memory.error());
  store.memory_ = std::move(*memory);
  store.base_ = reinterpret_cast<unsigned char*>(store.memory_.data());
  return store;
}

void KvStore::copy(int32_t from, int32_t to) const {
  std::memcpy(unit(0, to, 0), unit(0, from, 0), static_cast<size_t>(layout_.block_bytes()));
}

Digest KvStore::layout_id() const {
  return NumericsId()
      .add(layout_.format == KvFormat::f16 ? "native kv f16, K [dim][16], V [16][dim]"
                                           : "native kv int8, K [dim][16], V [16][dim], scales")
      .add(static_cast<uint64_t>(share_.model_layers))
      .add(static_cast<uint64_t>(share_.model_heads))
      .add(static_cast<uint64_t>(layout_.head_dim))
      .finish();
}

Result<void> KvStore::check(BlockId block, const BlockImage& image) const {
  if (block.value < 0 || block.value >= layout_.blocks)
    return fail(ErrorCode::invalid_argument, "There is no KV block " + std::to_string(block.value) +
                                                 ": name one below " +
                                                 std::to_string(layout_.blocks) + ".");
  if (image.kv_layout_id != layout_id() || image.layer < 0 || image.layer >= share_.model_layers ||
      image.kv_head < 0 || image.kv_head >= share_.model_heads ||
      image.bytes.size() != static_cast<size_t>(layout_.unit_bytes()))
    return fail(ErrorCode::invalid_argument,
                "The KV image is not of this model's layout: recompute the block instead.");
  if (image.layer < share_.first_layer || image.layer >= share_.first_layer + layout_.layers ||
      image.kv_head < share_.first_head || image.kv_head >= share_.first_head + layout_.kv_heads)
    return fail(ErrorCode::invalid_argument,
                "The KV of layer " + std::to_string(image.layer) + " and head " +
                    std::to_string(image.kv_head) +
                    " lies on another rank of the group: ask the rank that holds it.");
  return {};
}

Result<void> KvStore::export_block(BlockId block, BlockImage& image) const {
  if (image.kv_layout_id == Digest{}) image.kv_layout_id = layout_id();
  if (auto ok = check(block, image); !ok) return ok;
  std::memcpy(image.bytes.data(), unit_of(block, image), image.bytes.size());
  return {};
}

Result<void> KvStore::import_block(BlockId block, const BlockImage& image) const {
  if (auto ok = check(block, image); !ok) return ok;
  std::memcpy(unit_of(block, image), image.bytes.data(), image.bytes.size());
  return {};
}

}  // namespace troupe::native
