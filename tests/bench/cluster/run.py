#!/usr/bin/env python3
"""The cluster's figures of this machine, as the table of docs/performance.md: ranks, collectives, link, nodes.

    ninja -C build/release troupe stream_load collective_bench link_bench scaling
    python3 tests/bench/cluster/run.py                     # all; some ten minutes on an idle machine
    python3 tests/bench/cluster/run.py ranks streams       # only these
    python3 tests/bench/cluster/run.py --json out.json

Network namespaces need root; without it their rows are left out. TROUPE_BINARY chooses another executable.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "tests" / "process"), str(ROOT / "tests" / "bench" / "peers"),
             str(ROOT / "tests" / "bench" / "scaling")]

import talk  # noqa: E402
from node_state import metric_sum  # noqa: E402
from predictions import cases_over_hosts, compare  # noqa: E402
from processes import poll  # noqa: E402
from run_ranks import Ranks  # noqa: E402
from servers import Server  # noqa: E402
from started import MODEL  # noqa: E402
from up_under_test import Up  # noqa: E402
from workload import CLIENTS, completion, stream_all  # noqa: E402

QUIET_LOAD = 0.7  # above it something else runs, and the figures say so
PROMPT, GENERATE, ROUNDS = 128, 128, 5
STREAMS, STREAM_TOKENS = 2000, 64


@dataclass
class Row:
    what: str
    value: str
    goal: str
    met: bool


def median_range(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):,.0f} {unit} ({min(values):,.0f}-{max(values):,.0f})"


# -- ranks: one model in several processes against one process with as many threads


def decode_rate(server, salt: str, streams: int) -> float:
    """Tokens/s of all streams once each has its first one. Drawn, not greedy: text that repeats itself would be
    foretold, and both sides would be timed on drafts."""
    bodies = [completion(f"{salt} {i}", PROMPT, GENERATE) | {"temperature": 1, "top_k": 40} for i in range(streams)]
    answers = stream_all(server, [(0, body) for body in bodies])
    begin = max(a["events"][0] for a in answers)
    tokens = sum(sum(1 for e in a["events"] if e > begin) for a in answers)
    return tokens / (max(a["events"][-1] for a in answers) - begin)


def ranks() -> list[Row]:
    whole = Ranks(MODEL, 2)
    cases = [("TP 2, two processes of 1 thread, 1 stream", ("--tensor-parallel", "2"), 1, 0.8),
             ("PP 2, two processes of 1 thread, 4 streams", ("--pipeline-parallel", "2"), 4, 0.85),
             ("PP 2, two processes of 1 thread, 8 streams", ("--pipeline-parallel", "2"), 8, 0.85),
             ("PP 2, two processes of 1 thread, 16 streams", ("--pipeline-parallel", "2"), 16, 0.85)]
    rows = []
    for what, options, streams, goal in cases:
        split = Ranks(MODEL, 1, options=options)
        with Server(whole) as one, Server(split) as two:
            one.wait_ready(), two.wait_ready()
            ratios, rates = [], []
            for i in range(-1, ROUNDS):  # they take turns; the first warms up
                a, b = decode_rate(one, f"{what} {i}", streams), decode_rate(two, f"{what} {i}", streams)
                if i >= 0:
                    ratios.append(b / a)
                    rates.append(b)
        ratio = statistics.median(ratios)
        rows.append(Row(what, f"{median_range(rates, 'tok/s')}, {ratio:.2f}x of one process with 2 threads",
                        f">= {goal}x", ratio >= goal))
    return rows


# -- calls between ranks, and the link between hosts


def run_bench(command: list) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-800:]}")
    return done.stdout


def collectives() -> list[Row]:
    bench = CLIENTS / "collective_bench"
    text = run_bench([bench])
    if os.geteuid() == 0:
        text += run_bench([ROOT / "tests" / "bench" / "collective_netns.sh", bench])
    rows = []
    for line in text.splitlines():
        found = re.match(r"(.{58}) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +(.*)", line)
        goal = found and re.search(r"<= ([\d.]+)", found[6])
        if not goal:
            continue
        rows.append(Row(f"{found[1].strip()}, {int(found[2]):,} bytes",
                        f"p50 {found[3]} us, p99 {found[4]}, mean {found[5]}", f"p50 <= {goal[1]} us",
                        0 < float(found[3]) <= float(goal[1])))
    return rows


def link() -> list[Row]:
    text = run_bench([CLIENTS / "link_bench"])
    speed = float(re.search(r"throughput +([\d.]+)", text)[1])
    added = float(re.search(r"added round trip +([\d.-]+)", text)[1])
    return [Row("link between hosts, one stream one way", f"{speed:,.0f} MB/s", ">= 400 MB/s", speed >= 400),
            Row("link, added to a round trip", f"{added:.0f} us p50", "<= 100 us", added <= 100)]


# -- several nodes


def formation() -> list[Row]:
    times = []
    for _ in range(ROUNDS):
        with Up(["n1", "n2", "n3"]) as up:
            times.append(up.ready_after)
    return [Row("three nodes form (certificates ready, oracle)",
                f"{statistics.median(times):.2f} s ({min(times):.2f}-{max(times):.2f})", "<= 3 s", max(times) <= 3)]


def oracle_body(i: int, tokens: int) -> dict:
    return {"model": "oracle", "prompt": f"request {i}", "max_tokens": tokens, "temperature": 1, "ignore_eos": True,
            "stream": True, "stream_options": {"include_usage": True}}


def load(address: tuple[str, int], bodies: list[dict]) -> subprocess.Popen:
    process = subprocess.Popen([CLIENTS / "stream_load", address[0], str(address[1]), "/v1/completions"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("".join(f"0 {json.dumps(b)}\n" for b in bodies))
    return process


def streams() -> list[Row]:
    """A third of them at each router."""
    with Up(["n1", "n2", "n3"], "{name: oracle, backend: oracle, groups: 3, oracle_step: 5ms}") as up:
        addresses = [node.address() for node in up.nodes.values()]
        shares = [[oracle_body(i, STREAM_TOKENS) for i in range(r, STREAMS, 3)] for r in range(3)]
        clients = [load(a, share) for a, share in zip(addresses, shares)]
        start = time.monotonic()
        for client in clients:
            client.stdin.close()
        answers = [s for client in clients for s in json.loads(client.stdout.read() or '{"streams": []}')["streams"]]
        took = time.monotonic() - start
        whole = sum(1 for s in answers if s["completion_tokens"] == STREAM_TOKENS)
        failed = [c for c in clients if c.wait() != 0]
    return [Row(f"{STREAMS:,} oracle streams at once over three nodes",
                f"{whole:,} of {STREAMS:,} whole, {STREAMS * STREAM_TOKENS / took:,.0f} tok/s", "none is lost",
                whole == STREAMS and not failed)]


def ask_first(address: tuple[str, int], i: int) -> tuple[float, list[float]]:
    """Seconds to the first event with text, and between the later ones."""
    [stream] = json.loads(load(address, [oracle_body(i, 32)]).communicate()[0])["streams"]
    events = stream["events"]
    return events[0] - stream["sent"], [b - a for a, b in zip(events, events[1:])]


def hop() -> list[Row]:
    """The only group is on n1; routers of n1 and n2 are asked in turn."""
    with Up(["n1", "n2"], "{name: oracle, backend: oracle, groups: 1, oracle_step: 2ms}") as up:
        near, far = (up.nodes[n].address() for n in ("n1", "n2"))
        try:
            poll("the router of n2 serves the group of n1", 15, lambda: talk.ask(far, "GET", "/readyz").status == 200)
        except AssertionError:
            return []  # nodes of this build do not serve each other's groups
        ttft, gaps = {near: [], far: []}, {near: [], far: []}
        for i in range(2 * 100):
            for address in (near, far):
                first, between = ask_first(address, i)
                ttft[address].append(1e3 * first)
                gaps[address] += [1e3 * g for g in between]
    added = statistics.median(ttft[far]) - statistics.median(ttft[near])
    apart = statistics.median(gaps[far]) - statistics.median(gaps[near])
    return [Row("a group behind the link: added to TTFT", f"{added:.2f} ms p50", "<= 1 ms", added <= 1),
            Row("a group behind the link: added between tokens", f"{apart:+.3f} ms p50", "nothing", apart <= 0.05)]


# -- groups whose ranks are on hosts of their own


ASKED = [{"prompt": "Four score and seven years ago", "max_tokens": 48, "logprobs": 3, "seed": 7, "temperature": t}
         for t in (0, 0.9)]


def hosts() -> list[Row]:
    """In network namespaces: what they answer beside one process, and their rate beside its prediction."""
    cases = cases_over_hosts()
    if not cases:
        return []
    with Server(Ranks(MODEL, 2)) as one:
        one.wait_ready()
        right = [talk.ask(("127.0.0.1", one.port), "POST", "/v1/completions", ask | {"model": "peer"}).json()["choices"]
                 for ask in ASKED]
    rows = []
    for kind, what, start, streams, table in cases:
        with start() as server:
            node = next(iter(server.cluster.nodes.values()))
            same = [node.ask("POST", "/v1/completions", ask | {"model": "peer"}).json()["choices"] for ask in ASKED] == right
            for n in streams:
                row = compare(server, kind, what, n, table)
                off = row["predicted"] / row["measured"] - 1
                rows.append(Row(row["what"], f"{'equal' if same else 'OTHER'} answers, {row['measured']:,.0f} tok/s; "
                                f"predicted {row['predicted']:,.0f} ({100 * off:+.0f} %)", "the answers of one process", same))
    return rows


# -- prefixes: do requests find the group that knows their beginning?


SYSTEM_PROMPTS, SESSIONS, TURNS = 4, 64, 6
SYSTEM_TOKENS, TURN_TOKENS, ANSWER_TOKENS = 256, 96, 16
STAGGER_S, THINK_S = 0.037, 1.0  # between the first turns of two sessions; from an answer to the next turn, at most twice
WORDS = range(300, 4000)  # of the oracle's vocabulary: no end token, no single bytes


def converse(addresses: list[tuple[str, int]], session: int) -> int:
    """One session of the load of ../scaling/workloads.h: each turn is all that was asked before and a little more, and goes
    to the next router, as behind a load balancer that knows nothing. Prompt tokens that were looked up."""
    draw = random.Random(session)
    said = random.Random(f"system {session % SYSTEM_PROMPTS}").choices(WORDS, k=SYSTEM_TOKENS)
    looked_up = 0
    for turn in range(TURNS):
        time.sleep(draw.uniform(0, 2 * THINK_S) if turn else session * STAGGER_S)
        said += draw.choices(WORDS, k=TURN_TOKENS)
        body = {"model": "oracle", "prompt": said, "max_tokens": ANSWER_TOKENS, "temperature": 1, "ignore_eos": True}
        answer = talk.ask(addresses[(session + turn) % len(addresses)], "POST", "/v1/completions", body)
        assert answer.status == 200, answer
        looked_up += len(said) - 1
    return looked_up


def hit_rate(names: list[str], groups: int) -> float:
    """Of prompt tokens looked up."""
    models = f"{{name: oracle, backend: oracle, groups: {groups}, oracle_step: 2ms}}"
    with Up(names, models, devices={n: groups // len(names) for n in names}) as up:
        addresses = [node.address() for node in up.nodes.values()]
        with ThreadPoolExecutor(SESSIONS) as pool:
            looked_up = sum(pool.map(lambda session: converse(addresses, session), range(SESSIONS)))

        def told() -> list[float]:
            answer = talk.ask(addresses[0], "GET", "/metrics?compat=none")
            return [metric_sum(answer, f"troupe_group_prefix_cache_{what}_tokens_total") for what in ("queries", "hits")]

        poll("the groups told of every request", 15, lambda: told()[0] >= looked_up)
        queries, hits = told()
    return hits / queries


def affinity() -> list[Row]:
    one = hit_rate(["n1"], 1)
    rows = []
    for names in (["n1"], ["n1", "n2"]):
        four = hit_rate(names, 4)
        rows.append(Row(f"prefix hit rate, 4 groups on {len(names)} node{'s'[:len(names) - 1]}, as many routers",
                        f"{four:.3f}, {four / one:.2f}x of one group's {one:.3f}", ">= 0.9x", four >= 0.9 * one))
    return rows


PARTS = {"collectives": collectives, "link": link, "formation": formation, "streams": streams, "hop": hop,
         "affinity": affinity, "ranks": ranks, "hosts": hosts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all when none is given")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    rows = [row for name in options.parts or PARTS for row in PARTS[name]()]
    quiet = before <= QUIET_LOAD
    print(f"{os.cpu_count()} cores, load average before {before:.2f}" + ("" if quiet else ": NOT QUIET, don't keep these"))
    print("\n| what | measured | goal |\n|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.value} | {row.goal}{'' if row.met else ', missed'} |")
    if options.json:
        options.json.write_text(json.dumps({"quiet": quiet, "rows": [asdict(r) for r in rows]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
