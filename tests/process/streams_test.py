"""Many clients at once, clients that leave, and identical requests."""

import sys

import talk
from cluster_under_test import Cluster
from process_case import ProcessCase, expected, long_prompt, run_tests
from processes import poll, within

GAUGE_S = 1  # gauges are brought up to date each second, so they show the end of a sequence that late


class Streams(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster("--oracle-step", "5ms")
        cls.addClassCleanup(cls.cluster.close)

    def running(self) -> float:
        return self.cluster.metric("troupe_group_requests_running")

    def all_correct(self, streams: int, count: int) -> None:
        prompts = [f"client {n} of {streams}" for n in range(streams)]
        bodies = [self.cluster.request(p, count) for p in prompts]
        answers = talk.many_streams(self.cluster.address, "/v1/completions", bodies, 120)
        for prompt, (status, events) in zip(prompts, answers, strict=True):
            with self.subTest(prompt):
                self.assertEqual(status, 200)
                self.assertEqual((talk.text_of(events), talk.finish_of(events)), expected(prompt, count))
                self.assertEqual(events[-1].data, "[DONE]")

    def test_32_streams_are_all_correct(self):
        self.all_correct(32, 64)

    def test_256_streams_are_all_correct(self):
        self.all_correct(256, 64)

    def test_a_client_that_leaves_frees_its_place_and_blocks(self):
        poll("nothing runs", 10, lambda: self.running() == 0)
        streams = [self.cluster.stream(f"leaving {n}", 5000, ignore_eos=True) for n in range(4)]
        for stream in streams:
            stream.read_tokens(3)
        poll("four run", 10, lambda: self.running() == 4)
        used = self.cluster.metric("troupe_group_kv_cache_usage_ratio")
        self.assertGreater(used, 0)
        for stream in streams:
            stream.close()
        within(GAUGE_S, "sequences of clients that left end", lambda: self.running() == 0)
        poll("their blocks are free", 10, lambda: self.cluster.metric("troupe_group_kv_cache_usage_ratio") == 0)

    def test_an_identical_deterministic_request_is_a_hit(self):
        prompt = long_prompt("said before", 20)
        first = self.cluster.complete(prompt, 20, temperature=0)
        second = self.cluster.complete(prompt, 20, temperature=0)
        self.assertEqual((first.headers["x-cache"], second.headers["x-cache"]), ("miss", "hit-memory"))
        self.assertEqual(first.text(), second.text())
        self.assertEqual(first.text(), expected(prompt, 20)[0])
        self.assertNotEqual(first.json()["id"], second.json()["id"])
        self.assertEqual(first.json()["usage"]["completion_tokens"], second.json()["usage"]["completion_tokens"])
        seeded = [self.cluster.complete(prompt, 20, seed=7).headers["x-cache"] for _ in range(2)]
        self.assertEqual(seeded, ["miss", "hit-memory"])
        with self.cluster.stream(prompt, 20, temperature=0) as stream:
            self.assertEqual(stream.headers["x-cache"], "hit-memory")
            self.check_stream(stream.read_all(), prompt, 20)

    def test_a_drawn_request_is_never_cached(self):
        for _ in range(2):
            self.assertNotIn("x-cache", self.cluster.complete("drawn", 8).headers)

    def test_identical_streams_at_once_are_computed_once(self):
        count = 150
        prompt = long_prompt("all ask the same", count)
        with self.cluster.stream(prompt, count, temperature=0) as leader:
            leader.read_tokens(10)
            before = self.cluster.metric("troupe_response_cache_coalesced_total")
            followers = [self.cluster.stream(prompt, count, temperature=0) for _ in range(5)]
            for follower in followers:
                follower.read_tokens(1)
            for follower in followers:
                with follower:
                    self.assertEqual(follower.headers["x-cache"], "coalesced")
                    self.check_stream(follower.read_all(), prompt, count)
            self.assertEqual(leader.headers["x-cache"], "miss")
            self.check_stream(leader.read_all(), prompt, count)
        poll("they are counted", 5,
             lambda: self.cluster.metric("troupe_response_cache_coalesced_total") == before + len(followers))

    def test_followers_get_everything_when_the_first_client_leaves(self):
        count = 150
        prompt = long_prompt("the first one leaves", count)
        leader = self.cluster.stream(prompt, count, temperature=0)
        leader.read_tokens(5)
        with self.cluster.stream(prompt, count, temperature=0) as follower:
            follower.read_tokens(1)
            leader.close()
            self.check_stream(follower.read_all(), prompt, count)

    def test_the_computation_ends_with_its_last_client(self):
        poll("nothing runs", 10, lambda: self.running() == 0)
        both = [self.cluster.stream("nobody stays", 5000, temperature=0, ignore_eos=True) for _ in range(2)]
        for stream in both:
            stream.read_tokens(2)
        both[0].close()
        both[1].read_tokens(50)
        poll("it runs", 10, lambda: self.running() == 1)
        both[1].close()
        within(GAUGE_S, "a computation without clients ends", lambda: self.running() == 0)


if __name__ == "__main__":
    sys.exit(run_tests())
