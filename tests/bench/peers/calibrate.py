"""Which of the peer's builds and settings is its best on this machine, for each kind of work."""

import itertools
import sys
import time

from peer_build import BUILDS
from servers import Server
from sides import Llama
from workload import completion, stream_all

TRIES = 2


def burst(llama: Llama) -> float:
    """Tokens a second of a burst like that of the concurrent scenario, only shorter."""
    with Server(llama) as server:
        server.wait_ready()
        best = 0.0
        for attempt in range(TRIES):
            salt = f"calibrate {time.monotonic_ns()} {attempt}"
            streams = stream_all(server, [(0, completion(f"{salt} {i}", 128, 16)) for i in range(16)])
            best = max(best, 16 * 16 / max(s["events"][-1] for s in streams))
        return best


MEASURES = {"decode": lambda llama: max(llama.decode(128, 32) for _ in range(TRIES)),
            "prefill": lambda llama: max(llama.prefill(512) for _ in range(TRIES)),
            "serve": burst}


def best_variants(model, threads: int, isa: str, kinds: set[str]) -> dict[str, Llama]:
    chosen = {}
    for kind in sorted(kinds):
        tried = {}
        for name, repack in itertools.product(BUILDS, (True, False)):
            llama = Llama(model, threads, name, repack, isa)
            tried[llama] = MEASURES[kind](llama)
        chosen[kind] = max(tried, key=tried.get)
        print(f"peers: {model.name}, {kind}: " + "; ".join(f"{x} {v:.0f} tok/s" for x, v in tried.items()),
              file=sys.stderr, flush=True)
    return chosen
