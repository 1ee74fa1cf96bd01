"""Three nodes on hosts of their own (network namespaces): cables that break one way or both, links and nodes that are killed."""

import os
import signal
import sys

from cluster_on_hosts import ClusterOnHosts
from hosts import Hosts, why_not
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, within

NAMES = ["n1", "n2", "n3"]
HEARD_AGAIN_S = 3  # a dial that was lost is tried again
DEAD_S = 1.5


class OnHosts(ProcessCase):
    def setUp(self):
        if reason := why_not():
            self.skipTest(reason)


class BeatsOnHosts(OnHosts):
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
                self.skipTest(f"this kernel has no netem ({said})")
        with ClusterOnHosts(NAMES) as cluster:
            for name in NAMES:
                cluster.hosts.delay(name, 20)
            for node in cluster.nodes.values():
                self.hears(node, 40)
            self.assertEqual(self.connections(cluster), [2, 2, 2])


class RequestsOnHosts(OnHosts):
    """Each router serves the groups of all nodes."""

    COUNT = 150  # tokens of a stream; 20 ms each

    def groups_ready(self, node) -> int:
        return sum(m["groups_ready"] for m in node.ask("GET", "/readyz").json()["models"])

    def cluster(self, groups: int = 3) -> ClusterOnHosts:
        cluster = ClusterOnHosts(NAMES, f"{{name: oracle, backend: oracle, groups: {groups}, oracle_step: 20ms}}")
        self.addCleanup(cluster.close)
        for node in cluster.nodes.values():
            poll(f"{node.name} can reach every group", 10, lambda: self.groups_ready(node) == groups)
        return cluster

    def survives(self, cluster: ClusterOnHosts, lost: str, fault, heal) -> None:
        """Streams of the other nodes' routers do not notice what happens to `lost`, and routing knows of it in time."""
        others = cluster.others(lost)
        prompts = [long_prompt(f"{node.name} {i}", self.COUNT) for node in others for i in range(6)]
        streams = [others[i // 6].stream(p, self.COUNT) for i, p in enumerate(prompts)]
        for stream in streams:
            stream.read_tokens(3)
        fault()
        within(DEAD_S, "its group left the routing of the others",
               lambda: [self.groups_ready(n) for n in others] == [2, 2])
        for stream, prompt in zip(streams, prompts, strict=True):
            self.check_stream(stream.read_all(), prompt, self.COUNT)
            stream.close()
        retries = sum(n.router_metric("troupe_request_retries_total") for n in others)
        self.assertGreater(retries, 0, "no stream ran there: the fault was none")
        heal()
        within(HEARD_AGAIN_S, "its group is back in the routing of all",
               lambda: all(self.groups_ready(n) == 3 for n in cluster.nodes.values()))
        for node in cluster.nodes.values():
            self.assertEqual(node.complete("after all", 8).text(), expected("after all", 8)[0])

    def test_a_host_without_its_cable(self):
        cluster = self.cluster()
        self.survives(cluster, "n2", lambda: cluster.hosts.isolate("n2"), cluster.hosts.heal)

    def test_a_node_that_is_cut_off_says_so_and_serves_on(self):
        cluster = self.cluster()
        n2 = cluster["n2"]
        prompts = [long_prompt(f"cut off {i}", self.COUNT) for i in range(6)]
        streams = [n2.stream(p, self.COUNT) for p in prompts]
        for stream in streams:
            stream.read_tokens(3)
        cluster.hosts.isolate("n2")
        within(DEAD_S, "readyz of n2 says that it may be cut off", lambda: n2.ask("GET", "/readyz").status == 503)
        ready = n2.ask("GET", "/readyz").json()
        self.assertFalse(ready["ready"])
        self.assertIn("stopped hearing 2 of 2 other nodes at once and may be the one that is cut off", ready["reason"])
        row = n2.tree()["n2"]
        self.assertEqual(row["state"], "suspect")
        self.assertIn("may be the one that is cut off", row["reason"])
        # Its streams move to the group it still has, and it takes requests.
        for stream, prompt in zip(streams, prompts, strict=True):
            with stream, self.subTest(prompt):
                self.check_stream(stream.read_all(), prompt, self.COUNT)
        self.assertGreater(n2.router_metric("troupe_request_retries_total"), 0, "no stream had to move")
        self.assertEqual(n2.complete("alone", 8).text(), expected("alone", 8)[0])
        for other in cluster.others("n2"):
            self.assertEqual(other.ask("GET", "/readyz").status, 200, other.name)
            self.assertEqual(other.ask("GET", "/readyz").json()["reason"], "")
        cluster.hosts.heal()
        within(HEARD_AGAIN_S, "its group is back in the routing of all",
               lambda: all(self.groups_ready(n) == 3 for n in cluster.nodes.values()))
        self.assertEqual(n2.ask("GET", "/readyz").json()["reason"], "")
        self.assertEqual(n2.tree()["n2"]["state"], "ready")

    def test_a_host_that_can_not_be_heard(self):
        cluster = self.cluster()

        def mute() -> None:
            for other in cluster.others("n2"):
                cluster.hosts.cut("n2", other.name)

        self.survives(cluster, "n2", mute, cluster.hosts.heal)

    def test_a_host_that_hears_nobody(self):
        cluster = self.cluster()

        def deafen() -> None:
            for other in cluster.others("n2"):
                cluster.hosts.cut(other.name, "n2")

        self.survives(cluster, "n2", deafen, cluster.hosts.heal)

    def test_a_node_that_is_killed_and_started_again(self):
        cluster = self.cluster()
        self.survives(cluster, "n3", cluster["n3"].kill, cluster["n3"].start)

    def test_without_any_group_requests_are_told_when_to_come_back(self):
        cluster = self.cluster(groups=1)
        (home,) = [n for n in cluster.nodes.values() if n.actor(f"{n.name}/shard/oracle.0.0")]
        asker = cluster.others(home.name)[0]
        home.kill()
        within(DEAD_S, "no group is left", lambda: self.groups_ready(asker) == 0)
        refused = asker.complete("too early", 4)
        self.assertEqual(refused.status, 503)
        self.assertGreater(int(refused.headers["retry-after"]), 0)
        home.start()
        within(HEARD_AGAIN_S, "the group is back", lambda: self.groups_ready(asker) == 1)
        self.assertEqual(asker.complete("in time", 8).text(), expected("in time", 8)[0])


if __name__ == "__main__":
    sys.exit(run_tests())
