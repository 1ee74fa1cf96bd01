"""The torch backend through the whole tree, by a tiny checkpoint: right answers, also after its shard was killed."""

import struct
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import poll
from started import TINY

CHECKPOINT = TINY / "qwen3"
COUNT = 200  # of the 256 positions there are, behind the prompt's 48
RESPAWN_S = 30
CANARY_S = 5  # kCanaryTorch


def of_transformers() -> tuple[list[int], int, float]:
    """The prompt of expected.bin (tests/golden/README.md), the best id after it and the log-probability of that."""
    data = (CHECKPOINT / "expected.bin").read_bytes()
    fixed, top = struct.unpack_from("<II", data, 8)
    start = 20 + 4 * fixed
    (count,) = struct.unpack_from("<I", data, start)
    prompt = struct.unpack_from(f"<{count}i", data, start + 4)
    last = start + 4 + 4 * count + (count - 1) * (4 + 4 * fixed + 8 * top)
    (log_sum,) = struct.unpack_from("<f", data, last)
    (best,) = struct.unpack_from("<i", data, last + 4 + 4 * fixed)
    (logit,) = struct.unpack_from("<f", data, last + 4 + 4 * fixed + 4 * top)
    return list(prompt), best, logit - log_sum


class Torch(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster("--backend", "torch", model=str(CHECKPOINT))
        cls.addClassCleanup(cls.cluster.close)
        cls.prompt, cls.best, cls.logprob = of_transformers()

    def greedy(self, key: float) -> dict:
        """What makes an answer greedy. At temperature 0 top_p changes no answer, but it is in the response cache's key."""
        return {"temperature": 0, "ignore_eos": True, "top_p": key}

    def test_its_first_token_is_that_of_transformers(self):
        answer = self.cluster.complete(self.prompt, 1, logprobs=1, **self.greedy(1))
        self.assertEqual(answer.status, 200, answer)
        detokenized = self.cluster.post("/v1/detokenize", {"model": self.cluster.model, "tokens": [self.best]})
        self.assertEqual(answer.text(), detokenized.json()["prompt"])
        [logprob] = answer.json()["choices"][0]["logprobs"]["token_logprobs"]
        self.assertAlmostEqual(logprob, self.logprob, delta=1e-3)

    def test_a_killed_shard_changes_no_answer(self):
        undisturbed = self.cluster.complete(self.prompt, COUNT, **self.greedy(0.9)).text()
        row = self.cluster.actor("shard")
        with self.cluster.stream(self.prompt, COUNT, **self.greedy(0.8)) as stream:
            stream.read_tokens(3)
            self.cluster.kill_row(row)
            stream.read_all()
            self.assertIsNone(stream.error())
            self.assertEqual(stream.text(), undisturbed)
            last = [e.json() for e in stream.events if e.data != "[DONE]"][-1]
            self.assertEqual(last["timings"]["attempts"], 2, "it ended before the shard was gone")
        poll("shard replaced", RESPAWN_S, lambda: self.cluster.successor("shard", row))
        self.cluster.wait_ready()
        answer = self.cluster.complete(self.prompt, COUNT, **self.greedy(0.7))
        self.assertEqual((answer.status, answer.headers["x-cache"]), (200, "miss"))
        self.assertEqual(answer.text(), undisturbed)

    def test_an_idle_group_stays_ready_by_its_canary(self):
        self.cluster.wait_ready()
        row = self.cluster.actor("shard")
        steps = self.cluster.metric("troupe_group_steps_total")

        def proved() -> bool:
            ready = self.cluster.get("/readyz")
            self.assertEqual(ready.status, 200, ready)
            return self.cluster.metric("troupe_group_steps_total") > steps

        poll("an idle group takes a step", 3 * CANARY_S, proved, pause=0.1)
        self.assertEqual(self.cluster.actor("shard")["pid"], row["pid"])


if __name__ == "__main__":
    sys.exit(run_tests())
