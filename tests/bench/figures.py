#!/usr/bin/env python3
"""The figures of the README's benchmark section, measured on this machine: medians, with what else ran here.

    ninja -C build/release troupe troupe_torch http_load
    python3 tests/bench/figures.py                 # all; some minutes, on a quiet machine
    python3 tests/bench/figures.py models sse      # only these
    python3 tests/bench/figures.py --runs 5 idle

TROUPE_BINARY and TROUPE_HTTP_LOAD choose other executables.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "process"))

import talk  # noqa: E402
from cluster_under_test import Cluster  # noqa: E402
from process_case import long_prompt  # noqa: E402
from processes import cpu_seconds, poll, pss_bytes  # noqa: E402
from started import BINARY, MODEL  # noqa: E402

HTTP_LOAD = os.environ.get("TROUPE_HTTP_LOAD") or str(ROOT / "build" / "release" / "http_load")
GREEDY = json.loads((ROOT / "tests" / "golden" / "smollm2" / "greedy.json").read_text())
EQUAL_TOKENS = 32
IDLE_S = 20


def http_load(*arguments) -> dict:
    done = subprocess.run([HTTP_LOAD, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def pin(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


@contextlib.contextmanager
def apart(cluster: Cluster):
    """The router on one core, this process and its children (the client) on the others."""
    cores = os.sched_getaffinity(0)
    first = min(cores)
    pin(cluster.actor("router")["pid"], {first})
    os.sched_setaffinity(0, cores - {first} or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def longest_gap(stream: talk.Stream) -> float:
    return max(b.at - a.at for a, b in zip(stream.events, stream.events[1:]))


# -- one run of each figure: gives a number

def ready(backend: str) -> float:
    with Cluster("--backend", backend, model=MODEL) as cluster:
        return cluster.ready_after


def models(cluster: Cluster) -> float:
    with apart(cluster):
        return http_load("get", *cluster.address, 64, 3, "/v1/models")["per_second"]


def sse(cluster: Cluster) -> float:
    return http_load("sse", *cluster.address, 256, 1000, "oracle")["per_second"]


def idle(cluster: Cluster) -> float:
    pids = cluster.pids()
    before, start = cpu_seconds(pids), time.monotonic()
    time.sleep(IDLE_S)
    return 100 * (cpu_seconds(pids) - before) / (time.monotonic() - start)


def memory(_) -> float:
    with Cluster() as cluster:
        pids = cluster.pids()

        def serve(first: int, count: int) -> int:
            for at in range(first, first + count, 50):
                bodies = [cluster.request(f"request {n}", 16) for n in range(at, at + 50)]
                answers = talk.many_streams(cluster.address, "/v1/completions", bodies, 60)
                assert {status for status, _ in answers} == {200}
            return pss_bytes(pids)

        return (-serve(0, 2000) + serve(2000, 10000)) / (1 << 20)


def broken_stream(cluster: Cluster, how: int) -> float:
    prompt = long_prompt("figures", 300)
    with cluster.stream(prompt, 300) as stream:
        stream.read_tokens(10)
        before = cluster.kill("shard", how)
        gap = longest_gap(stream.read_all())
    poll("shard respawned", 30, lambda: cluster.successor("shard", before))
    return gap


def shard_killed(_) -> float:
    with Cluster("--oracle-step", "5ms") as cluster:
        return broken_stream(cluster, signal.SIGKILL)


def shard_stopped(_) -> float:
    with Cluster("--oracle-step", "5ms") as cluster:
        return broken_stream(cluster, signal.SIGSTOP)


def router_killed(_) -> float:
    with Cluster() as cluster:
        cluster.kill("router")
        start = time.monotonic()
        assert cluster.complete("asked in between", 8).status == 200
        return time.monotonic() - start


def node_killed(_) -> float:
    with Cluster() as cluster:
        children = cluster.processes()
        start = time.monotonic()
        cluster.signal(signal.SIGKILL)
        cluster.node.wait()
        poll("children gone", 10, lambda: not any(c.alive() for c in children), pause=0.001)
        return time.monotonic() - start


def real_cluster() -> Cluster:
    return Cluster(model=MODEL)


def greedy_answer(cluster: Cluster, golden: dict) -> str:
    body = {"model": cluster.model, "max_tokens": GREEDY["tokens"], "temperature": 0}
    if golden["kind"] == "chat":
        answer = cluster.post("/v1/chat/completions", body | {"messages": golden["messages"]}, timeout=300)
        return answer.json()["choices"][0]["message"]["content"]
    return cluster.post("/v1/completions", body | {"prompt": golden["prompt"]}, timeout=300).text()


def text_of(cluster: Cluster, golden: dict, count: int) -> str:
    ids = golden["ids"][:count]
    if len(ids) == len(golden["ids"]) < GREEDY["tokens"]:
        ids = ids[:-1]  # the end token has no text
    text = cluster.post("/v1/detokenize", {"model": cluster.model, "tokens": ids}).json()["prompt"]
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


def greedy(cluster: Cluster) -> float:
    """Percent equal for 32 tokens. An answer that parts before its first near tie is an error."""
    equal = 0
    for golden in GREEDY["prompts"]:
        text = greedy_answer(cluster, golden)
        if not text.startswith(text_of(cluster, golden, golden["first_near_tie"])):
            raise RuntimeError(f"parts from llama.cpp before a near tie: {golden['prompt']!r}: {text!r}")
        equal += text.startswith(text_of(cluster, golden, EQUAL_TOKENS))
    return 100 * equal / len(GREEDY["prompts"])


# name: (what, unit, promise, run, a cluster that its runs share)
FIGURES = {
    "ready": ("`troupe serve` to ready, native, warm", "s", "<= 4", lambda _: ready("native"), None),
    "ready_torch": ("`troupe serve` to ready, torch, warm", "s", "<= 4", lambda _: ready("torch"), None),
    "models": ("keep-alive `GET /v1/models`, router on one core", "/s", ">= 15000", models, Cluster),
    "sse": ("oracle tokens over 256 streams", "/s", ">= 25000", sse, Cluster),
    "idle": ("idle oracle cluster, of one core", "%", "< 1", idle, Cluster),
    "memory": ("PSS growth, 10,000 requests after 2,000", "MiB", "<= 2", memory, None),
    "shard_killed": ("longest gap of a stream, shard killed", "s", "", shard_killed, None),
    "shard_stopped": ("longest gap of a stream, shard stopped", "s", "", shard_stopped, None),
    "router_killed": ("completion asked of a killed router", "s", "<= 1", router_killed, None),
    "node_killed": ("node killed to no child left", "s", "<= 1", node_killed, None),
    "greedy": ("greedy text equal to llama.cpp's for 32 tokens, of 30 prompts", "%", "", greedy, real_cluster),
}
ONCE = {"greedy"}  # a deterministic answer, the second time from the cache


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    name = next((x.partition(":")[2].strip() for x in info.splitlines() if x.startswith("model name")), "unknown CPU")
    return f"{name}, {os.cpu_count()} cores, load average {', '.join(f'{x:.1f}' for x in os.getloadavg())}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("figures", nargs="*", help=f"of {', '.join(FIGURES)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.figures) - set(FIGURES):
        parser.error(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    print(subprocess.run([BINARY, "version"], capture_output=True, text=True).stdout.strip())
    print(f"before: {machine()}\n\n| figure | promised | median | runs |\n|---|---|---|---|", flush=True)
    for name in arguments.figures or FIGURES:
        what, unit, promise, run, shared = FIGURES[name]
        with shared() if shared else contextlib.nullcontext() as cluster:
            values = [run(cluster) for _ in range(1 if name in ONCE else arguments.runs)]
        shown = [f"{v:.0f}" if v >= 1000 else f"{v:.3g}" for v in values]
        middle = statistics.median(values)
        print(f"| {what} | {promise} {unit if promise else ''} | {f'{middle:.0f}' if middle >= 1000 else f'{middle:.3g}'}"
              f" {unit} | {', '.join(shown)} |", flush=True)
    print(f"\nafter: {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
