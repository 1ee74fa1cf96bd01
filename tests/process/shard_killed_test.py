"""kill -9 and SIGSTOP of a shard process: streams go on exactly, or end honestly when the budget is spent."""

import signal
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, report, within

RETRY_BUDGET = 3  # unplanned failures of a request (kRetryBudget)
RESTART_BUDGET = 5  # deaths of a child (kRestartBudget)
BEATS_DEAD_S = 1.5
RESPAWN_S = 1


def longest_gap(events) -> float:
    return max(b.at - a.at for a, b in zip(events, events[1:]))


class ShardKilled(ProcessCase):
    def test_a_stream_goes_on_exactly_on_the_respawned_shard(self):
        count = 400
        prompt = long_prompt("killed in mid-stream", count)
        with Cluster("--oracle-step", "5ms") as cluster, cluster.stream(prompt, count) as stream:
            stream.read_tokens(20)
            before = cluster.kill("shard")
            stream.read_all()
            self.check_stream(stream, prompt, count)
            report("longest gap in a stream whose shard was killed", longest_gap(stream.events), RESPAWN_S)
            after = poll("shard respawned", 5 * RESPAWN_S, lambda: cluster.successor("shard", before))
            self.assertEqual(after["generation"], before["generation"] + 1)
            self.assertEqual(after["restarts"], before["restarts"] + 1)
            self.assertIn("signal 9", after["last_error"])
            last = [e.json() for e in stream.events if e.data != "[DONE]"][-1]
            self.assertEqual(last["timings"]["attempts"], 2)
            self.assertEqual(last["timings"]["generated_tokens"], count)

    def test_every_stream_of_the_group_goes_on(self):
        count = 150
        prompts = [long_prompt(f"stream {n} of many", count) for n in range(8)]
        with Cluster("--oracle-step", "5ms") as cluster:
            streams = [cluster.stream(p, count) for p in prompts]
            for stream in streams:
                stream.read_tokens(5)
            cluster.kill("shard")
            for stream, prompt in zip(streams, prompts, strict=True):
                with stream, self.subTest(prompt):
                    self.check_stream(stream.read_all(), prompt, count)

    def test_a_whole_answer_survives_too(self):
        count = 200
        prompt = long_prompt("not a stream", count)
        with Cluster("--oracle-step", "5ms") as cluster, cluster.stream(prompt, count) as beside:
            beside.read_tokens(3)
            cluster.kill("shard")
            # Its group is away at this moment: refused with a date to come back, or served; never lost.
            answer = cluster.complete(prompt, count)
            if answer.status == 503:
                self.assertIn("retry-after", answer.headers)
                cluster.wait_ready()
                answer = cluster.complete(prompt, count)
            self.assertEqual((answer.status, answer.text()), (200, expected(prompt, count)[0]))
            self.check_stream(beside.read_all(), prompt, count)

    def test_a_spent_budget_ends_the_stream_with_one_error_and_done(self):
        count = 1000
        prompt = long_prompt("killed again and again", count)
        with Cluster("--oracle-step", "20ms") as cluster, cluster.stream(prompt, count) as stream:
            for _ in range(RETRY_BUDGET + 1):
                stream.read_tokens(4)
                cluster.kill("shard")
            stream.read_all()
            self.assertEqual(stream.status, 200)
            error = stream.error()
            self.assertIsNotNone(error, "the stream did not end with an error")
            self.assertEqual(set(error), {"message", "type", "param", "code"})
            self.assertIn(error["type"], ("server_error", "service_unavailable"))
            self.assertIsNone(stream.finish())
            self.assertEqual([e.data for e in stream.events].count("[DONE]"), 1)
            self.assertEqual(stream.events[-1].data, "[DONE]")
            text = stream.text()
            self.assertTrue(text)
            self.assertTrue(expected(prompt, count)[0].startswith(text), "what came before the error is no prefix")

    def test_a_shard_that_keeps_dying_is_failed_and_requests_get_503(self):
        with Cluster("--oracle-step", "5ms") as cluster:
            row = cluster.actor("shard")
            for _ in range(RESTART_BUDGET):
                cluster.kill("shard")
                row = poll("shard respawned", 30, lambda row=row: cluster.successor("shard", row))
            cluster.kill("shard")
            poll("the shard is given up", 5, lambda: cluster.actor("shard")["state"] == "failed")
            poll("readyz says so", 5, lambda: cluster.get("/readyz").status == 503)
            ready = cluster.get("/readyz").json()
            self.assertFalse(ready["ready"])
            self.assertTrue(ready["reason"])
            self.assertEqual(ready["models"][0]["groups_ready"], 0)
            answer = cluster.complete("is anybody there", 4)
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.json()["error"]["type"], "service_unavailable")
            self.assertGreater(int(answer.headers["retry-after"]), 0)
            self.assertEqual(cluster.get("/livez").status, 200)


class ShardStopped(ProcessCase):
    def test_a_stopped_shard_is_found_and_its_stream_goes_on_exactly(self):
        count = 300
        prompt = long_prompt("stopped in mid-stream", count)
        with Cluster("--oracle-step", "5ms") as cluster, cluster.stream(prompt, count) as stream:
            stream.read_tokens(20)
            before = cluster.kill("shard", signal.SIGSTOP)
            stream.read_all()
            self.check_stream(stream, prompt, count)
            gap = report("longest gap in a stream whose shard was stopped", longest_gap(stream.events),
                         BEATS_DEAD_S + RESPAWN_S)
            self.assertLess(gap, 5 * (BEATS_DEAD_S + RESPAWN_S))
            after = poll("shard replaced", 5 * RESPAWN_S, lambda: cluster.successor("shard", before))
            self.assertEqual(after["generation"], before["generation"] + 1)
            self.assertNotIn(before["pid"], cluster.pids(), "the stopped process was left behind")

    def test_a_stopped_idle_shard_is_not_called_ready_for_long(self):
        with Cluster() as cluster:
            before = cluster.kill("shard", signal.SIGSTOP)
            within(BEATS_DEAD_S, "a stopped idle shard is found",
                   lambda: cluster.actor("shard")["pid"] != before["pid"] or cluster.actor("shard")["state"] != "ready")
            poll("shard replaced", 15, lambda: cluster.successor("shard", before))
            cluster.wait_ready()
            self.assertEqual(cluster.complete("back again", 8).text(), expected("back again", 8)[0])


if __name__ == "__main__":
    sys.exit(run_tests())
