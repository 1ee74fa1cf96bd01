#include "tests/collectives/call_script.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "config/mix.h"
#include "tests/collectives/rank_processes.h"

namespace troupe::testing {

namespace {

using Bytes = std::vector<std::byte>;

/// What `rank` gives in call number `call`.
Bytes gift(uint64_t seed, size_t call, int rank, size_t bytes) {
  Bytes made(bytes);
  uint64_t word = mix64(mix64(seed, call), static_cast<uint64_t>(rank));
  for (size_t i = 0; i < bytes; i += sizeof word) {
    word = word * 6'364'136'223'846'793'005u + 1'442'695'040'888'963'407u;
    const uint64_t high = word >> 7;
    std::memcpy(made.data() + i, &high, std::min(sizeof high, bytes - i));
  }
  return made;
}

/// Values whose sum depends on the order.
std::vector<float> float_gift(uint64_t seed, size_t call, int rank, size_t values) {
  const Bytes bytes = gift(seed, call, rank, values * 2);
  std::vector<float> made(values);
  for (size_t i = 0; i < values; ++i) {
    int16_t number;
    std::memcpy(&number, bytes.data() + 2 * i, 2);
    made[i] = static_cast<float>(number) * (i % 3 == 0 ? 1e-3f : 0.37f);
  }
  return made;
}

size_t random_size(std::mt19937_64& random) {
  constexpr size_t kSizes[] = {0, 1, 31, 1'024, 2'304, 16'384, 70'000, 131'072, 300'001, 1'400'000};
  // The large ones rarely.
  return kSizes[std::min(random() % std::size(kSizes), random() % std::size(kSizes))];
}

std::string wrong(size_t call, const std::string& what) {
  return "call " + std::to_string(call) + ": " + what;
}

std::string play_call(Collective& among, uint64_t seed, size_t number, const ScriptCall& call) {
  const auto seq = static_cast<uint32_t>(number);
  const auto own = static_cast<size_t>(among.rank());
  const auto member = [&](int i) { return call.members[static_cast<size_t>(i)]; };
  if (call.kind == ScriptKind::all_gather_v) {
    Bytes expected, all(std::accumulate(call.counts.begin(), call.counts.end(), size_t{0}));
    for (int i = 0; i < among.size(); ++i) {
      const Bytes part = gift(seed, number, member(i), call.counts[static_cast<size_t>(i)]);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    const Bytes mine = gift(seed, number, member(among.rank()), call.counts[own]);
    const auto result = among.all_gather_v(mine, all, call.counts, tag(seq));
    if (!result) return wrong(number, told(result));
    return all == expected ? "fine" : wrong(number, "all_gather_v gave other bytes");
  }
  if (call.kind == ScriptKind::all_reduce) {
    const size_t values = call.counts.front() / sizeof(float);
    std::vector<float> expected = float_gift(seed, number, member(0), values);
    for (int i = 1; i < among.size(); ++i) {
      const std::vector<float> addend = float_gift(seed, number, member(i), values);
      for (size_t v = 0; v < values; ++v) expected[v] += addend[v];
    }
    std::vector<float> data = float_gift(seed, number, member(among.rank()), values);
    const auto result =
        among.all_reduce({std::as_writable_bytes(std::span(data)), ElementType::f32}, tag(seq));
    if (!result) return wrong(number, told(result));
    return data == expected ? "fine" : wrong(number, "all_reduce gave another sum");
  }
  Bytes data = gift(seed, number, member(call.from), call.counts.front());
  const Bytes expected = data;
  const bool gives = among.rank() == call.from;
  if (!gives) std::ranges::fill(data, std::byte{0xEE});
  Result<void> result;
  if (call.kind == ScriptKind::broadcast)
    result = among.broadcast({data}, call.from, tag(seq));
  else if (gives)
    result = among.send({data}, call.to, tag(seq));
  else if (among.rank() == call.to)
    result = among.recv({data}, call.from, tag(seq));
  else
    return "fine";
  if (!result) return wrong(number, told(result));
  return data == expected ? "fine" : wrong(number, "other bytes came than were given");
}

}  // namespace

std::vector<ScriptCall> random_script(uint64_t seed, int ranks, int calls) {
  std::mt19937_64 random(seed);
  const auto below = [&](size_t bound) { return static_cast<int>(random() % bound); };
  std::vector<ScriptCall> script;
  while (static_cast<int>(script.size()) < calls) {
    ScriptCall call;
    call.kind = static_cast<ScriptKind>(below(4));
    const bool all = random() % 3 != 0;
    for (int r = 0; r < ranks; ++r)
      if (all || random() % 2 == 0) call.members.push_back(r);
    const size_t members = call.members.size();
    if (members == 0 || (call.kind == ScriptKind::message && members < 2)) continue;
    const size_t sizes = call.kind == ScriptKind::all_gather_v ? members : 1;
    for (size_t i = 0; i < sizes; ++i) call.counts.push_back(random_size(random));
    call.from = below(members);
    call.to = (call.from + 1 + (members > 1 ? below(members - 1) : 0)) % static_cast<int>(members);
    script.push_back(std::move(call));
  }
  return script;
}

std::string play(Collective& collective, uint64_t seed, const std::vector<ScriptCall>& script) {
  for (size_t number = 0; number < script.size(); ++number) {
    const ScriptCall& call = script[number];
    if (!std::ranges::binary_search(call.members, collective.rank())) continue;
    const auto group = collective.among(call.members);
    if (group == nullptr) return wrong(number, "no sub-group");
    if (std::string outcome = play_call(*group, seed, number, call); outcome != "fine")
      return outcome;
  }
  return "fine";
}

}  // namespace troupe::testing
