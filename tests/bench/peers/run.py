#!/usr/bin/env python3
"""Troupe beside llama.cpp: same machine, same file, same threads, alternating rounds in one command.

    ninja -C build/release troupe stream_load repeat_request gemv_bench
    python3 tests/bench/peers/run.py                          # all; some 25 minutes on an idle machine
    python3 tests/bench/peers/run.py --isa avx2               # both sides without AVX-512 and AMX, and that column's goals
    python3 tests/bench/peers/run.py --only prefill --rounds 9

The first run builds the peer. TROUPE_BINARY chooses another executable. Read README.md before the numbers.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

import bandwidth
import instruction_sets
from calibrate import best_variants
from greedy_check import check_greedy, check_texts, sure_texts
from peer_build import MODEL, prepare, q4_0
from scenarios import SCENARIOS
from servers import TROUPE, Server
from sides import Llama, Troupe
from table import ROWS, judge, render, render_alone

QUIET_LOAD = 0.7  # above it something else runs, and the figures say so


def cpu() -> tuple[str, str]:
    """(model name, class of the goals)."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    value = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = value.get("flags", "").split()
    isa = "avx512" if "avx512_vnni" in flags else "avx2"
    return f"{value.get('model name', 'unknown CPU')}, {'AMX' if 'amx_int8' in flags else isa}, {os.cpu_count()} cores", isa


def load() -> str:
    return ", ".join(f"{x:.2f}" for x in os.getloadavg())


def progress(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


def measure(name: str, sides: list, rounds: int, salt: str) -> dict[str, dict[str, list[float]]]:
    """figure -> side -> a value a round. One round before is not counted; who goes first changes each round."""
    scenario, figures = SCENARIOS[name], {}
    with contextlib.ExitStack() as stack:
        if scenario.needs_server:
            sides = [stack.enter_context(Server(side)).wait_ready() for side in sides]
        for number in range(rounds + 1):
            for target in sides if number % 2 else sides[::-1]:
                side = target.side if scenario.needs_server else target
                values = scenario.run(target, f"{salt} {name} {number}")
                progress(f"{name} {number} {side.name} " + " ".join(f"{k} {v:.4g}" for k, v in values.items()))
                for figure, value in values.items() if number else ():
                    figures.setdefault(figure, {}).setdefault(side.name, []).append(value)
    return figures


def check_peer(variant: Llama, asked: str, sure: list) -> list[str]:
    """The instruction sets that it really uses. Before anything is timed, they and its text must be right. `sure`: what it
    must say; of the shipped file the goldens tell."""
    with Server(variant, "-lv", "4") as server:
        used = instruction_sets.of_llama(server.wait_ready().log())
        instruction_sets.check_llama(asked, used)
        if variant.model == MODEL:
            check_greedy(server)
        else:
            check_texts(server, sure)
    progress(f"{variant} uses {' '.join(used)}; its greedy text is right")
    return used


def one_table(title: str, troupe: Troupe, peer_model: Path, names: list[str], rounds: int, isa: str, peer_isa: str) -> dict:
    chosen = best_variants(peer_model, troupe.threads, peer_isa, {SCENARIOS[n].variant for n in names})
    sure = []
    if peer_model != MODEL:
        with Server(dataclasses.replace(troupe, model=peer_model)) as server:
            sure = sure_texts(server.wait_ready())
    used = {str(variant): check_peer(variant, peer_isa, sure) for variant in set(chosen.values())}
    verdicts = []
    for name in names:
        figures = measure(name, [troupe, chosen[SCENARIOS[name].variant]], rounds, f"{title} {os.getpid()}")
        verdicts += [judge(figure, by["troupe"], by[Llama.name], isa) for figure, by in figures.items()]
    verdicts.sort(key=lambda v: list(ROWS).index(v["name"]))
    return {"title": title, "peer": {k: str(v) for k, v in chosen.items()}, "peer_uses": used, "rows": verdicts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="may be given again")
    parser.add_argument("--format", choices=["shipped", "q4_0", "both"], default="both", help="of the peer's model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backend", default="auto", help="of troupe")
    parser.add_argument("--isa", choices=["", "avx2", "avx512"], default="",
                        help="avx2: of both sides; avx512: troupe's, the peer takes the processor's best as without it")
    parser.add_argument("--json", type=Path, help="write every value there")
    arguments = parser.parse_args()
    if not Path(TROUPE).exists():
        sys.exit(f"{TROUPE} is missing: run ninja -C build/release troupe stream_load repeat_request gemv_bench")
    peer_isa = "avx2" if arguments.isa == "avx2" else ""
    prepare(peer_isa)
    name, isa = cpu()
    isa = peer_isa or isa
    troupe = Troupe(MODEL, arguments.threads, arguments.backend, arguments.isa)
    troupe_says = troupe.bench("--first-token")[0]["describe"]
    native = troupe_says.startswith("native ")
    troupe_isa = instruction_sets.of_troupe(troupe_says) if native else ""
    if native:
        instruction_sets.check_troupe(arguments.isa, troupe_isa)
    models = {"shipped": ("Same file, Q4_1 as shipped", MODEL),
              "q4_0": ("llama.cpp's best format: the weights as Q4_0", q4_0(peer_isa))}
    formats = list(models) if arguments.format == "both" else [arguments.format]
    before, names = load(), arguments.only or list(SCENARIOS)
    alone = bandwidth.measure(troupe, troupe_isa, arguments.rounds) if native else {}
    tables = [one_table(models[f][0], troupe, models[f][1], names, arguments.rounds, isa, peer_isa) for f in formats]
    after = load()
    print(f"{name}; {arguments.threads} threads; {arguments.rounds} rounds, medians (least-most); goals of {isa}")
    print(f"troupe: {troupe_says}\nload average before: {before}; after (the bench itself makes 2): {after}")
    if float(before.split(",")[0]) > QUIET_LOAD:
        print("NOT QUIET: something else ran before this; don't keep these figures.")
    if alone:
        print("\n" + render_alone(alone))
    for table in tables:
        print("\n" + render(table["title"], table["rows"]))
        print("llama.cpp: " + "; ".join(f"{k}: {v}" for k, v in table["peer"].items()))
        for used in sorted({" ".join(x) for x in table["peer_uses"].values()}):
            print(f"llama.cpp uses: {used}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu": name, "isa": isa, "threads": arguments.threads, "troupe": troupe_says,
                                              "load_before": before, "load_after": after, "alone": alone,
                                              "tables": tables}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
