"""What a shard of the native backend keeps in memory: weights, the KV that is in use, and little more."""

import os
import random
import re
import sys

import talk
from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import mapped_files, memory_mib, poll
from started import BINARY, MODEL

STREAMS, PROMPT, ANSWER = 16, 512, 64
PROMISED_MIB = 96  # beside weights and KV
USUAL_MIB = 64  # half as much again as was seen with two threads: what grows beyond it is looked into
KV_BLOCK_MIB = 30 * 3 * 2 * 64 * 16 * 2 / (1 << 20)  # layers, kv heads, K and V, dims, positions, float16
READY_S = 180
LOAD_S = 300


class NativeMemory(ProcessCase):
    def shard(self, cluster: Cluster) -> dict[str, float]:
        return memory_mib(cluster.actor("shard")["pid"])

    def held(self, cluster: Cluster) -> float:
        """KV that sequences hold or that is kept for its prefix."""
        held = sum(cluster.metric("troupe_group_kv_blocks_by_state", state=s) for s in ("used", "cached"))
        return held * KV_BLOCK_MIB

    def check_nothing_of_torch(self, cluster: Cluster) -> None:
        """The plugin and its libraries are for a shard that asks for them: a gigabyte nobody else should map."""
        processes = {a["role"]: a["pid"] for n in cluster.tree()["nodes"] for a in n["actors"] if a["pid"]}
        self.assertLessEqual({"supervisor", "router", "shard"}, processes.keys())
        pids = set(cluster.pids())
        self.assertLessEqual(set(processes.values()), pids)
        for pid in pids:
            try:
                files = mapped_files(pid)
            except PermissionError:  # it holds prompts
                self.assertNotEqual(os.geteuid(), 0)
                continue
            self.assertIn(os.path.realpath(BINARY), files)
            self.assertEqual([path for path in sorted(files) if "torch" in path], [])

    def test_a_shard_holds_weights_kv_and_little_more(self):
        numbers = random.Random(1)
        with Cluster("--timing-scale", "5", "--kv-memory", "1GiB", "--threads", "2", model=MODEL,
                     ready_s=READY_S) as cluster:
            said = re.search(r"(\d+) MiB of weights, (\d+) KV blocks of float16", cluster.log())
            self.assertIsNotNone(said, cluster.log())
            weights, blocks = int(said[1]), int(said[2])
            self.assertEqual(blocks, int(1024 // KV_BLOCK_MIB))
            self.assertRegex(cluster.actor("shard")["describe"], r", numerics [0-9a-f]{8}; threads: .+; KV: as asked$")
            self.check_nothing_of_torch(cluster)
            idle = self.shard(cluster)
            print(f"    {weights} MiB of weights; before the first request {idle}", flush=True)
            # The file's pages and the packed weights side by side, for as long as packing takes.
            self.assertLessEqual(idle["peak"], 2 * weights + PROMISED_MIB)
            self.assertLessEqual(idle["pss"], weights + self.held(cluster) + USUAL_MIB)

            prompts = [[numbers.randrange(1000, 40000) for _ in range(PROMPT)] for _ in range(STREAMS)]
            bodies = [cluster.request(p, ANSWER, ignore_eos=True) for p in prompts]
            answers = talk.many_streams(cluster.address, "/v1/completions", bodies, LOAD_S)
            self.assertEqual({status for status, _ in answers}, {200})
            # The last token of an answer is never fed.
            least = STREAMS * ((PROMPT + ANSWER - 1) // 16) * KV_BLOCK_MIB
            poll("every block of the answers is kept", 10, lambda: self.held(cluster) >= least)
            kv, loaded = self.held(cluster), self.shard(cluster)
            rest = loaded["pss"] - weights - kv
            print(f"    after {STREAMS} x {PROMPT} tokens: {loaded}, {kv:.1f} MiB of KV in use, {rest:.1f} MiB of other "
                  f"memory (promised {PROMISED_MIB})", flush=True)
            self.assertLessEqual(rest, USUAL_MIB)


if __name__ == "__main__":
    sys.exit(run_tests())
