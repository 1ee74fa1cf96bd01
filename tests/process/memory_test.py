"""Memory does not grow with the number of requests."""

import sys

import talk
from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import own_memory_bytes

WARM_UP, REQUESTS, PROMISED_MIB = 2000, 10000, 2


class Memory(ProcessCase):
    def test_requests_leave_nothing_behind(self):
        with Cluster() as cluster:
            pids = cluster.pids()

            def serve(first: int, count: int) -> None:
                for at in range(first, first + count, 50):
                    bodies = [cluster.request(f"request {n}", 16) for n in range(at, at + 50)]
                    answers = talk.many_streams(cluster.address, "/v1/completions", bodies, 60)
                    self.assertEqual({status for status, _ in answers}, {200})

            serve(0, WARM_UP)
            before = own_memory_bytes(pids)
            serve(WARM_UP, REQUESTS)
            after = own_memory_bytes(pids)
            self.assertEqual(cluster.pids(), pids, "a process was replaced")
        grown = (after - before) / (1 << 20)
        print(f"    memory grew by {grown:.2f} MiB over {REQUESTS} requests, from {before / (1 << 20):.1f} MiB", flush=True)
        self.assertLessEqual(grown, PROMISED_MIB)


if __name__ == "__main__":
    sys.exit(run_tests())
