"""Three nodes on hosts of their own (network namespaces): cables that break one way or both, links that are killed."""

import os
import signal
import sys

from cluster_on_hosts import ClusterOnHosts
from hosts import Hosts, why_not
from process_case import ProcessCase, run_tests
from processes import poll, within

NAMES = ["n1", "n2", "n3"]
HEARD_AGAIN_S = 3  # a dial that was lost is tried again


class OnHosts(ProcessCase):
    def setUp(self):
        if reason := why_not():
            print(f"    skipped: {reason}", flush=True)
            self.skipTest(reason)

    def connections(self, cluster: ClusterOnHosts) -> list[float]:
        return [n.metric("troupe_beat_connections") for n in cluster.nodes.values()]

    def hears(self, node, count: int = 5) -> None:
        """Beats go on coming."""
        before = node.metric("troupe_beats_heard_total")
        poll(f"{node.name} hears beats", 10, lambda: node.metric("troupe_beats_heard_total") >= before + count)

    def test_beats_stop_where_the_cable_is_cut_and_come_back(self):
        with ClusterOnHosts(NAMES) as cluster:
            poll("all hear each other", 10, lambda: self.connections(cluster) == [2, 2, 2])
            hosts = cluster.hosts
            # Of two nodes the lower one dials: the one that dialed can't be heard, or can't hear.
            for source, target in (("n1", "n2"), ("n2", "n1")):
                with self.subTest(f"{source} is cut off from {target}"):
                    hosts.cut(source, target)
                    poll("the two lose each other, the third loses nobody", 10,
                         lambda: self.connections(cluster) == [1, 1, 2])
                    self.hears(cluster["n3"], 20)
                    hosts.heal()
                    within(HEARD_AGAIN_S, "all hear each other again", lambda: self.connections(cluster) == [2, 2, 2])
            with self.subTest("a host without its cable"):
                hosts.isolate("n2")
                poll("nobody hears n2, and n2 nobody", 10, lambda: self.connections(cluster) == [1, 0, 1])
                hosts.heal()
                within(HEARD_AGAIN_S, "all hear each other again", lambda: self.connections(cluster) == [2, 2, 2])
            self.assertTrue(all(n.actor(f"{n.name}/link")["restarts"] == 0 for n in cluster.nodes.values()))

    def test_a_killed_link_is_dialled_again_and_nothing_else_restarts(self):
        with ClusterOnHosts(NAMES) as cluster:
            poll("all hear each other", 10, lambda: self.connections(cluster) == [2, 2, 2])
            before = {name: {a["id"]: a["pid"] for a in node.tree()[name]["actors"]} for name, node in cluster.nodes.items()}
            for node in cluster.nodes.values():
                os.kill(node.actor(f"{node.name}/link")["pid"], signal.SIGKILL)
            within(HEARD_AGAIN_S, "after all links were killed at once all hear each other",
                   lambda: all(n.ready() for n in cluster.nodes.values()) and self.connections(cluster) == [2, 2, 2])
            for name, node in cluster.nodes.items():
                after = {a["id"]: a["pid"] for a in node.tree()[name]["actors"]}
                self.assertEqual({i for i in before[name] if after[i] != before[name][i]}, {f"{name}/link"})
                self.assertEqual(node.actor(f"{name}/link")["restarts"], 1)

    def test_a_slow_network_carries_beats_as_well(self):
        with Hosts(["a"]) as hosts:
            if said := hosts.delay("a", 20):
                print(f"    skipped: this kernel has no netem ({said})", flush=True)
                self.skipTest("this kernel has no netem")
        with ClusterOnHosts(NAMES) as cluster:
            for name in NAMES:
                cluster.hosts.delay(name, 20)
            for node in cluster.nodes.values():
                self.hears(node, 40)
            self.assertEqual(self.connections(cluster), [2, 2, 2])


if __name__ == "__main__":
    sys.exit(run_tests())
