"""The end of a node: kill -9 leaves no child, SIGTERM and SIGINT drain, a second one ends the drain."""

import signal
import sys
import time

from cluster_under_test import Cluster
from process_case import ProcessCase, long_prompt, run_tests
from processes import poll, report, within

CHILDREN_GONE_S = 1
AT_ONCE_S = 1


class NodeEnds(ProcessCase):
    def test_no_child_survives_kill_9(self):
        with Cluster() as cluster:
            children = cluster.processes()
            self.assertGreaterEqual(len(children), 2)
            cluster.signal(signal.SIGKILL)
            cluster.node.wait(10)
            within(CHILDREN_GONE_S, "children of a killed node are gone", lambda: not any(c.alive() for c in children))

    def test_no_child_survives_kill_9_in_mid_stream(self):
        with Cluster("--oracle-step", "5ms") as cluster, cluster.stream("long", 5000, ignore_eos=True) as stream:
            stream.read_tokens(5)
            children = cluster.processes()
            cluster.signal(signal.SIGKILL)
            cluster.node.wait(10)
            within(CHILDREN_GONE_S, "children of a killed busy node are gone",
                   lambda: not any(c.alive() for c in children))

    def drains(self, number: int) -> None:
        count = 300
        prompt = long_prompt("until the end", count)
        with Cluster("--oracle-step", "5ms") as cluster, cluster.stream(prompt, count) as stream:
            stream.read_tokens(5)
            children = cluster.processes()
            cluster.signal(number)
            poll("readyz tells of the drain", 5, lambda: cluster.get("/readyz").status == 503)
            ready = cluster.get("/readyz").json()
            self.assertFalse(ready["ready"])
            self.assertIn("drain", ready["reason"])
            self.assertEqual(cluster.get("/livez").status, 200)
            refused = cluster.complete("too late", 4)
            self.assertEqual(refused.status, 503)
            self.assertIn("retry-after", refused.headers)
            self.assertIsNone(cluster.node.poll(), "the node ended before its stream")
            self.check_stream(stream.read_all(), prompt, count)
            start = time.monotonic()
            self.assertEqual(cluster.node.wait(10), 0)
            report("a drained node ends after its last stream", time.monotonic() - start, 1)
            self.assertFalse([c for c in children if c.alive()])

    def test_sigterm_drains(self):
        self.drains(signal.SIGTERM)

    def test_sigint_drains(self):
        self.drains(signal.SIGINT)

    def test_an_idle_node_ends_at_once(self):
        with Cluster() as cluster:
            start = time.monotonic()
            self.assertEqual(cluster.stop(), 0)
            report("an idle node ends after SIGTERM", time.monotonic() - start, AT_ONCE_S)

    def second_signal_ends(self, first: int, second: int) -> None:
        with Cluster("--oracle-step", "20ms") as cluster, cluster.stream("endless", 20000, ignore_eos=True) as stream:
            stream.read_tokens(3)
            cluster.signal(first)
            poll("readyz tells of the drain", 5, lambda: cluster.get("/readyz").status == 503)
            self.assertIsNone(cluster.node.poll())
            cluster.signal(second)
            within(AT_ONCE_S, "a second signal ends the drain", lambda: cluster.node.poll() is not None)
            self.assertEqual(cluster.node.returncode, 0)
            error = stream.read_all().error()
            self.assertIsNotNone(error, "the stream did not say that it was ended")
            self.assertEqual((error["type"], stream.events[-1].data), ("service_unavailable", "[DONE]"))

    def test_a_second_sigterm_ends_the_drain_at_once(self):
        self.second_signal_ends(signal.SIGTERM, signal.SIGTERM)

    def test_a_second_ctrl_c_ends_the_drain_at_once(self):
        self.second_signal_ends(signal.SIGINT, signal.SIGINT)


if __name__ == "__main__":
    sys.exit(run_tests())
