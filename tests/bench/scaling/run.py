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
from pathlib import Path

from predictions import cases_on_one_host, cases_over_hosts, predicted_and_measured, scaling

FIGURES = Path(__file__).with_name("figures.json")


def cpu() -> dict:
    load = os.getloadavg()[0]
    return {"load_average": load, "rows": predicted_and_measured([*cases_on_one_host(), *cases_over_hosts()])}


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
