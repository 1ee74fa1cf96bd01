"""Token rates that the scheduler predicts for this machine from a few times of its engine, beside those it measures: the
formula of docs/scaling.md. Used by run.py and by ../cluster/run.py."""

import json
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "tests" / "process"), str(ROOT / "tests" / "bench" / "peers"),
             str(ROOT / "tests" / "bench" / "cluster")]

from cluster_on_hosts import HTTP_PORT, ClusterOnHosts  # noqa: E402
from hosts import why_not  # noqa: E402
from processes import poll  # noqa: E402
from run_ranks import Ranks  # noqa: E402
from servers import Server  # noqa: E402
from started import MODEL  # noqa: E402
from workload import CLIENTS, completion, stream_all  # noqa: E402

PROMPT, GENERATE, ROUNDS = 128, 128, 3
BATCHES = (1, 2, 4, 8, 16)
# From docs/performance.md: a gather of 2.3 KB over shared memory, four a layer of 30; a block of activations.
GATHERS, EXCHANGE_S, HOP_S = 4 * 30, 4 * 30 * 0.5e-6, 5e-6
HOSTS = ["n1", "n2", "n3"]


def scaling(*arguments) -> dict:
    done = subprocess.run([CLIENTS / "scaling", *map(str, arguments)], capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def bench(threads: int) -> dict:
    return Ranks(MODEL, threads).bench("--batch", ",".join(map(str, BATCHES)), "--prompt-tokens", PROMPT,
                                       "--generate", GENERATE, "--rounds", ROUNDS)[0]


def table_of(threads: int, at_once: int) -> list[str]:
    """What `troupe bench` says of the engine alone, as settings of `scaling cpu`: the mean of so many that run at the same
    time, because ranks of one host share its memory and caches."""
    with ThreadPoolExecutor() as pool:
        all_figures = list(pool.map(bench, [threads] * at_once))

    def mean(value) -> float:
        return statistics.mean(map(value, all_figures))

    decode = ",".join(f"{batch}:{mean(lambda f: batch / f['decode'][i]['tokens_per_second']):.6f}"
                      for i, batch in enumerate(BATCHES))
    return [f"decode={decode}", f"prompt_row={mean(lambda f: 1 / f['prefill'][0]['tokens_per_second']):.8f}",
            f"bandwidth={mean(lambda f: f['read_bytes_per_second']):.3e}"]


def measured(server, salt: str, streams: int) -> float:
    """Answer tokens/s of one burst. Drawn, not greedy: drafts would come true, and none are modelled."""
    rates = []
    for i in range(-1, ROUNDS):
        bodies = [completion(f"{salt} {i} {s}", PROMPT, GENERATE) | {"temperature": 1, "top_k": 40} for s in range(streams)]
        answers = stream_all(server, [(0, body) for body in bodies])
        if i >= 0:
            rates.append(streams * GENERATE / max(a["events"][-1] for a in answers))
    return statistics.median(rates)


class OnHosts:
    """One group over so many hosts (network namespaces), asked from inside the first: what measured() needs of a server."""

    def __init__(self, layout: str, hosts: int):
        models = f"{{name: peer, source: {MODEL}, threads: 1, {layout}}}"
        self.cluster, self.side, self.port = ClusterOnHosts(HOSTS[:hosts], models), Ranks(MODEL, 1), HTTP_PORT
        self.enter = self.cluster.hosts.command(HOSTS[0])

    def __enter__(self):
        poll("the group serves", 30, lambda: self.cluster[HOSTS[0]].ask("GET", "/readyz").status == 200)
        return self

    def __exit__(self, *_):
        self.cluster.close()

    def log(self) -> str:
        return self.cluster[HOSTS[0]].log()


def gather_between_hosts() -> float:
    """Mean seconds of a gather of 2.3 KB between two ranks in namespaces."""
    script = ROOT / "tests" / "bench" / "collective_netns.sh"
    text = subprocess.run([script, CLIENTS / "collective_bench"], capture_output=True, text=True, timeout=600,
                          check=True).stdout
    return float(re.search(r"all_gather_v, two namespaces +2304 +[\d.]+ +[\d.]+ +([\d.]+)", text)[1]) * 1e-6


def serve(threads: int, *options: str):
    return lambda: Server(Ranks(MODEL, threads, options=options)).wait_ready()


def cases_on_one_host() -> list[tuple]:
    """(kind, what, how its server is started, streams at once, settings of the prediction)"""
    two, one = table_of(2, 1), table_of(1, 2)
    return [("one", "one process, 2 threads", serve(2), BATCHES, two),
            ("groups", "two groups of 1 thread", serve(1, "--groups", "2"), (2, 8, 16),
             [*one, "groups=2"]),
            ("tensor", "TP 2, two processes of 1 thread", serve(1, "--tensor-parallel", "2"), (1, 4, 16),
             [*one, "tensor=2", f"exchange={EXCHANGE_S}"]),
            ("pipeline", "PP 2, two processes of 1 thread", serve(1, "--pipeline-parallel", "2"), (1, 4, 16),
             [*one, "pipeline=2", f"hop={HOP_S}"])]


def cases_over_hosts() -> list[tuple]:
    """The same; none where there are no network namespaces."""
    if why_not():
        return []
    gather = gather_between_hosts()
    one, third = table_of(1, 2), table_of(1, 3)  # as many ranks on the cores that are here as in the measurement
    return [
        ("hosts", "TP 2 over two hosts (namespaces), 1 thread each", lambda: OnHosts("tensor_parallel: 2", 2), (1, 4),
         [*one, "tensor=2", f"exchange={GATHERS * gather}"]),
        ("hosts", "TP 3 over three hosts (namespaces), 1 thread each", lambda: OnHosts("tensor_parallel: 3", 3), (1, 4),
         [*third, "tensor=3", f"exchange={GATHERS * gather}"]),
        ("hosts", "PP 3 over three hosts (namespaces), 1 thread each", lambda: OnHosts("pipeline_parallel: 3", 3), (1, 6),
         [*third, "pipeline=3", f"hop={gather}"])]


def compare(server, kind: str, what: str, streams: int, table: list[str]) -> dict:
    predicted = scaling("cpu", *table, f"streams={streams}", f"prompt={PROMPT}", f"answer={GENERATE}")
    row = {"kind": kind, "what": f"{what}, {streams} streams", "streams": streams,
           "measured": measured(server, f"{what} {streams}", streams), "predicted": predicted["tokens_per_second"],
           "settings": table}
    print(row, file=sys.stderr)
    return row


def predicted_and_measured(cases: list[tuple]) -> list[dict]:
    rows = []
    for kind, what, start, streams, table in cases:
        with start() as server:
            rows += [compare(server, kind, what, n, table) for n in streams]
    return rows
