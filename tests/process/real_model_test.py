"""The real model through the whole tree: sensible answers, and a killed shard changes none."""

import json
import signal
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import poll, report
from started import MODEL, ROOT

GREEDY = json.loads((ROOT / "tests" / "golden" / "smollm2" / "greedy.json").read_text())
READY_S = 4  # warm, on a quiet machine
RESPAWN_S = 90  # of a process that loads weights, on a busy one
TIMING_SCALE = 5
LONG = 300  # tokens: most of a second, in which the fault must come
BEATS_DEAD_S = 1.5 * TIMING_SCALE


class RealModel(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster("--timing-scale", str(TIMING_SCALE), model=MODEL, ready_s=180)
        cls.addClassCleanup(cls.cluster.close)
        report("from start to ready", cls.cluster.ready_after, READY_S)

    def chat(self, messages: list[dict], count: int) -> str:
        body = {"model": "smollm2", "messages": messages, "max_tokens": count, "temperature": 0}
        answer = self.cluster.post("/v1/chat/completions", body, timeout=300)
        self.assertEqual(answer.status, 200, answer)
        return answer.json()["choices"][0]["message"]["content"]

    def sure_text(self, golden: dict) -> str:
        """llama.cpp's answer up to the first near tie; whole characters only."""
        ids = golden["ids"][: golden["first_near_tie"]]
        if len(ids) == len(golden["ids"]) < GREEDY["tokens"]:
            ids = ids[:-1]  # the end token has no text
        answer = self.cluster.post("/v1/detokenize", {"model": "smollm2", "tokens": ids})
        return answer.json()["prompt"].rstrip("\N{REPLACEMENT CHARACTER}")

    def test_it_answers_sensibly(self):
        self.assertIn("Berlin", self.chat([{"role": "user", "content": "What is the capital of Germany?"}], 24))

    def test_greedy_answers_are_those_of_llama_cpp_up_to_a_near_tie(self):
        chats = [p for p in GREEDY["prompts"] if p["kind"] == "chat"]
        for golden in sorted(chats, key=lambda p: -p["first_near_tie"])[:3]:
            with self.subTest(golden["messages"][-1]["content"]):
                text = self.chat(golden["messages"], GREEDY["tokens"])
                self.assertTrue(text.startswith(self.sure_text(golden)), text)

    def interrupted(self, how: int, which: int) -> None:
        """Each test takes a prompt of its own: the answer must not come from the response cache. At temperature 0 top_p
        changes no answer, but its key there."""
        raw = [p for p in GREEDY["prompts"] if p["kind"] == "raw"]
        golden = sorted(raw, key=lambda p: -p["first_near_tie"])[which]
        self.cluster.wait_ready()
        undisturbed = self.cluster.complete(golden["prompt"], LONG, temperature=0, ignore_eos=True, top_p=0.9)
        self.assertEqual(undisturbed.json()["usage"]["completion_tokens"], LONG)
        with self.cluster.stream(golden["prompt"], LONG, temperature=0, ignore_eos=True) as stream:
            stream.read_tokens(6)
            before = self.cluster.kill("shard", how)
            stream.read_all()
            self.assertIsNone(stream.error())
            self.assertEqual(stream.events[-1].data, "[DONE]")
            last = [e.json() for e in stream.events if e.data != "[DONE]"][-1]
            self.assertEqual(last["timings"]["attempts"], 2, "it ended before the shard was gone")
            self.assertEqual(stream.text(), undisturbed.text())
            self.assertTrue(stream.text().startswith(self.sure_text(golden)), stream.text())
            gap = max(b.at - a.at for a, b in zip(stream.events, stream.events[1:]))
            found_s = BEATS_DEAD_S if how == signal.SIGSTOP else 0
            report("longest gap of a stream of the real model", gap, found_s + READY_S)
        poll("shard replaced", RESPAWN_S, lambda: self.cluster.successor("shard", before))

    def test_a_killed_shard_does_not_change_the_text(self):
        self.interrupted(signal.SIGKILL, which=0)

    def test_a_stopped_shard_does_not_change_the_text(self):
        self.interrupted(signal.SIGSTOP, which=1)


if __name__ == "__main__":
    sys.exit(run_tests())
