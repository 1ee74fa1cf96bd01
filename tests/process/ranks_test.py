"""A model over several ranks of one node, in real processes: the answers of one rank, also when a rank is killed or
stopped in the middle of a stream."""

import shutil
import signal
import subprocess
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, report
from started import BINARY, MODEL, short_folder

TIMING_SCALE = 2  # up to four processes share the test machine's two cores
BEATS_DEAD_S = 1.5 * TIMING_SCALE
RESPAWN_S = 3  # of processes that load weights
TOKENS = 32
PROMPT = "Four score and seven years ago our fathers brought"
SEEDS = (21, 22)
LAYOUTS = [(2, 1), (3, 1), (1, 2), (2, 2)]  # tensor x pipeline


def flags(tensor: int, pipeline: int) -> list[str]:
    return ["--tensor-parallel", str(tensor), "--pipeline-parallel", str(pipeline), "--threads", "1",
            "--timing-scale", str(TIMING_SCALE)]


def drawn(seed: int) -> dict:
    return {"temperature": 0.9, "seed": seed, "ignore_eos": True}


def ranks(cluster: Cluster) -> list[dict]:
    """Rows of the shard processes by rank."""
    return sorted(cluster.actors("shard"), key=lambda row: row["rank"])


def answers(cluster: Cluster) -> list[dict]:
    """Greedy, and drawn with a seed; with log-probabilities, so that a bit that differs shows."""
    wishes = [{"temperature": 0}, {"temperature": 0.9, "seed": 7}, {"temperature": 0.9, "seed": 8, "n": 2}]
    found = [cluster.complete(PROMPT, TOKENS, logprobs=3, **wish) for wish in wishes]
    assert all(a.status == 200 for a in found), found
    return [a.json()["choices"] for a in found]


def answer_of_another_generation(cluster: Cluster, before: list[dict]) -> list[dict] | None:
    rows = ranks(cluster)
    fresh = all(r["state"] == "ready" and r["generation"] > before[0]["generation"] for r in rows)
    return rows if fresh and len(rows) == len(before) else None


class RealModel(ProcessCase):
    @classmethod
    def setUpClass(cls):
        with Cluster("--threads", "1", model=MODEL) as one:
            cls.expected = answers(one)
            cls.texts = {seed: one.complete(PROMPT, 4 * TOKENS, **drawn(seed)).text() for seed in SEEDS}

    def test_every_layout_answers_as_one_rank_does(self):
        for tensor, pipeline in LAYOUTS:
            with self.subTest(f"{tensor} x {pipeline}"), Cluster(*flags(tensor, pipeline), model=MODEL) as cluster:
                report(f"{tensor} x {pipeline} ranks, from start to ready", cluster.ready_after, RESPAWN_S)
                self.assertEqual(answers(cluster), self.expected)
                rows = ranks(cluster)
                self.assertEqual([row["rank"] for row in rows], list(range(tensor * pipeline)))
                for row in rows:
                    self.assertEqual((row["state"], row["generation"], row["model"]), ("ready", 1, "smollm2"), row)
                    self.assertIn(f"rank {row['rank']} of {tensor} x {pipeline}, 1 threads", cluster.log())

    def interrupted(self, cluster: Cluster, rank: int, how: int, seed: int, found_s: float) -> None:
        before = ranks(cluster)
        with cluster.stream(PROMPT, 4 * TOKENS, **drawn(seed)) as stream:
            stream.read_tokens(6)
            cluster.kill_row(before[rank], how)
            stream.read_all()
            self.assertIsNone(stream.error())
            self.assertEqual(stream.text(), self.texts[seed])
            last = [e.json() for e in stream.events if e.data != "[DONE]"][-1]
            self.assertEqual(last["timings"]["attempts"], 2, "it ended before the rank was gone")
            gap = max(b.at - a.at for a, b in zip(stream.events, stream.events[1:]))
            self.assertLess(report(f"longest gap after signal {how} to rank {rank}", gap, found_s + RESPAWN_S),
                            5 * (found_s + RESPAWN_S))
        after = poll("all ranks replaced", 10 * RESPAWN_S, lambda: answer_of_another_generation(cluster, before))
        self.assertEqual({row["generation"] for row in after}, {before[0]["generation"] + 1})
        left = {row["pid"] for row in before} & set(cluster.pids())
        self.assertFalse(left, "ranks of the old generation were left behind")

    def test_a_killed_and_a_stopped_rank_change_no_answer(self):
        with Cluster(*flags(2, 1), model=MODEL) as cluster:
            self.interrupted(cluster, rank=1, how=signal.SIGKILL, seed=SEEDS[0], found_s=0)
            self.interrupted(cluster, rank=1, how=signal.SIGSTOP, seed=SEEDS[1], found_s=BEATS_DEAD_S)


class Oracle(ProcessCase):
    def test_whichever_rank_dies_or_stops_the_stream_goes_on_exactly(self):
        count = 150
        with Cluster(*flags(2, 2), "--oracle-step", "5ms") as cluster:
            for rank, how in [(3, signal.SIGKILL), (0, signal.SIGKILL), (2, signal.SIGSTOP)]:
                with self.subTest(rank=rank, how=how):
                    cluster.wait_ready()
                    prompt = long_prompt(f"rank {rank}, signal {how}", count)
                    before = ranks(cluster)
                    with cluster.stream(prompt, count) as stream:
                        stream.read_tokens(10)
                        cluster.kill_row(before[rank], how)
                        self.check_stream(stream.read_all(), prompt, count)
                    poll("all ranks replaced", 30, lambda: answer_of_another_generation(cluster, before))
            shown = subprocess.run([BINARY, "status", "--json", "--state", str(cluster.state)], capture_output=True,
                                   text=True, timeout=30, check=True).stdout
            for rank in range(4):
                self.assertIn(f'"id":"n1/shard/oracle.0.{rank}"', shown.replace(": ", ":"))

    def test_a_drain_ends_every_rank(self):
        with Cluster(*flags(3, 1)) as cluster:
            self.assertEqual(cluster.complete("a last word", 8).text(), expected("a last word", 8)[0])
            self.assertEqual(cluster.stop(), 0)


class Refused(ProcessCase):
    def setUp(self):
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_layouts_that_can_not_be_are_refused_with_the_nearest(self):
        def refusal(*arguments: str) -> str:
            command = [BINARY, "serve", MODEL, "--port", "0", "--state", str(self.folder), *arguments]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, done.stderr)
            return done.stderr.strip().splitlines()[-1]

        self.assertIn("the nearest layout is --tensor-parallel 9 with --pipeline-parallel 1",
                      refusal("--tensor-parallel", "10"))
        self.assertIn("expected backend: native for several ranks a group",
                      refusal("--tensor-parallel", "2", "--backend", "torch"))


if __name__ == "__main__":
    sys.exit(run_tests())
