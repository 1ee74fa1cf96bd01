// put() and take() of every kind of message, by family. A field is written in wire order and read
// back with its checks. Of the codec only (net/codec.h); take() throws BadField; pure, any thread.
#pragma once

#include "net/codec_parts.h"

namespace troupe::codec {

// -- between routers and batchers: codec_serving.cpp
void put(wire::Enqueue* to, const Enqueue& from);
Enqueue take(const wire::Enqueue& from);
void put(wire::Cancel* to, const Cancel& from);
Cancel take(const wire::Cancel& from);
void put(wire::TokenBatch* to, const TokenBatch& from);
TokenBatch take(const wire::TokenBatch& from);
void put(wire::Refused* to, const Refused& from);
Refused take(const wire::Refused& from);
void put(wire::GroupStatus* to, const GroupStatus& from);
GroupStatus take(const wire::GroupStatus& from);
void put(wire::PrefixReport* to, const PrefixReport& from);
PrefixReport take(const wire::PrefixReport& from);
void put(wire::PrefixRequest* to, const PrefixRequest& from);
PrefixRequest take(const wire::PrefixRequest& from);
void put(wire::BundleRequest* to, const BundleRequest& from);
BundleRequest take(const wire::BundleRequest& from);
void put(wire::BundleChunk* to, const BundleChunk& from);
BundleChunk take(const wire::BundleChunk& from);

// -- between a node and its processes, and how links begin: codec_control.cpp
void put(wire::Hello* to, const Hello& from);
Hello take(const wire::Hello& from);
void put(wire::HelloReply* to, const HelloReply& from);
HelloReply take(const wire::HelloReply& from);
void put(wire::GroupEndpoint* to, const GroupEndpoint& from);
GroupEndpoint take(const wire::GroupEndpoint& from);
void put(wire::RoutingTable* to, const RoutingTable& from);
RoutingTable take(const wire::RoutingTable& from);
void put(wire::DrainOrder* to, const DrainOrder& from);
DrainOrder take(const wire::DrainOrder& from);
void put(wire::Drained* to, const Drained& from);
Drained take(const wire::Drained& from);
void put(wire::ProcessReport* to, const ProcessReport& from);
ProcessReport take(const wire::ProcessReport& from);

// -- about the ranks of a group: codec_ranks.cpp
void put(wire::LoadOrder* to, const LoadOrder& from);
LoadOrder take(const wire::LoadOrder& from);
void put(wire::RankJoin* to, const RankJoin& from);
RankJoin take(const wire::RankJoin& from);
void put(wire::AbortOrder* to, const AbortOrder& from);
AbortOrder take(const wire::AbortOrder& from);
void put(wire::RankListening* to, const RankListening& from);
RankListening take(const wire::RankListening& from);
void put(wire::LoadReport* to, const LoadReport& from);
LoadReport take(const wire::LoadReport& from);
void put(wire::StepFault* to, const StepFault& from);
StepFault take(const wire::StepFault& from);
void put(wire::RanksOrder* to, const RanksOrder& from);
RanksOrder take(const wire::RanksOrder& from);
void put(wire::RanksReport* to, const RanksReport& from);
RanksReport take(const wire::RanksReport& from);

// -- between nodes, and from a node to its link: codec_nodes.cpp
void put(wire::NodeReport* to, const NodeReport& from);
NodeReport take(const wire::NodeReport& from);
void put(wire::CutOrder* to, const CutOrder& from);
CutOrder take(const wire::CutOrder& from);

// -- between a router and who keeps its journal: codec_journal.cpp
void put(wire::JournalOpen* to, const JournalOpen& from);
JournalOpen take(const wire::JournalOpen& from);
void put(wire::JournalAppend* to, const JournalAppend& from);
JournalAppend take(const wire::JournalAppend& from);
void put(wire::JournalAck* to, const JournalAck& from);
JournalAck take(const wire::JournalAck& from);
void put(wire::JournalRead* to, const JournalRead& from);
JournalRead take(const wire::JournalRead& from);
void put(wire::JournalEntry* to, const JournalEntry& from);
JournalEntry take(const wire::JournalEntry& from);

}  // namespace troupe::codec
