"""Metrics and logs can be read by machines, tell the truth, and never repeat what users wrote or were told."""

import json
import re
import signal
import subprocess
import sys

import talk
from cluster_under_test import Cluster
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll
from started import BINARY

CANARY = "xyzzyplugh"
LOG_LINE_BYTES_MAX = 4096
LOG_KEYS = {"time_ms", "level", "process", "event"}


def series(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.M))


def busy_life(cluster: Cluster) -> list[str]:
    """A bit of everything, with the canary word in it; gives the texts that were answered."""
    said = []
    for kind in ("completion", "cached", "cached", "chat", "inference"):
        match kind:
            case "completion":
                said.append(cluster.complete(f"{CANARY} one", 24).text())
            case "cached":
                said.append(cluster.complete(f"{CANARY} two", 24, temperature=0).text())
            case "chat":
                body = {"model": cluster.model, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 24}
                answer = cluster.post("/v1/chat/completions", body)
                assert answer.status == 200, answer
                said.append(answer.json()["choices"][0]["message"]["content"])
            case "inference":
                answer = cluster.post("/v1/inference", {"input_text": CANARY, "max_length": 24})
                assert answer.status == 200, answer
                said.append(answer.json()["predictions"][0]["text"])
    assert cluster.post("/v1/tokenize", {"model": cluster.model, "prompt": CANARY}).status == 200
    # Broken in mid-stream, continued on another generation, left by its client.
    with cluster.stream(long_prompt(CANARY, 200), 200) as stream:
        stream.read_tokens(5)
        before = cluster.kill("shard")
        stream.read_tokens(5)
        said.append(stream.text())
    poll("shard respawned", 10, lambda: cluster.successor("shard", before))
    return [text for text in said if text]


class Observability(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster("--oracle-step", "2ms", "--log", "json")
        cls.addClassCleanup(cls.cluster.close)
        cls.said = busy_life(cls.cluster)

    def bad_requests(self) -> list[talk.Answer]:
        return [self.cluster.post("/v1/completions", {"model": "oracle", "prompt": CANARY, "max_tokens": CANARY}),
                self.cluster.post("/v1/completions", {"model": "oracle", "prompt": {CANARY: 1}}),
                self.cluster.post("/v1/completions", {"model": "oracle", "prompt": f"{CANARY} " * 40000}),
                self.cluster.post("/v1/chat/completions", {"model": "oracle", "messages": [{"role": CANARY, "content": CANARY}]}),
                self.cluster.post("/v1/chat/completions", {"model": "oracle", "messages": CANARY}),
                self.cluster.post("/v1/detokenize", {"model": "oracle", "tokens": [CANARY]})]

    def promtool(self, text: bytes) -> str:
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
        return (checked.stdout + checked.stderr).decode() + (f"exit {checked.returncode}" if checked.returncode else "")

    def test_promtool_has_nothing_to_say(self):
        own = self.cluster.get("/metrics?compat=none")
        self.assertEqual(own.status, 200)
        self.assertEqual(self.promtool(own.body), "")
        self.assertEqual(self.promtool(self.cluster.n1.admin("/metrics").body), "")

    def test_aliases_are_there_unless_refused_and_no_series_is_on_both_ports(self):
        with_aliases, own = (series(self.cluster.get(p).body.decode()) for p in ("/metrics", "/metrics?compat=none"))
        self.assertEqual({name for name in own if not name.startswith("troupe_")}, set())
        self.assertLessEqual({"vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"},
                             with_aliases)
        self.assertEqual({name for name in with_aliases if not name.startswith("vllm:")}, own)
        self.assertEqual(own & series(self.cluster.n1.admin("/metrics").body.decode()), set())

    def test_counters_count(self):
        def totals():
            return [self.cluster.metric(n) for n in ("troupe_prompt_tokens_total", "troupe_generation_tokens_total",
                                                     "troupe_requests_finished_total")]

        before = totals()
        prompt = long_prompt("count me", 30)
        usages = [self.cluster.complete(prompt, 30).json()["usage"] for _ in range(3)]
        self.assertEqual([u["completion_tokens"] for u in usages], [30] * 3)
        counted = [after - start for start, after in zip(before, totals(), strict=True)]
        self.assertEqual(counted, [3 * usages[0]["prompt_tokens"], 90, 3])

    def test_restarts_are_counted(self):
        text = self.cluster.n1.admin("/metrics").body.decode()
        self.assertRegex(text, r'troupe_actor_restarts_total\{actor="n1/shard/oracle\.0\.0",role="shard"\} [1-9]')

    def test_no_text_of_users_or_models_is_repeated_anywhere(self):
        errors = self.bad_requests()
        self.assertEqual([e.status for e in errors], [400] * len(errors))
        shown = subprocess.run([BINARY, "status", "--state", str(self.cluster.state)], capture_output=True, text=True)
        places = {"log": self.cluster.log(), "metrics": self.cluster.get("/metrics").body.decode(),
                  "admin metrics": self.cluster.n1.admin("/metrics").body.decode(),
                  "tree": json.dumps(self.cluster.tree()), "status": shown.stdout + shown.stderr,
                  "errors": " ".join(e.body.decode() for e in errors)}
        for place, text in places.items():
            with self.subTest(place):
                self.assertGreater(len(text), 100, "there is nothing to look through")
                self.assertNotIn(CANARY, text)
                for answer in self.said:
                    self.assertNotIn(answer.strip()[:16], text)

    def test_the_canary_would_be_found(self):
        """The answers that are looked for are the real ones."""
        self.assertEqual(self.said[0], expected(f"{CANARY} one", 24)[0])
        self.assertGreater(min(map(len, self.said)), 20)

    def test_every_log_line_is_json(self):
        with Cluster("--log", "json") as cluster:
            before = cluster.kill("shard")
            poll("shard respawned", 10, lambda: cluster.successor("shard", before))
            before = cluster.kill("router", signal.SIGKILL)
            poll("router respawned", 10, lambda: cluster.successor("router", before))
            self.assertEqual(cluster.stop(), 0)
            lines = cluster.log().splitlines()
        self.assertGreater(len(lines), 5)
        for line in lines:
            event = json.loads(line)
            self.assertLessEqual(LOG_KEYS, set(event))
            self.assertIn(event["level"], ("info", "warning", "error"))
            self.assertLessEqual(len(line.encode()), LOG_LINE_BYTES_MAX)


if __name__ == "__main__":
    sys.exit(run_tests())
