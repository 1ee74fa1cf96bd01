"""Groups whose ranks are on several hosts (network namespaces): they answer as one process does, and streams survive hosts
that are killed or can't be heard."""

import os
import signal
import sys

from cluster_on_hosts import ClusterOnHosts, HostNode
from cluster_under_test import Cluster
from hosts import why_not
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, report, within
from started import MODEL

NAMES = ["n1", "n2", "n3"]
PROMPT = "Four score and seven years ago our fathers brought"
TOKENS = 32
READY_S = 10  # all ranks have loaded their part
DEAD_S = 1.5
STEP_S = 2  # deadline of a step
SEEN_S = 2  # every node shows what another one knows
AGAIN_S = 10  # a host is back, its ranks are started and have met the others
LONG, DRAWN = 96, {"temperature": 0.9, "seed": 21, "ignore_eos": True}
WISHES = [{"temperature": 0}, {"temperature": 0.9, "seed": 7}, {"temperature": 0.9, "seed": 8, "n": 2}]


def choices(answers: list) -> list[dict]:
    assert all(a.status == 200 for a in answers), [(a.status, a.body[:300]) for a in answers]
    return [a.json()["choices"] for a in answers]


def ranks(cluster: ClusterOnHosts, count: int = 3) -> list[dict]:
    """Rows of the shard processes in the order of group and rank, once the first node shows all of them as ready."""
    rows = []

    def all_are_ready() -> bool:
        rows[:] = [a | {"node": name} for name, node in cluster["n1"].tree().items() for a in node["actors"]
                   if a["role"] == "shard"]
        return [a["state"] for a in rows] == ["ready"] * count

    poll(f"the first node shows {count} ranks as ready", SEEN_S, all_are_ready)
    return sorted(rows, key=lambda a: (a["group"], a["rank"]))


class OnHosts(ProcessCase):
    def setUp(self):
        if reason := why_not():
            self.skipTest(reason)

    def groups_ready(self, node: HostNode) -> int:
        try:
            return sum(m["groups_ready"] for m in node.ask("GET", "/readyz").json()["models"])
        except OSError:
            return -1  # a node that was just started


class RealModel(OnHosts):
    """Log-probabilities go along, so that a bit that differs shows."""

    @classmethod
    def setUpClass(cls):
        with Cluster("--threads", "1", model=MODEL) as one:
            cls.right = choices([one.complete(PROMPT, TOKENS, logprobs=3, **wish) for wish in WISHES])
            cls.long_text = one.complete(PROMPT, LONG, **DRAWN).text()

    def answers(self, node: HostNode) -> list[dict]:
        return choices([node.complete(PROMPT, TOKENS, model="smollm2", logprobs=3, **wish) for wish in WISHES])

    def test_groups_over_hosts_answer_as_one_process_does(self):
        for layout, devices in [("tensor_parallel: 3", {}), ("pipeline_parallel: 3", {}), ("tensor_parallel: 3", {"n1": 2}),
                                ("tensor_parallel: 2, pipeline_parallel: 2", {"n2": 2})]:
            models = f"{{name: smollm2, source: {MODEL}, threads: 1, {layout}}}"
            with self.subTest(layout, devices=devices), ClusterOnHosts(NAMES, models, devices=devices) as cluster:
                poll("every router reaches the group", READY_S,
                     lambda: all(self.groups_ready(n) == 1 for n in cluster.nodes.values()))
                rows = ranks(cluster, 4 if "2, p" in layout else 3)
                self.assertEqual(len({row["node"] for row in rows}), 2 if devices == {"n1": 2} else 3)
                self.assertEqual([row["rank"] for row in rows], list(range(len(rows))))
                for node in cluster.nodes.values():
                    self.assertEqual(self.answers(node), self.right, f"through the router of {node.name}")

    def test_two_hosts_that_only_do_not_hear_each_other_end_the_step_and_the_stream_goes_on(self):
        """Neither heads the group: for the head no node is dead, but two of its ranks can't exchange what they computed."""
        with ClusterOnHosts(NAMES, f"{{name: smollm2, source: {MODEL}, threads: 1, tensor_parallel: 3}}") as cluster:
            head = ranks(cluster)[0]["node"]
            other, third = (n for n in NAMES if n != head)
            poll("the head's router reaches the group", READY_S, lambda: self.groups_ready(cluster[head]) == 1)
            with cluster[head].stream(PROMPT, LONG, model="smollm2", **DRAWN) as stream:
                stream.read_tokens(5)
                cluster.hosts.cut(other, third)
                within(STEP_S, "the group knows that it can't go on", lambda: self.groups_ready(cluster[head]) == 0)
                cluster.hosts.heal()
                stream.read_all()
                self.assertIsNone(stream.error())
                self.assertEqual(stream.text(), self.long_text)


class Faults(OnHosts):
    COUNT = 150  # tokens of a stream; 20 ms each

    def cluster(self, groups: int, devices: dict[str, int]) -> ClusterOnHosts:
        model = f"{{name: oracle, backend: oracle, tensor_parallel: 3, groups: {groups}, oracle_step: 20ms}}"
        cluster = ClusterOnHosts(NAMES, model, devices=devices)
        self.addCleanup(cluster.close)
        self.all_ready(cluster, groups)
        return cluster

    def all_ready(self, cluster: ClusterOnHosts, groups: int) -> None:
        within(AGAIN_S, f"all {groups} groups are ready on every router",
               lambda: all(self.groups_ready(n) == groups for n in cluster.nodes.values()))

    def interrupted(self, cluster: ClusterOnHosts, asked: str, lost: str, fault, heal) -> None:
        """A stream through the router of `asked`, over the only group, while `lost` fails: it stops, and goes on exactly."""
        prompt = long_prompt(f"{asked} without {lost}", self.COUNT)
        with cluster[asked].stream(prompt, self.COUNT) as stream:
            stream.read_tokens(5)
            fault()
            within(DEAD_S, f"without {lost} the group has left the routing", lambda: self.groups_ready(cluster[asked]) == 0)
            heal()
            self.check_stream(stream.read_all(), prompt, self.COUNT)
            gap = max(b.at - a.at for a, b in zip(stream.events, stream.events[1:]))
            report(f"longest gap of the stream, {lost} lost", gap, DEAD_S + AGAIN_S)
        self.all_ready(cluster, 1)
        for node in cluster.nodes.values():
            self.assertEqual(node.complete("after all", 8).text(), expected("after all", 8)[0])

    def test_a_rank_on_a_host_that_fails_stops_its_group_until_it_is_back(self):
        cluster = self.cluster(1, {})
        head = ranks(cluster)[0]["node"]
        other, third = (n for n in NAMES if n != head)
        hosts = cluster.hosts
        with self.subTest("a host without its cable"):
            self.interrupted(cluster, head, third, lambda: hosts.isolate(third), hosts.heal)
        with self.subTest("a host that the head does not hear"):
            self.interrupted(cluster, head, third, lambda: hosts.cut(third, head), hosts.heal)
        with self.subTest("a node that is killed"):
            self.interrupted(cluster, head, third, cluster[third].kill, cluster[third].start)
        with self.subTest("the head's node is killed"):
            self.interrupted(cluster, other, head, cluster[head].kill, cluster[head].start)

    def test_streams_go_on_in_the_other_group(self):
        cluster = self.cluster(2, dict.fromkeys(NAMES, 2))
        rows = ranks(cluster, 6)
        by_node = {n: {a["group"] for a in rows if a["node"] == n} for n in NAMES}
        lost = next(n for n in NAMES if len(by_node[n]) == 1)  # one of the groups has no rank there
        asked = [n for n in NAMES if n != lost]
        prompts = [long_prompt(f"{asked[i % 2]} {i}", self.COUNT) for i in range(8)]
        streams = [cluster[asked[i % 2]].stream(p, self.COUNT) for i, p in enumerate(prompts)]
        for stream in streams:
            stream.read_tokens(3)
        cluster[lost].kill()
        within(DEAD_S, "its group left the routing of the others",
               lambda: [self.groups_ready(cluster[n]) for n in asked] == [1, 1])
        for stream, prompt in zip(streams, prompts, strict=True):
            self.check_stream(stream.read_all(), prompt, self.COUNT)
            stream.close()
        retries = sum(cluster[n].router_metric("troupe_request_retries_total") for n in asked)
        self.assertGreater(retries, 0, "no stream ran there: the fault was none")
        cluster[lost].start()
        self.all_ready(cluster, 2)

    def test_killed_links_are_dialled_again_and_the_group_runs_on(self):
        cluster = self.cluster(1, {})
        before = ranks(cluster)
        prompt = long_prompt("all links killed", self.COUNT)
        with cluster[before[0]["node"]].stream(prompt, self.COUNT) as stream:
            stream.read_tokens(5)
            for node in cluster.nodes.values():
                os.kill(node.actor(f"{node.name}/link")["pid"], signal.SIGKILL)
            self.check_stream(stream.read_all(), prompt, self.COUNT)
            last = [e.json() for e in stream.events if e.data != "[DONE]"][-1]
            self.assertEqual(last["timings"]["attempts"], 1)
        self.all_ready(cluster, 1)
        after = ranks(cluster)
        for key in ("pid", "generation", "restarts"):
            self.assertEqual([row[key] for row in after], [row[key] for row in before], key)

    def test_a_drained_node_ends_its_group_and_leaves_no_process(self):
        cluster = self.cluster(1, {})
        head = ranks(cluster)[0]["node"]
        third = next(n for n in NAMES if n != head)
        self.assertEqual(cluster[third].drain(), 0)
        within(DEAD_S, "the group left the routing", lambda: self.groups_ready(cluster[head]) == 0)
        cluster[third].start()
        self.all_ready(cluster, 1)
        self.assertEqual(cluster[head].complete("after all", 8).text(), expected("after all", 8)[0])


if __name__ == "__main__":
    sys.exit(run_tests())
