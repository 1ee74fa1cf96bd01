// Block pool and prefix indexes against models that are slow and plain: a list of what each block
// is, a map from whole prefixes, a list to search.
#include <algorithm>
#include <map>
#include <ostream>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "cache/block_pool.h"
#include "cache/partial_index.h"
#include "cache/prefix_index.h"
#include "config/limits.h"
#include "model/step.h"
#include "tests/property/property.h"

namespace troupe::test {

/// One call; what the numbers mean depends on `kind`.
struct Call {
  int kind = 0, a = 0, b = 0, c = 0;
};
std::ostream& operator<<(std::ostream& out, const Call& call) {
  return out << '{' << call.kind << ' ' << call.a << ' ' << call.b << ' ' << call.c << '}';
}
rc::Gen<std::vector<Call>> calls(int kinds) {
  const auto number = [] { return rc::gen::inRange(0, 24); };
  return rc::gen::container<std::vector<Call>>(rc::gen::build<Call>(
      rc::gen::set(&Call::kind, rc::gen::resize(100, rc::gen::inRange(0, kinds))),
      rc::gen::set(&Call::a, number()), rc::gen::set(&Call::b, number()),
      rc::gen::set(&Call::c, number())));
}

/// Each block as a record; nothing is kept twice.
struct PoolModel {
  struct Block {
    int holders = 0;
    bool kept = false;
    int released = 0;  ///< when
    bool is_free() const { return holders == 0 && !kept; }
    bool is_cached() const { return holders == 0 && kept; }
  };
  std::vector<Block> blocks;
  int clock = 0;

  int count(bool (Block::*is)() const) const {
    return static_cast<int>(
        std::ranges::count_if(blocks, [&](const Block& b) { return (b.*is)(); }));
  }
  /// Of those that `wanted` accepts, the `nth`, counted round and round.
  template <class Wanted>
  std::optional<BlockId> pick(int nth, Wanted wanted) const {
    std::vector<BlockId> found;
    for (size_t i = 0; i < blocks.size(); ++i)
      if (wanted(blocks[i])) found.emplace_back(static_cast<int32_t>(i));
    if (found.empty()) return std::nullopt;
    return found[static_cast<size_t>(nth) % found.size()];
  }
  Block& operator[](BlockId id) { return blocks[static_cast<size_t>(id.value)]; }
};

void run_on_pool(int32_t size, const std::vector<Call>& program) {
  BlockPool pool(size);
  PoolModel model{std::vector<PoolModel::Block>(static_cast<size_t>(size))};
  using Block = PoolModel::Block;
  for (const Call& call : program) {
    ++model.clock;
    if (call.kind == 0) {
      const int count = call.a % 5, free = model.count(&Block::is_free);
      const auto taken = pool.take(count);
      must(taken.has_value() == (count <= free), "take gives exactly what is free");
      if (!taken) continue;
      must(static_cast<int>(taken->size()) == count, "take gives as many as asked");
      for (BlockId id : *taken) {
        must(model[id].is_free(), "take gives only free blocks, each once");
        model[id] = Block{.holders = 1};
      }
    } else if (call.kind == 1) {
      const auto id = model.pick(call.a, [](const Block& b) { return !b.is_free(); });
      if (!id) continue;
      pool.retain(*id);
      ++model[*id].holders;
    } else if (call.kind == 2 || call.kind == 3) {
      const auto id = model.pick(call.a, [](const Block& b) { return b.holders > 0; });
      if (!id) continue;
      pool.release(*id);
      if (--model[*id].holders == 0) model[*id].released = model.clock;
    } else if (call.kind == 4) {
      const auto id = model.pick(call.a, [](const Block& b) { return b.holders > 0; });
      if (!id) continue;
      pool.keep(*id);
      model[*id].kept = true;
    } else {
      const auto evicted = pool.evict();
      must(evicted.has_value() == (model.count(&Block::is_cached) > 0),
           "evict gives a block if one is cached");
      if (!evicted) continue;
      must(model[*evicted].is_cached(), "evict gives a cached block");
      for (const Block& other : model.blocks)
        must(!other.is_cached() || other.released >= model[*evicted].released,
             "evict gives the block released longest ago");
      model[*evicted] = Block{};
    }
    pool.check();
    must(pool.free() == model.count(&Block::is_free), "as many are free");
    must(pool.cached() == model.count(&Block::is_cached), "as many are cached");
    must(pool.owned() + pool.cached() + pool.free() == size, "every block is in one state");
    for (int32_t i = 0; i < size; ++i)
      must(pool.holders(BlockId(i)) == model[BlockId(i)].holders, "every holder counts");
  }
}

// -- prefixes
// ------------------------------------------------------------------------------------------------

/// A prefix as what it says: its tenant and all its tokens.
using Prefix = std::pair<int, std::vector<int32_t>>;

std::vector<TokenId> to_tokens(const std::vector<int32_t>& ids) { return {ids.begin(), ids.end()}; }

/// Prompts that begin alike: tenant a % 2, the first b % 5 blocks of family c % 3, then (a % 3)
/// blocks of its own.
Prefix prompt_of(const Call& call) {
  Prefix prompt{call.a % 2, {}};
  for (int i = 0; i < (call.b % 5) * kBlockPositions; ++i)
    prompt.second.push_back(call.c % 3 * 100 + i);
  for (int i = 0; i < (call.a % 3) * kBlockPositions; ++i) prompt.second.push_back(1000 + call.b);
  return prompt;
}

struct Chain {
  std::vector<Digest> keys;
  std::vector<Prefix> prefixes;  ///< what each key stands for
};
Chain chain_of(const Prefix& prompt) {
  Chain chain;
  Salt tenant{};
  tenant[0] = static_cast<uint8_t>(prompt.first);
  Digest key = PrefixIndex::root(Digest{}, 0, tenant);
  const auto tokens = to_tokens(prompt.second);
  for (size_t end = kBlockPositions; end <= tokens.size(); end += kBlockPositions) {
    key =
        PrefixIndex::extend(key, std::span(tokens).subspan(end - kBlockPositions, kBlockPositions));
    chain.keys.push_back(key);
    chain.prefixes.emplace_back(
        prompt.first, std::vector<int32_t>(prompt.second.begin(),
                                           prompt.second.begin() + static_cast<ptrdiff_t>(end)));
  }
  return chain;
}

void run_on_prefixes(const std::vector<Call>& program) {
  PrefixIndex index(4);
  std::map<Prefix, BlockId> model;
  const auto holder = [&](BlockId block) {
    return std::ranges::find_if(model, [&](const auto& entry) { return entry.second == block; });
  };
  for (const Call& call : program) {
    const Chain chain = chain_of(prompt_of(call));
    if (call.kind == 0 && !chain.keys.empty()) {
      const auto at = static_cast<size_t>(call.c) % chain.keys.size();
      const BlockId block((call.a * 7 + call.b) % 12);
      const bool fresh = !model.contains(chain.prefixes[at]) && holder(block) == model.end();
      must(index.insert(chain.keys[at], block) == fresh, "a new prefix in a new block goes in");
      if (fresh) model.emplace(chain.prefixes[at], block);
    } else if (call.kind == 1) {
      const BlockId block(call.c % 12);
      index.erase(block);
      if (const auto at = holder(block); at != model.end()) model.erase(at);
    } else {
      std::vector<BlockId> expected;
      for (const Prefix& prefix : chain.prefixes) {
        const auto at = model.find(prefix);
        if (at == model.end()) break;
        expected.push_back(at->second);
      }
      must(index.match(chain.keys) == expected,
           "the longest known prefix is found, block by block");
    }
    index.check();
    must(index.size() == model.size(), "as many entries");
    for (int32_t block = 0; block < 12; ++block)
      must(index.holds(BlockId(block)) == (holder(BlockId(block)) != model.end()),
           "the same blocks are held");
  }
}

// -- parts of blocks
// -----------------------------------------------------------------------------------------------

void run_on_partials(const std::vector<Call>& program) {
  constexpr int32_t kBlocks = 24;
  PartialIndex index(kBlocks);
  struct Entry {
    int prefix = 0;
    BlockId block;
    std::vector<TokenId> tokens;
  };
  std::vector<Entry> model;  // in the order in which they came
  const auto tokens_of = [](const Call& call) {
    std::vector<TokenId> tokens(static_cast<size_t>(1 + call.b % PartialIndex::kTokensMax));
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = TokenId(static_cast<int>(i) < call.c ? 7 : call.a % 4);
    return tokens;
  };
  for (const Call& call : program) {
    const int prefix = call.a % 2;
    Digest key{};
    key[0] = static_cast<uint8_t>(1 + prefix);
    const BlockId block((call.a * 5 + call.c) % kBlocks);
    const auto tokens = tokens_of(call);
    const auto held = std::ranges::find(model, block, &Entry::block);
    if (call.kind == 0 || call.kind == 1) {
      if (held != model.end()) continue;
      index.add(key, block, tokens);
      if (std::ranges::count(model, prefix, &Entry::prefix) <
          static_cast<ptrdiff_t>(kPartialsPerPrefix))
        model.push_back({prefix, block, tokens});
    } else if (call.kind == 2) {
      index.erase(block);
      if (held != model.end()) model.erase(held);
    } else {
      int32_t best = 0;
      for (const Entry& entry : model) {
        int32_t same = 0;
        while (entry.prefix == prefix && same < static_cast<int32_t>(entry.tokens.size()) &&
               same < static_cast<int32_t>(tokens.size()) &&
               entry.tokens[static_cast<size_t>(same)] == tokens[static_cast<size_t>(same)])
          ++same;
        best = std::max(best, same);
      }
      const auto found = index.match(key, tokens);
      must((found ? found->tokens : 0) == best, "the match is as long as the longest");
      if (!found) continue;
      const auto entry = std::ranges::find(model, found->block, &Entry::block);
      must(entry != model.end() && entry->prefix == prefix,
           "the match is a block behind the prefix");
      must(std::equal(tokens.begin(), tokens.begin() + best, entry->tokens.begin(),
                      entry->tokens.begin() + std::min<ptrdiff_t>(best, std::ssize(entry->tokens))),
           "the block holds what was matched");
    }
    index.check();
    for (int32_t i = 0; i < kBlocks; ++i)
      must(index.holds(BlockId(i)) ==
               (std::ranges::find(model, BlockId(i), &Entry::block) != model.end()),
           "the same blocks are held");
  }
}

}  // namespace troupe::test

using namespace troupe::test;

TEST_CASE("block pool: any calls leave it as a list of records of its blocks") {
  holds(400, [] {
    const int32_t size = *rc::gen::inRange(1, 12);
    run_on_pool(size, *calls(6));
  });
}

TEST_CASE("prefix index: any calls find what a map from whole prefixes finds") {
  holds(200, [] { run_on_prefixes(*calls(3)); });
}

TEST_CASE("partial index: any calls find what a search of all entries finds") {
  holds(400, [] { run_on_partials(*calls(4)); });
}
