"""/metrics of a real node with the native backend: a known load is counted as it was."""

import random
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import poll
from started import MODEL

READY_S = 180
ANSWER_S = 300
ROWS_MAX, ROWS_UNIT = 512, 16
DRAFTS_MAX = 7
SETTLED_S = 10
QUERIES, HITS = (f"troupe_group_prefix_cache_{what}_tokens_total" for what in ("queries", "hits"))


class Figures(dict):
    """One scrape: 'name{labels}' to value. total() sums what has the name and the given labels."""

    def __init__(self, cluster: Cluster):
        lines = cluster.get("/metrics?compat=none").body.decode().splitlines()
        super().__init__((s, float(v)) for s, _, v in (line.rpartition(" ") for line in lines if line[:1] != "#"))

    def total(self, name: str, **labels: str) -> float:
        found = [value for series, value in self.items() if re.match(rf"{name}(\{{|$)", series)
                 and all(f'{k}="{v}"' in series for k, v in labels.items())]
        assert found, f"no metric {name} {labels or ''}"
        return sum(found)

    def blocks(self, state: str) -> float:
        return self.total("troupe_group_kv_blocks_by_state", state=state)

    def phase(self, name: str) -> float:
        return self.total("troupe_group_step_phase_seconds_total", phase=name)

    def since(self, before: "Figures", name: str, **labels: str) -> float:
        """0 at first: a series may appear with its first count."""
        return self.total(name, **labels) - (before.total(name, **labels) if name in " ".join(before) else 0)


class NativeMetrics(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster("--timing-scale", "5", model=MODEL, ready_s=READY_S)
        cls.addClassCleanup(cls.cluster.close)
        cls.numbers = random.Random(2)

    def tokens(self, count: int) -> list[int]:
        """Never the same twice, so no test finds what another one left in the prefix cache."""
        return [self.numbers.randrange(1000, 40000) for _ in range(count)]

    def settled(self, cluster: Cluster, before: Figures | None = None, bodies: list[dict] | tuple = ()) -> Figures:
        """Once the group's status, which comes five times a second, tells of the end of these requests: all their
        prompts were looked up, and nothing runs."""
        looked_up = sum((len(b["prompt"]) - 1) * b.get("n", 1) for b in bodies)

        def quiet():
            figures = Figures(cluster)
            known = figures.total(QUERIES) >= (before.total(QUERIES) if before else 0) + looked_up
            idle = figures.total("troupe_group_requests_running") == 0 and figures.blocks("used") == 0
            return figures if known and idle else None
        return poll("nothing runs", SETTLED_S, quiet)

    def ask_all(self, cluster: Cluster, bodies: list[dict]) -> list[dict]:
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(lambda b: cluster.post("/v1/completions", b, timeout=ANSWER_S), bodies))
        self.assertEqual([a.status for a in answers], [200] * len(answers), answers)
        return [a.json() for a in answers]

    def check_blocks(self, figures: Figures) -> None:
        states = [figures.blocks(state) for state in ("used", "cached", "free")]
        self.assertGreaterEqual(min(states), 0)
        self.assertEqual(sum(states), figures.total("troupe_group_kv_blocks"))

    def test_a_load_is_counted_exactly_and_its_time_is_in_the_phases(self):
        before = self.settled(self.cluster)
        bodies = [self.cluster.request(self.tokens(100 + 37 * i), 40 + i, ignore_eos=True) for i in range(11)]
        bodies.append(self.cluster.request(self.tokens(200), 40, ignore_eos=True, n=3))
        start = time.monotonic()
        answers = self.ask_all(self.cluster, bodies)
        wall = time.monotonic() - start
        after = self.settled(self.cluster, before, bodies)

        usages = [a["usage"] for a in answers]
        prompts, generated = (sum(u[k] for u in usages) for k in ("prompt_tokens", "completion_tokens"))
        self.assertEqual(prompts, sum(len(b["prompt"]) for b in bodies))
        self.assertEqual(generated, sum(b["max_tokens"] * b.get("n", 1) for b in bodies))
        self.assertEqual(after.since(before, "troupe_prompt_tokens_total"), prompts)
        self.assertEqual(after.since(before, "troupe_generation_tokens_total"), generated)
        self.assertEqual(after.since(before, "troupe_requests_finished_total"), len(bodies))

        # A step gives a sequence at most one token and the drafts that were right.
        steps = after.since(before, "troupe_group_steps_total")
        self.assertGreaterEqual(steps, max(b["max_tokens"] for b in bodies) / (1 + DRAFTS_MAX))
        self.assertLessEqual(steps, generated + prompts / ROWS_UNIT + wall)

        phases = {name: after.phase(name) - before.phase(name) for name in ("prepare", "layers", "head", "sampling")}
        print(f"    {steps:.0f} steps in {wall:.2f} s: {phases}", flush=True)
        self.assertGreater(min(phases.values()), 0)
        self.assertEqual(max(phases, key=phases.get), "layers")
        # The load never leaves the group without work, so its steps are most of the time, and no more than all of it.
        self.assertGreaterEqual(sum(phases.values()), 0.5 * wall)
        self.assertLessEqual(sum(phases.values()), 1.1 * wall)

    def test_a_repeated_prefix_is_found(self):
        shared = self.tokens(320)
        first, second = ([self.cluster.request(shared + self.tokens(10), 4, ignore_eos=True)] for _ in range(2))
        start = self.settled(self.cluster)
        [answer] = self.ask_all(self.cluster, first)
        self.assertEqual(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        before = self.settled(self.cluster, start, first)
        self.assertEqual(before.since(start, HITS), 0)
        [answer] = self.ask_all(self.cluster, second)
        after = self.settled(self.cluster, before, second)
        self.assertEqual(answer["usage"]["prompt_tokens_details"]["cached_tokens"], len(shared))
        self.assertEqual(after.since(before, HITS), len(shared))
        # The last token of a prompt is always computed: it gives the first of the answer.
        self.assertEqual(after.since(before, QUERIES), len(shared) + 10 - 1)

    def test_blocks_add_up_while_answers_run_and_after(self):
        before = self.settled(self.cluster)
        # Long enough for several statuses: 150 prompt tokens and 299 fed back ones a request.
        bodies = [self.cluster.request(self.tokens(150), 300, ignore_eos=True) for _ in range(4)]
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(self.ask_all, self.cluster, bodies)
            used = []
            while not load.done():
                figures = Figures(self.cluster)
                self.check_blocks(figures)
                used.append(figures.blocks("used"))
            load.result()
        self.assertGreater(max(used), 0)
        self.assertLessEqual(max(used), 4 * 29)
        after = self.settled(self.cluster, before, bodies)
        self.check_blocks(after)
        self.assertGreaterEqual(after.blocks("cached") - before.blocks("cached"), 4 * (449 // 16))

    def test_drafts_are_counted(self):
        prompt, count = self.tokens(6) * 20, 96
        before = self.settled(self.cluster)
        bodies = [self.cluster.request(prompt, count, temperature=0, ignore_eos=True)]
        self.ask_all(self.cluster, bodies)
        after = self.settled(self.cluster, before, bodies)
        drafted = after.since(before, "troupe_group_speculation_drafted_tokens_total")
        accepted = after.since(before, "troupe_group_speculation_accepted_tokens_total")
        steps = after.since(before, "troupe_group_steps_total")
        print(f"    {count} tokens in {steps:.0f} steps, {accepted:.0f} of {drafted:.0f} drafts right", flush=True)
        self.assertLessEqual(accepted, drafted)
        self.assertGreater(accepted, 20)
        # The only answer there was: each step gives a token and the drafts that were right. Beside that there are the
        # prompt's other chunks, and canaries.
        self.assertGreaterEqual(steps, count - accepted)
        self.assertLessEqual(steps, count - accepted + len(prompt) / ROWS_UNIT + SETTLED_S / 2)

    def test_the_step_budget_is_whole_tiles_within_the_limit(self):
        rows = Figures(self.cluster).total("troupe_group_step_prompt_rows")
        self.assertEqual(rows % ROWS_UNIT, 0)
        self.assertTrue(ROWS_UNIT <= rows <= ROWS_MAX, rows)

    def test_little_kv_memory_preempts_and_changes_no_answer(self):
        prompts = [self.tokens(128) for _ in range(6)]
        bodies = [self.cluster.request(p, 160, temperature=0, ignore_eos=True) for p in prompts]
        # Six prompts and the start of their answers fit into 20 MiB, six whole answers do not.
        with Cluster("--timing-scale", "5", "--kv-memory", "20MiB", "--max-batch-tokens", "64", model=MODEL,
                     ready_s=READY_S) as small:
            scarce = self.ask_all(small, bodies)
            figures = self.settled(small, None, bodies)
            self.check_blocks(figures)
            self.assertLess(figures.total("troupe_group_kv_blocks"), 6 * 18)
            self.assertGreater(figures.total("troupe_group_preemptions_total"), 0)
            self.assertLessEqual(figures.total("troupe_group_step_prompt_rows"), 64)
        plenty = self.ask_all(self.cluster, bodies)
        self.assertEqual(Figures(self.cluster).total("troupe_group_preemptions_total"), 0)
        text = [[a["choices"][0]["text"] for a in answers] for answers in (scarce, plenty)]
        self.assertEqual(*text)


if __name__ == "__main__":
    sys.exit(run_tests())
