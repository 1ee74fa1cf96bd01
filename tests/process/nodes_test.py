"""Three nodes form one cluster: any of them shows all, routers use every group, and streams outlive nodes and links."""

import json
import os
import signal
import sys
import time

import talk
from hung_threads import HungThreads
from nodes_under_test import FORMED_S, Nodes
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, report, within

VISIBLE_S = 2  # how every node fares, on every node
DEAD_S = 1.5
STALE_S = 1  # a report
LINKED_S = 1
DRAINED_S = 30


class SeveralNodes(ProcessCase):
    def attempts_of(self, stream, prompt: str, count: int) -> int:
        """How many groups it took; what came is what an undisturbed run gives."""
        self.check_stream(stream.read_all(), prompt, count)
        return [e.json() for e in stream.events if e.data != "[DONE]"][-1]["timings"]["attempts"]

    def test_they_start_in_any_order_and_each_shows_all(self):
        with Nodes() as nodes:
            nodes.start("n3", "n2")
            poll("n3 sees n2", 5 * FORMED_S, lambda: nodes["n3"].nodes()["n2"]["state"] == "ready")
            missing = nodes["n3"].nodes()["n1"]
            self.assertEqual((missing["state"], missing["actors"]), ("stopped", []))
            self.assertIn("dialled", missing["reason"])  # n1 has the lower name: it dials
            # One group of two is enough to answer by.
            self.assertEqual(nodes.complete("n3", "without the first", 8).text(), expected("without the first", 8)[0])
            nodes.start("n1")
            within(FORMED_S, "all three nodes see each other", nodes.formed)
            for name in nodes.names:
                shown = json.loads(nodes.troupe("status", "--json", "--state", str(nodes[name].state)))
                self.assertEqual([n["name"] for n in shown["nodes"]], list(nodes.names))
                ids = {a["id"] for n in shown["nodes"] for a in n["actors"]}
                for wanted in ("n1/supervisor", "n2/health", "n3/link", "n1/shard/oracle.0.0", "n2/shard/oracle.1.0",
                               "n3/router", "n1/router"):
                    self.assertIn(wanted, ids)
                # What other nodes tell is what they say themselves.
                for node in shown["nodes"]:
                    self.assertEqual(node["incarnation"], nodes[node["name"]].nodes()[node["name"]]["incarnation"])
                    self.assertNotIn("config_differs", node)
            text = nodes.troupe("status", "--state", str(nodes.folder / "state"))
            for name in nodes.names:
                self.assertIn(f"node {name}  ready", text)
            # Both routers serve the same model at once, by groups of other nodes too.
            for router in ("n1", "n3"):
                prompt = long_prompt(f"asked at {router}", 20)
                self.assertEqual(nodes.complete(router, prompt, 20).text(), expected(prompt, 20)[0])
            nodes.start_config_drift("n2")
            poll("n1 shows that n2 has another config", 5 * FORMED_S,
                 lambda: nodes["n1"].nodes()["n2"].get("config_differs") and nodes.formed())

    def test_a_node_of_another_cluster_is_refused_and_both_say_why(self):
        with Nodes() as nodes:
            nodes.start("n1")
            nodes["n1"].endpoint()  # it has read its config
            nodes.start_with("n2", lambda text: text.replace("cluster: demo", "cluster: other"))
            why = "it belongs to cluster demo, this is other: give it this cluster's config"

            def reasons() -> set[str]:
                return {nodes[a].nodes()[b].get("reason") for a, b in (("n1", "n2"), ("n2", "n1"))}

            # The one that is greeted refuses; n1 has the lower name, so it dials and greets.
            wanted = {f"it was refused: {why}", f"it refused this node: {why}"}
            poll("each says why the other is not in", 5 * FORMED_S, lambda: reasons() == wanted)
            self.assertEqual(nodes["n1"].nodes()["n2"]["state"], "stopped")
            self.assertEqual(nodes.complete("n1", "on its own", 8).text(), expected("on its own", 8)[0])
            nodes["n2"].kill()
            nodes.start("n2", "n3")
            poll("with the right config it joins", 5 * FORMED_S, nodes.formed)

    def test_a_killed_node_leaves_and_its_streams_go_on_exactly(self):
        count = 300
        prompts = [long_prompt(f"stream {n} of four", count) for n in range(4)]
        with Nodes() as nodes:
            nodes.start("n1", "n2", "n3")
            within(FORMED_S, "three nodes form a cluster", nodes.formed)
            streams = [nodes.stream("n3", p, count) for p in prompts]
            for stream in streams:
                stream.read_tokens(5)
            nodes["n2"].kill()
            start = time.monotonic()
            gone = {n: poll(f"{n} shows n2 as stopped", 5 * VISIBLE_S,
                            lambda n=n: (r := nodes[n].nodes()["n2"])["state"] == "stopped" and r) for n in ("n1", "n3")}
            report("a killed node is stopped on every other one", time.monotonic() - start, DEAD_S)
            for row in gone.values():
                self.assertIn(row["reason"], ("it was silent", "it does not answer"))  # n1 dials it again
            attempts = []
            for stream, prompt in zip(streams, prompts, strict=True):
                with stream, self.subTest(prompt):
                    attempts.append(self.attempts_of(stream, prompt, count))
            self.assertEqual(max(attempts), 2, "no stream was on the node that was killed")
            self.assertEqual(nodes.ready_groups("n3"), 1)
            # No group left: the other one goes too, and with it its router.
            nodes["n1"].kill()
            within(VISIBLE_S, "readyz of n3 says that no group is left", lambda: nodes.ready_groups("n3") == 0
                   and nodes["n3"].nodes()["n1"]["state"] == "stopped")
            answer = nodes.complete("n3", "is anybody there", 4)
            self.assertEqual(answer.status, 503)
            self.assertGreater(int(answer.headers["retry-after"]), 0)
            self.assertEqual(answer.json()["error"]["type"], "service_unavailable")
            reason = talk.ask(nodes["n3"].address(), "GET", "/readyz").json()["reason"]
            self.assertIn("node n1", reason)
            self.assertRegex(reason, "this node (hears no other node|stopped hearing 2 of 2 other nodes)")
            before = nodes["n3"].actors()
            nodes.start("n2", "n1")
            within(FORMED_S, "both are back", nodes.formed)
            self.assertEqual(nodes.complete("n3", "and again", 8).text(), expected("and again", 8)[0])
            after = nodes["n3"].actors()
            self.assertEqual({k: v["pid"] for k, v in before.items()}, {k: v["pid"] for k, v in after.items()})

    def test_a_drained_node_finishes_what_other_routers_have_there(self):
        count = 300
        prompt = long_prompt("the last stream", count)
        with Nodes() as nodes:
            nodes.start("n2", "n3")
            poll("the router of n3 serves by the group of n2", 5 * FORMED_S, lambda: nodes.ready_groups("n3") == 1)
            with nodes.stream("n3", prompt, count) as stream:
                stream.read_tokens(5)
                nodes["n2"].process.send_signal(signal.SIGTERM)
                poll("n3 hears of the drain", 5 * VISIBLE_S, lambda: nodes.ready_groups("n3") == 0)
                self.assertEqual(self.attempts_of(stream, prompt, count), 1)
            self.assertEqual(nodes["n2"].process.wait(DRAINED_S), 0)

    def test_a_supervisor_that_hangs_gets_no_new_work_while_its_streams_go_on(self):
        count = 300
        prompts = [long_prompt(f"beside the hung {n}", count) for n in range(4)]
        with Nodes() as nodes:
            nodes.start("n1", "n2", "n3")
            poll("three nodes form a cluster", 5 * FORMED_S, nodes.formed)
            before = {name: nodes[name].actors() for name in nodes.names}
            streams = [nodes.stream("n3", p, count) for p in prompts]
            for stream in streams:
                stream.read_tokens(5)
            with HungThreads(nodes["n2"].process.pid, spared="beats"):
                start = time.monotonic()
                for name in ("n1", "n3"):
                    poll(f"{name} shows n2 as suspect", 5 * STALE_S, lambda n=name: nodes[n].nodes()["n2"]["state"] == "suspect")
                report("a hung supervisor is suspect on every other node", time.monotonic() - start, 2 * STALE_S)
                poll("readyz of n3 counts the other group only", STALE_S, lambda: nodes.ready_groups("n3") == 1)
                ready = talk.ask(nodes["n3"].address(), "GET", "/readyz")
                self.assertEqual(ready.status, 200)
                self.assertIn("node n2 may hang: its last report is over ", ready.json()["models"][0]["reason"])
                self.assertEqual(nodes.complete("n3", "beside it", 8).text(), expected("beside it", 8)[0])
                # What its shard computes is not given up: it needs no supervisor for it.
                for stream, prompt in zip(streams, prompts, strict=True):
                    with stream, self.subTest(prompt):
                        self.assertEqual(self.attempts_of(stream, prompt, count), 1)
                poll("how old its last word is", 3, lambda: "over 2 s old" in nodes["n1"].nodes()["n2"]["reason"])
                self.assertIn("while its beats go on", nodes.troupe("status", "--state", str(nodes["n1"].state)))
                self.assertEqual(nodes["n1"].nodes()["n2"]["state"], "suspect")
            within(VISIBLE_S, "it goes on, and all see each other as ready", nodes.formed)
            for name in nodes.names:
                after = nodes[name].actors()
                self.assertEqual({k: v["pid"] for k, v in before[name].items()}, {k: after[k]["pid"] for k in before[name]})

    def test_a_killed_link_process_restarts_nothing_else(self):
        count = 400
        prompts = [long_prompt(f"over the link {n}", count) for n in range(2)]
        with Nodes() as nodes:
            nodes.start("n1", "n2", "n3")
            poll("three nodes form a cluster", 5 * FORMED_S, nodes.formed)
            before = {name: nodes[name].actors() for name in nodes.names}
            streams = [nodes.stream("n3", p, count) for p in prompts]
            for stream in streams:
                stream.read_tokens(5)
            os.kill(before["n3"]["n3/link"]["pid"], signal.SIGKILL)
            start = time.monotonic()
            for stream, prompt in zip(streams, prompts, strict=True):
                with stream, self.subTest(prompt):
                    self.check_stream(stream.read_all(), prompt, count)
            first = streams[0].events  # read without a pause
            gap = max(b.at - a.at for a, b in zip(first, first[1:]))
            report("longest gap in a stream whose link was killed", gap, LINKED_S)
            poll("all see each other again", 5 * LINKED_S, nodes.formed)
            print(f"    formed again {time.monotonic() - start:.1f} s after the kill, the streams included")
            for name in nodes.names:
                after = nodes[name].actors()
                for actor, row in before[name].items():
                    if actor != "n3/link":
                        for what in ("pid", "restarts", "generation"):
                            self.assertEqual(after[actor][what], row[what], f"{what} of {actor}")
            self.assertEqual(nodes["n3"].actors()["n3/link"]["restarts"], 1)


if __name__ == "__main__":
    sys.exit(run_tests())
