"""Clients ask without pause while processes are killed and stopped at random: nobody gets a wrong word.

`CHAOS_SEED=N` repeats the same faults in the same order; the times between are those of the machine.
"""

import contextlib
import http.client
import os
import random
import signal
import sys
import threading
import time
from collections import Counter

from cluster_under_test import Cluster
from process_case import ProcessCase, expected, run_tests
from processes import poll

CLIENTS, FAULTS, PAUSE_S = 16, 7, 1.5
FAULT_KINDS = [("shard", signal.SIGKILL), ("shard", signal.SIGSTOP), ("router", signal.SIGKILL)]


class Clients:
    """Threads that stream one completion after another and judge each."""

    def __init__(self, cluster: Cluster, seed: int):
        self.cluster, self.stopping = cluster, threading.Event()
        self.outcomes, self.wrong, self.lock = Counter(), [], threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(n, random.Random(seed + n))) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, number: int, draw: random.Random) -> None:
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            prompt, count = f"client {number} turn {turn}", draw.randint(1, 300)
            try:
                outcome, wrong = self.judge(prompt, count)
            except Exception as problem:  # a bug of the test must not end a thread in silence
                outcome, wrong = "test failure", f"{prompt!r}: {problem!r}"
            with self.lock:
                self.outcomes[outcome] += 1
                self.wrong += [wrong] if wrong else []
            if outcome == "refused":
                self.stopping.wait(0.1)

    def judge(self, prompt: str, count: int) -> tuple[str, str | None]:
        stream = None
        with contextlib.suppress(http.client.HTTPException, OSError):
            stream = self.cluster.stream(prompt, count)
        if stream is None:
            return "cut before the first byte", None
        with stream:
            if stream.status != 200:
                return "refused", None if stream.status in (429, 503) else f"{prompt!r}: status {stream.status}"
            with contextlib.suppress(http.client.HTTPException, OSError):
                stream.read_all()
        text, reason = expected(prompt, count)
        ends = [e.data for e in stream.events].count("[DONE]")
        if stream.error():
            ok = text.startswith(stream.text()) and not stream.finish() and ends == 1
            return "ended with an error", None if ok else f"{prompt!r}: {stream.events[-3:]}"
        if ends == 0:  # its router died: cut off, and it does not pretend otherwise
            return "cut", None if text.startswith(stream.text()) else f"{prompt!r}: {stream.text()!r}"
        ok = (stream.text(), stream.finish(), ends) == (text, reason, 1)
        return "complete", None if ok else f"{prompt!r}: {stream.text()!r} instead of {text!r}"

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)


class Chaos(ProcessCase):
    def test_nobody_gets_a_wrong_word(self):
        seed = int(os.environ.get("CHAOS_SEED") or time.time())
        draw = random.Random(seed)
        print(f"    CHAOS_SEED={seed}", flush=True)
        with Cluster("--oracle-step", "3ms") as cluster:
            clients = Clients(cluster, seed)
            try:
                for _ in range(FAULTS):
                    role, how = draw.choice(FAULT_KINDS)
                    # A fault on top of a fault now and then; else the cluster recovers first.
                    if draw.random() < 0.7:
                        poll("ready again", 30, lambda: cluster.get("/readyz").status == 200)
                    row = cluster.actor(role)
                    if row["pid"]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(row["pid"], how)
                    print(f"    {how.name} {role}", flush=True)
                    clients.stopping.wait(draw.random() * PAUSE_S)
            finally:
                with contextlib.suppress(AssertionError):  # the judgement comes below
                    before = clients.outcomes["complete"]
                    poll("answers again", 60, lambda: clients.outcomes["complete"] > before + 2 * CLIENTS)
                clients.stop()
            print(f"    {dict(clients.outcomes)}", flush=True)
            self.assertEqual(clients.wrong, [])
            self.assertGreater(clients.outcomes["complete"], before + 2 * CLIENTS, "no recovery after the last fault")
            poll("nothing runs any more", 10, lambda: cluster.metric("troupe_group_requests_running") == 0)
            poll("all blocks are free", 10, lambda: cluster.metric("troupe_group_kv_cache_usage_ratio") == 0)
            self.assertEqual(cluster.stop(), 0)


if __name__ == "__main__":
    sys.exit(run_tests())
