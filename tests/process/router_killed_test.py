"""kill -9 and SIGSTOP of the router process: it is respawned, and connections made meanwhile wait for it."""

import contextlib
import http.client
import signal
import socket
import sys
import time

from cluster_under_test import Cluster
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, report, within

SERVED_S = 1


def read_answer(connection: socket.socket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response


class RouterKilled(ProcessCase):
    def test_connections_made_meanwhile_wait_and_are_served(self):
        with Cluster() as cluster:
            before, shard = cluster.kill("router"), cluster.actor("shard")
            start = time.monotonic()
            waiting = [socket.create_connection(cluster.address, timeout=5 * SERVED_S) for _ in range(8)]
            for connection in waiting:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            for connection in waiting:
                with connection:
                    self.assertEqual(read_answer(connection).status, 200)
            report("connections made after the router was killed are served", time.monotonic() - start, SERVED_S)
            cluster.wait_ready()
            after = poll("router respawned", 5 * SERVED_S, lambda: cluster.successor("router", before))
            self.assertEqual(after["restarts"], before["restarts"] + 1)
            self.assertIn("signal 9", after["last_error"])
            self.assertEqual(cluster.actor("shard")["pid"], shard["pid"], "the shard has nothing to do with it")
            self.assertEqual(cluster.actor("shard")["generation"], shard["generation"])
            prompt = long_prompt("after the router", 30)
            self.assertEqual(cluster.complete(prompt, 30).text(), expected(prompt, 30)[0])

    def test_a_completion_sent_meanwhile_is_answered(self):
        with Cluster() as cluster:
            cluster.kill("router")
            start = time.monotonic()
            answer = cluster.complete("asked in between", 12, timeout=30)
            self.assertEqual((answer.status, answer.text()), (200, expected("asked in between", 12)[0]))
            took = report("a completion asked of a killed router", time.monotonic() - start, SERVED_S)
            self.assertLess(took, 5 * SERVED_S)

    def test_its_sequences_end_and_free_their_blocks(self):
        count = 2000
        with Cluster("--oracle-step", "5ms") as cluster:
            streams = [cluster.stream(long_prompt(f"orphan {n}", 200), count, ignore_eos=True) for n in range(3)]
            for stream in streams:
                stream.read_tokens(3)
            before = cluster.kill("router")
            for stream in streams:
                with stream, contextlib.suppress(http.client.HTTPException, OSError):
                    stream.read_all()
                # Cut off, and it does not pretend otherwise.
                self.assertIsNone(stream.finish())
                self.assertNotIn("[DONE]", [e.data for e in stream.events])
            poll("router respawned", 10, lambda: cluster.successor("router", before))
            cluster.wait_ready()
            within(SERVED_S, "the sequences of a dead router end",
                   lambda: cluster.metric("troupe_group_requests_running") == 0)

    def test_a_stopped_router_is_replaced(self):
        with Cluster() as cluster:
            before = cluster.kill("router", signal.SIGSTOP)
            start = time.monotonic()
            after = poll("router replaced", 15, lambda: cluster.successor("router", before))
            report("a stopped router is replaced", time.monotonic() - start, 2.5)
            self.assertEqual(after["restarts"], 1)
            cluster.wait_ready()
            self.assertEqual(cluster.complete("and again", 8).text(), expected("and again", 8)[0])


if __name__ == "__main__":
    sys.exit(run_tests())
