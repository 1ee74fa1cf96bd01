// One filled example of every kind of message, for codec tests and as the seed of the fuzz corpus.
#pragma once

#include <vector>

#include "cluster/messages.h"

namespace troupe::testing {

inline std::vector<Message> wire_samples() {
  Digest digest;
  digest.fill(7);
  Salt salt;
  salt.fill(9);
  const SequenceKey key{{1, 0xffffffffffffffffu}, 3};
  const AttemptId attempt{Incarnation(11), OwnerEpoch(2), Attempt(5)};
  Sampling sampling{0.5f, 0.9f,  0.05f, 1.1f,
                    0.2f, -0.3f, 40,    0xfedcba9876543210u,
                    5,    2,     true,  {{5, -100.f}, {7, 3.5f}}};
  const std::vector<TokenId> tokens = {TokenId(0), TokenId(49151), TokenId(1)};
  const LogProbs logprobs{-0.25f, {{4, -0.25f}, {9, -3.5f}}};
  Enqueue enqueue{key,      attempt,      Generation(4), digest, tokens, {TokenId(8)}, 100,
                  sampling, {TokenId(2)}, 600s,          1,      -2,     salt,         true,
                  {}};
  enqueue.trace.trace.fill(3);
  enqueue.trace.span.fill(4);
  const Error error{ErrorCode::too_large, "prompt of 9 tokens; use at most 8", "messages"};
  GroupStatus status{
      GroupId(1), Generation(4), 99,  5ms, 1ms, 250ms,        3,  16,   4096,         100, 256, 50,
      2,          1000,          640, 50,  20,  {1, 2, 3, 4}, 96, true, {5, 6, 7, 8}, 12};
  JournalOpen open{key.id,   OwnerEpoch(1), "smollm2",       tokens, 2,   64,
                   sampling, {TokenId(2)},  {"\n\n", "END"}, 10s,    salt};
  const RankJoin join{GroupId(1), Generation(4), {{"10.0.0.1", 7500}, {"10.0.0.2", 7501}}, digest};
  return {
      Hello{"demo", 1, "build-1", "n1", Role::router, "n1/router", Incarnation(12), digest},
      HelloReply{Incarnation(13), false, "it belongs to cluster x"},
      enqueue,
      Cancel{key, attempt},
      TokenBatch{Generation(4),
                 StepId(17),
                 {{key,
                   attempt,
                   5,
                   tokens,
                   {logprobs, logprobs, {}},
                   {logprobs},
                   Finish::stop,
                   32,
                   3ms,
                   9ms}}},
      Refused{key, attempt, error},
      status,
      BundleRequest{GroupId(2), 1048576},
      BundleChunk{
          GroupId(2), digest, 0, 4, {std::byte{1}, std::byte{0}, std::byte{255}, std::byte{4}}},
      RoutingTable{Incarnation(14),
                   8,
                   {{GroupId(1), "smollm2", "n1", Generation(4), GroupState::suspect, "silent",
                     "/s/g1", Incarnation(15), digest, digest, 2048}},
                   "alone",
                   true},
      LoadOrder{GroupId(1), Generation(4), 0,   "smollm2", "/m.gguf", "torch", 1,      1,
                2,          2048,          512, 512,       64,        1 << 20, "avx2", KvType::int8,
                4096,       5ms,           2.5, {0, 0, 1}},
      AbortOrder{GroupId(1), Generation(4)},
      DrainOrder{30s},
      LoadReport{GroupId(1), Generation(4), 0, false, error, digest, digest, 2048, 512,
                 "torch, 2 threads"},
      StepFault{GroupId(1), Generation(4), error},
      Drained{"n1/router"},
      ProcessReport{"n1/router",
                    Incarnation(12),
                    {{"n1/cache", Role::cache, 1, "boom", 4, 2ms, 1s}},
                    {status},
                    7,
                    true,
                    "torch",
                    LinkFigures{1, 2, 3, 4, 5, 6, 7, {0, 8, 0}, {9}, 1'800'000'000}},
      JournalAppend{Incarnation(12), 3, true, {open}, {{key, 5, tokens}}, {key.id}},
      JournalAck{Incarnation(12), 3},
      JournalRead{key.id},
      JournalEntry{key.id, true, open, {tokens, {}}},
      PrefixReport{GroupId(1), 12, true, {0xffffffffffffffffu, 1}, {7}},
      PrefixRequest{GroupId(1)},
      NodeReport{Incarnation(16),
                 9,
                 "starting",
                 {{GroupId(3), "smollm2", "n2", Generation(2), GroupState::starting, "loading", "",
                   Incarnation(17), digest, digest, 512}},
                 {{"n2/shard/smollm2.0.0", Role::shard, 4711, "failed", "died", 2, 3, "signal 9", 4,
                   2ms, 1s, "smollm2", "native", 3, 0}}},
      CutOrder{"n2"},
      RankListening{GroupId(1), Generation(4), 2, {"10.0.0.2", 7501}},
      join,
      RanksOrder{LoadOrder{GroupId(1), Generation(4), 0, "smollm2", "/m.gguf", "native", 3, 1},
                 {{1, Incarnation(15)}, {2, Incarnation(16)}},
                 join,
                 true},
      RanksReport{
          GroupId(1),
          Generation(3),
          {{1, Incarnation(15), "", true,
            RankListening{GroupId(1), Generation(4), 1, {"fd00::2", 65535}},
            LoadReport{GroupId(1), Generation(4), 1, true, {}, digest, digest, 2048, 512},
            StepFault{GroupId(1), Generation(4), error}},
           {2, Incarnation(), "signal 9", false, std::nullopt, std::nullopt, std::nullopt, true}}},
  };
}

}  // namespace troupe::testing
