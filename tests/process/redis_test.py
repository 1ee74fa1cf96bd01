"""The Redis tier of the response cache with a real server: useful when it is well, harmless when it is not."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import talk
from cluster_under_test import Cluster
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll
from started import short_folder
from up_under_test import Up

TIMEOUT_S = 0.05  # what a lookup may cost (kRedisTimeout)
COUNT = 20


class Redis:
    """redis-server on a free port, with nothing on disk."""

    def __init__(self):
        self.folder = short_folder()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                                         "--appendonly", "no", "--dir", str(self.folder)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        poll("redis-server answers", 10, self.answers)

    def answers(self) -> bool:
        try:
            return self.command("PING") == ["+PONG"]
        except OSError:
            return False

    def command(self, *words: str) -> list[str]:
        """The lines of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall((" ".join(words) + "\r\nQUIT\r\n").encode())
            received = b""
            while got := connection.recv(1 << 16):
                received += got
        return received.decode("latin-1").split("\r\n")[:-2]

    def keys(self) -> list[str]:
        return [line for line in self.command("KEYS", "*")[1:] if not line.startswith("$")]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisTier(ProcessCase):
    def setUp(self):
        self.redis = Redis()
        self.addCleanup(self.redis.close)
        self.cluster = Cluster("--redis", f"redis://127.0.0.1:{self.redis.port}")
        self.addCleanup(self.cluster.close)

    def ask(self, prompt: str) -> str:
        """X-Cache of a deterministic request; the answer is always the right one."""
        answer = self.cluster.complete(prompt, COUNT, temperature=0)
        self.assertEqual((answer.status, answer.text()), (200, expected(prompt, COUNT)[0]))
        return answer.headers["x-cache"]

    def forget(self) -> None:
        """A new router has an empty memory tier."""
        before = self.cluster.kill("router")
        poll("router respawned", 10, lambda: self.cluster.successor("router", before))
        self.cluster.wait_ready()

    def remembered(self, prompt: str) -> str:
        """The new key in Redis once the answer is there. Values are written behind the request."""
        known = set(self.redis.keys())

        def stored() -> set[str]:
            # Not stored while the connection was not yet up: what is in memory is not written again.
            if self.ask(prompt) == "hit-memory" and not set(self.redis.keys()) - known:
                self.forget()
            return set(self.redis.keys()) - known

        (key,) = poll("redis holds the answer", 20, stored, pause=0.1)
        return key

    def until_redis_helps(self, controls: list[str]) -> None:
        """Until a router that has just started has its connection: it finds one of these answers in Redis."""
        for prompt in controls:
            if self.ask(prompt) == "hit-redis":
                return
        self.fail("none of the control answers came from redis")

    def counted(self, outcome: str) -> float:
        return self.cluster.metric("troupe_redis_operations_total", outcome=outcome)

    def test_an_answer_outlives_the_router_that_computed_it(self):
        prompts = [long_prompt(f"kept in redis {n}", COUNT) for n in range(20)]
        for prompt in prompts:
            self.remembered(prompt)
        self.forget()
        self.until_redis_helps(prompts[:-1])
        self.assertEqual([self.ask(prompts[-1]) for _ in range(2)], ["hit-redis", "hit-memory"])
        poll("hits are counted", 5, lambda: 'troupe_response_cache_hits_total{tier="redis"} 2'
             in self.cluster.get("/metrics?compat=none").body.decode())

    def test_redis_never_sees_a_prompt(self):
        key = self.remembered(long_prompt("xyzzyplugh", COUNT))
        self.assertNotIn("xyzzyplugh", key + "".join(self.redis.command("GET", key)))

    def test_lies_are_misses(self):
        controls = [long_prompt(f"true {n}", COUNT) for n in range(20)]
        for prompt in controls:
            self.remembered(prompt)
        lies = {"SET {} nonsense": "", "SETRANGE {} 40 XXXX": "", "RPUSH {} a": "DEL {}", "COPY": ""}
        lied = {}
        for lie, first in lies.items():
            prompt = long_prompt(f"lied about by {lie}", COUNT)
            key = lied[prompt] = self.remembered(prompt)
            if lie.startswith("COPY"):  # another request's value, whole and genuine
                other = next(k for k in self.redis.keys() if k != key)
                self.assertEqual(self.redis.command("COPY", other, key, "REPLACE"), [":1"])
                continue
            if first:
                self.redis.command(*first.format(key).split())
            self.assertFalse(self.redis.command(*lie.format(key).split())[0].startswith("-"))
        self.forget()
        self.until_redis_helps(controls)
        for prompt in lied:
            with self.subTest(prompt):
                self.assertEqual(self.ask(prompt), "miss")
        lies_told = {"truncated": 1, "foreign": 2, "wrong_type": 1}  # the router is a new one: it heard no others
        poll("each lie is counted once, as what it was", 5,
             lambda: {outcome: self.counted(outcome) for outcome in lies_told} == lies_told)

    def test_a_frozen_redis_costs_a_moment_and_no_request(self):
        self.remembered(long_prompt("before the frost", COUNT))
        os.kill(self.redis.process.pid, signal.SIGSTOP)
        try:
            slowest = 0.0
            for number in range(20):
                start = time.monotonic()
                self.assertEqual(self.ask(f"in the frost {number}"), "miss")
                slowest = max(slowest, time.monotonic() - start)
        finally:
            os.kill(self.redis.process.pid, signal.SIGCONT)
        poll("redis is given up", 5, lambda: self.counted("timed_out") > 0 and self.counted("resting") > 0)
        print(f"    slowest request while redis was frozen: {slowest * 1000:.0f} ms", flush=True)
        self.assertLess(slowest, 5 * 2 * TIMEOUT_S + 1)

    def test_a_killed_redis_is_missed_by_nobody(self):
        self.remembered(long_prompt("before the end", COUNT))
        self.redis.process.kill()
        self.redis.process.wait()
        for number in range(20):
            self.assertEqual(self.ask(f"without redis {number}"), "miss")
        self.assertEqual(self.ask("without redis 0"), "hit-memory")
        self.assertEqual(self.cluster.get("/readyz").status, 200)


class SeveralRouters(ProcessCase):
    def test_what_one_node_kept_another_one_finds(self):
        """Keys and the proof of each value come from the secret in the certs folder, which both nodes have."""
        redis = Redis()
        self.addCleanup(redis.close)
        with Up(["n1", "n2"], "{name: oracle, backend: oracle, groups: 2}",
                f'cache: {{redis: "redis://127.0.0.1:{redis.port}"}}\n') as up:

            def ask(node: str, prompt: str) -> str:
                body = {"model": "oracle", "prompt": prompt, "max_tokens": COUNT, "temperature": 0}
                answer = talk.ask(up.nodes[node].address(), "POST", "/v1/completions", body)
                self.assertEqual((answer.status, answer.text()), (200, expected(prompt, COUNT)[0]))
                return answer.headers["x-cache"]

            tries = iter(range(1000))

            def written(before: int) -> bool:
                """Values are written behind the request."""
                end = time.monotonic() + 0.5
                while len(redis.keys()) <= before and time.monotonic() < end:
                    pass
                return len(redis.keys()) > before

            def found() -> bool:
                # A new prompt each time: a router that has yet to connect to Redis neither writes nor finds.
                prompt, before = f"shared {next(tries)}", len(redis.keys())
                ask("n1", prompt)
                return written(before) and ask("n2", prompt) == "hit-redis"

            poll("n2 answers with what n1 kept", 20, found, pause=0.1)


if __name__ == "__main__":
    sys.exit(run_tests())
