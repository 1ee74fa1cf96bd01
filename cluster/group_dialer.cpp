#include "cluster/group_dialer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cluster/serving_weights.h"
#include "config/check.h"
#include "config/digest.h"

namespace troupe {

GroupDialer::Peer* GroupDialer::current(GroupId group, Incarnation incarnation) {
  auto found = peers_.find(group);
  return found != peers_.end() && found->second.endpoint.incarnation == incarnation ? &found->second
                                                                                    : nullptr;
}

void GroupDialer::remove(std::map<GroupId, Peer>::iterator at, std::vector<DialerEffect>& out) {
  const Peer& peer = at->second;
  if (peer.state == State::up)
    out.push_back(dialer_out::LinkDown{at->first, peer.endpoint.incarnation});
  if (peer.state != State::waiting)
    out.push_back(dialer_out::Close{at->first, peer.endpoint.incarnation});
  peers_.erase(at);
}

void GroupDialer::retry(Time now, Peer& peer, std::string why, std::vector<DialerEffect>& out) {
  const GroupId group = peer.endpoint.group;
  if (peer.state == State::up)
    out.push_back(dialer_out::LinkDown{group, peer.endpoint.incarnation});
  out.push_back(dialer_out::Close{group, peer.endpoint.incarnation});
  out.push_back(
      dialer_out::Event{fmt::format("the link to group {} failed: {}", group.value, why)});
  peer.state = State::waiting;
  peer.bundle.clear();
  peer.due =
      now + std::min(kRespawnMax, kRespawnFirst * (int64_t{1} << std::min(peer.failures++, 10)));
}

void GroupDialer::step(Time now, const DialerInput& input, std::vector<DialerEffect>& out) {
  if (auto* routing = std::get_if<dialer_in::Routing>(&input)) {
    on_routing(now, routing->table, out);
  } else if (auto* dialled = std::get_if<dialer_in::Dialled>(&input)) {
    if (dialling(dialled->group, dialled->incarnation)) {
      Peer& peer = peers_.at(dialled->group);
      if (dialled->ok) {
        peer.state = State::greeting;
        peer.due = now + answer_within_;
        out.push_back(dialer_out::SendHello{dialled->group, dialled->incarnation});
      } else {
        retry(now, peer, "nobody listens", out);
      }
    }
  } else if (auto* greeted = std::get_if<dialer_in::Greeted>(&input)) {
    on_greeted(now, *greeted, out);
  } else if (auto* lost = std::get_if<dialer_in::Lost>(&input)) {
    if (Peer* peer = current(lost->group, lost->incarnation); peer && peer->state != State::waiting)
      retry(now, *peer, "the process is gone", out);
  } else if (auto* got = std::get_if<dialer_in::Chunk>(&input)) {
    on_chunk(now, *got, out);
  } else if (auto* served = std::get_if<dialer_in::BundleServed>(&input)) {
    on_served(*served, out);
  } else if (auto* refused = std::get_if<dialer_in::BundleRefused>(&input)) {
    Peer* peer = current(refused->group, refused->incarnation);
    if (peer && peer->state == State::opening) refuse_bundle(now, *peer, refused->why, out);
  }
  for (auto& [group, peer] : peers_) {
    if (!peer.wants_time() || now < peer.due) continue;
    if (peer.state == State::waiting) {
      peer.state = State::dialling;
      peer.due = now + answer_within_;
      out.push_back(dialer_out::Dial{group, peer.endpoint.incarnation, peer.endpoint.socket});
    } else {
      retry(now, peer, "it did not answer in time", out);
    }
  }
}

void GroupDialer::on_routing(Time now, const RoutingTable& table, std::vector<DialerEffect>& out) {
  if (table.node == node_ && table.version < version_) return;
  node_ = table.node;
  version_ = table.version;
  for (auto at = peers_.begin(); at != peers_.end();) {
    auto listed = std::find_if(table.groups.begin(), table.groups.end(),
                               [&](const GroupEndpoint& e) { return e.group == at->first; });
    auto next = std::next(at);
    if (listed == table.groups.end() || !has_loaded(listed->state) ||
        listed->incarnation != at->second.endpoint.incarnation)
      remove(at, out);
    else
      at->second.endpoint = *listed;
    at = next;
  }
  for (const GroupEndpoint& endpoint : table.groups) {
    if (!has_loaded(endpoint.state)) continue;
    const auto added = peers_.try_emplace(endpoint.group, Peer{.endpoint = endpoint, .due = now});
    Peer& peer = added.first->second;
    peer.fits = has_serving_weights(table, endpoint);
    if (!peer.fits && peer.state != State::waiting && peer.state != State::up)
      retry(now, peer, "its model file is another one than most groups have", out);
  }
}

void GroupDialer::on_greeted(Time now, const dialer_in::Greeted& greeted,
                             std::vector<DialerEffect>& out) {
  Peer* peer = current(greeted.group, greeted.incarnation);
  if (!peer || peer->state != State::greeting) return;
  auto have = have_.find(peer->endpoint.model);
  if (!greeted.reply.accepted) {
    retry(now, *peer, greeted.reply.reason, out);
  } else if (greeted.reply.incarnation != greeted.incarnation) {
    retry(now, *peer, "another process answers at its socket", out);
  } else if (have != have_.end() && have->second == peer->endpoint.weights_id) {
    serve_from(*peer, out);
  } else {
    peer->state = State::fetching;
    peer->due = now + answer_within_;
    out.push_back(
        dialer_out::SendBundleRequest{greeted.group, greeted.incarnation, {greeted.group, 0}});
  }
}

void GroupDialer::on_chunk(Time now, const dialer_in::Chunk& got, std::vector<DialerEffect>& out) {
  Peer* peer = current(got.group, got.incarnation);
  if (!peer || peer->state != State::fetching) return;
  const BundleChunk& chunk = got.chunk;
  if (chunk.offset < peer->bundle.size()) return;  // said twice
  if (chunk.offset > peer->bundle.size() || chunk.total > kBundleBytesMax || chunk.bytes.empty() ||
      chunk.bytes.size() > chunk.total - std::min(chunk.total, chunk.offset) ||
      (chunk.offset > 0 && chunk.total != peer->total))
    return retry(now, *peer, "its model bundle came out of order", out);
  peer->total = chunk.total;
  peer->bundle.insert(peer->bundle.end(), chunk.bytes.begin(), chunk.bytes.end());
  peer->due = now + answer_within_;
  if (peer->bundle.size() < peer->total) {
    out.push_back(dialer_out::SendBundleRequest{
        got.group, got.incarnation, {got.group, peer->bundle.size()}});
    return;
  }
  if (sha256(peer->bundle) != chunk.digest)
    return refuse_bundle(now, *peer, "it was damaged on the way", out);
  peer->state = State::opening;
  out.push_back(dialer_out::Bundle{peer->endpoint, chunk.digest, std::exchange(peer->bundle, {})});
}

void GroupDialer::on_served(const dialer_in::BundleServed& served, std::vector<DialerEffect>& out) {
  Peer* peer = current(served.group, served.incarnation);
  if (!peer || peer->state != State::opening) return;
  have_[peer->endpoint.model] = peer->endpoint.weights_id;
  peer->refusals = 0;
  serve_from(*peer, out);
}

void GroupDialer::refuse_bundle(Time now, Peer& peer, const std::string& why,
                                std::vector<DialerEffect>& out) {
  // A link that came up before does not shorten this wait: the bundle may never get better.
  peer.failures = peer.refusals++;
  retry(now, peer, fmt::format("the bundle of model {} is of no use: {}", peer.endpoint.model, why),
        out);
}

void GroupDialer::serve_from(Peer& peer, std::vector<DialerEffect>& out) {
  peer.state = State::up;
  peer.failures = 0;
  out.push_back(dialer_out::LinkUp{peer.endpoint.group, peer.endpoint.incarnation});
}

bool GroupDialer::dialling(GroupId group, Incarnation incarnation) const {
  auto found = peers_.find(group);
  return found != peers_.end() && found->second.endpoint.incarnation == incarnation &&
         found->second.state == State::dialling;
}

std::optional<Time> GroupDialer::deadline() const {
  std::optional<Time> earliest;
  for (const auto& [group, peer] : peers_)
    if (peer.wants_time() && (!earliest || peer.due < *earliest)) earliest = peer.due;
  return earliest;
}

void GroupDialer::check() const {
  for (const auto& [group, peer] : peers_) {
    TROUPE_CHECK(peer.endpoint.group == group, group);
    TROUPE_CHECK(peer.state == State::fetching || peer.bundle.empty(), group);
    TROUPE_CHECK(peer.bundle.size() <= kBundleBytesMax, peer.bundle.size());
  }
}

}  // namespace troupe
