#include <doctest/doctest.h>

#include <set>

#include "model/native/kv_layout.h"

using namespace troupe::native;

TEST_CASE("kv layout: the units of a block are one run of memory, and no two units overlap") {
  for (const KvFormat format : {KvFormat::f16, KvFormat::int8}) {
    const KvLayout layout{
        .format = format, .head_dim = 20, .kv_heads = 3, .blocks = 5, .layers = 4};
    std::set<int64_t> starts;
    for (int32_t block = 0; block < layout.blocks; ++block)
      for (int32_t layer = 0; layer < layout.layers; ++layer)
        for (int32_t head = 0; head < layout.kv_heads; ++head) {
          const int64_t at = layout.layer(layer) + layout.unit(block, head);
          CHECK(at % layout.unit_bytes() == 0);
          CHECK(at / layout.block_bytes() == block);
          starts.insert(at);
        }
    CHECK(starts.size() == 5 * 4 * 3);
    CHECK(*starts.begin() == 0);
    CHECK(*starts.rbegin() + layout.unit_bytes() == layout.bytes());
    CHECK(layout.bytes() == 5 * layout.block_bytes());
  }
}
