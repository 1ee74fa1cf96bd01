// A supervisor whose actors hang while the thread of its beats goes on.
#include "tests/sim/clients.h"
#include "tests/sim/hosts.h"

namespace troupe::sim {

void NodeHost::beat_nodes() {
  if (!alive) return;
  if (hangs || world.now() >= stopped_until)
    for (const Site& there : cluster.sites) {
      if (&there == &site || !there.alive() || !cluster.reachable(host, there.host)) continue;
      world.post(there.node, world.between(20us, world.delay_max),
                 [node = there.node.get(), n = name, i = incarnation] {
                   node->detect(detector_in::Beat{n, i});
                 });
    }
  world.at(world.now() + kBeatInterval, [self = shared_from_this()] { self->beat_nodes(); });
}

void NodeHost::hang(Duration lasts) {
  if (world.now() < stopped_until) return;
  world.trace(name, "hangs, its beats go on");
  hangs = true;
  world.stop(shared_from_this(), lasts);
  const Time since = world.now();
  // What was on its way arrives, and a timer may be late by a moment.
  world.at(since + kNodeReportStale + world.delay_max + 10ms,
           [self = shared_from_this(), since] { self->cluster.check_hung(self, since); });
}

void Cluster::check_hung(const std::shared_ptr<NodeHost>& node, Time since) {
  // One that went on, or died, is another matter.
  if (!node->alive || !node->hangs || node->stopped_since != since) return;
  if (world.ways_changed() > since - 1s) return;  // what was held counts as heard later
  for (const Site& other : sites) {
    if (&other == &node->site || !other.alive()) continue;
    // One that slept doubts its own clock first.
    const Time slept = other.node->stopped_since;
    if (slept != Time{} && slept > since - 5s) continue;
    ++hangs;
    for (const GroupEndpoint& group : other.node->machine.routing().groups)
      world.expect(group.node != node->name || group.state != GroupState::ready,
                   "{} gives new work to group {} of {}, whose supervisor has hung for {} ms",
                   other.config.node, group.group.value, node->name, to_ms(world.now() - since));
    for (const PeerView& peer : other.node->machine.peers().views())
      world.expect(peer.node != node->name || peer.state == "suspect" || peer.state == "stopped",
                   "{} shows {} as {}, whose supervisor has hung for {} ms", other.config.node,
                   peer.node, peer.state, to_ms(world.now() - since));
  }
}

}  // namespace troupe::sim
