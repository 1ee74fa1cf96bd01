#!/usr/bin/env python3
"""All figures of docs/scaling.md: predictions for GPUs, routing hit rates, and predictions against this machine.

    ninja -C build/release scaling troupe stream_load
    python3 tests/bench/scaling/run.py                # all; about ten minutes, on an idle machine
    python3 tests/bench/scaling/run.py gpu routing    # these need no idle machine
    python3 tests/bench/scaling/plot.py               # then: plots and tables

Keeps them in figures.json beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "tests" / "process"), str(ROOT / "tests" / "bench" / "peers"),
             str(ROOT / "tests" / "bench" / "cluster")]

from run_ranks import Ranks  # noqa: E402
from servers import Server  # noqa: E402
from started import MODEL  # noqa: E402
from workload import CLIENTS, completion, stream_all  # noqa: E402

FIGURES = Path(__file__).with_name("figures.json")
PROMPT, GENERATE, ROUNDS = 128, 128, 3
BATCHES = (1, 2, 4, 8, 16)
# From docs/performance.md: a gather of 2.3 KB over shared memory, four a layer of 30; a block of activations.
EXCHANGE_S, HOP_S = 4 * 30 * 0.5e-6, 5e-6


def scaling(*arguments) -> dict:
    done = subprocess.run([CLIENTS / "scaling", *map(str, arguments)], capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def table_of(threads: int) -> list[str]:
    """What `troupe bench` says of the engine alone, as settings of `scaling cpu`."""
    figures, _ = Ranks(MODEL, threads).bench("--batch", ",".join(map(str, BATCHES)), "--prompt-tokens", PROMPT,
                                             "--generate", GENERATE, "--rounds", ROUNDS)
    decode = ",".join(f"{d['batch']}:{d['batch'] / d['tokens_per_second']:.6f}" for d in figures["decode"])
    return [f"decode={decode}", f"prompt_row={1 / figures['prefill'][0]['tokens_per_second']:.8f}",
            f"bandwidth={figures['read_bytes_per_second']:.3e}"]


def measured(server, salt: str, streams: int) -> float:
    """Answer tokens/s of one burst. Drawn, not greedy: drafts would come true, and none are modelled."""
    rates = []
    for i in range(-1, ROUNDS):
        bodies = [completion(f"{salt} {i} {s}", PROMPT, GENERATE) | {"temperature": 1, "top_k": 40} for s in range(streams)]
        answers = stream_all(server, [(0, body) for body in bodies])
        if i >= 0:
            rates.append(streams * GENERATE / max(a["events"][-1] for a in answers))
    return statistics.median(rates)


def cpu() -> dict:
    two, one = table_of(2), table_of(1)
    cases = [("one", f"one process, 2 threads, {n} streams", Ranks(MODEL, 2), n, two, []) for n in BATCHES]
    groups = Ranks(MODEL, 1, options=("--groups", "2"))
    cases += [("groups", f"two groups of 1 thread, {n} streams", groups, n, one, ["groups=2"]) for n in (2, 8, 16)]
    tensor = Ranks(MODEL, 1, options=("--tensor-parallel", "2"))
    cases += [("tensor", f"TP 2, two processes of 1 thread, {n} streams", tensor, n, one,
               ["tensor=2", f"exchange={EXCHANGE_S}"]) for n in (1, 4, 16)]
    pipeline = Ranks(MODEL, 1, options=("--pipeline-parallel", "2"))
    cases += [("pipeline", f"PP 2, two processes of 1 thread, {n} streams", pipeline, n, one,
               ["pipeline=2", f"hop={HOP_S}"]) for n in (1, 4, 16)]
    rows, server, side = [], None, None
    try:
        for kind, what, wanted, streams, table, more in cases:
            if wanted != side:
                if server:
                    server.__exit__(None)
                server, side = Server(wanted).wait_ready(), wanted
            predicted = scaling("cpu", *table, *more, f"streams={streams}", f"prompt={PROMPT}", f"answer={GENERATE}")
            rows.append({"kind": kind, "what": what, "streams": streams, "measured": measured(server, what, streams),
                         "predicted": predicted["tokens_per_second"]})
            print(rows[-1], file=sys.stderr)
    finally:
        if server:
            server.__exit__(None)
    return {"tables": {"threads_2": two, "threads_1": one}, "load_average": os.getloadavg()[0], "rows": rows}


PARTS = {"gpu": lambda: scaling("gpu")["gpu"], "routing": lambda: scaling("routing")["routing"], "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for part in parser.parse_args().parts or PARTS:
        figures[part] = PARTS[part]()
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
