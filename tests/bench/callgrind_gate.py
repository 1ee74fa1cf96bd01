#!/usr/bin/env python3
"""Counts the instructions of one decode step and of one prefill chunk of the native backend, and fails when one grew.

    python3 tests/bench/callgrind_gate.py                      # compares with callgrind_expected.json
    python3 tests/bench/callgrind_gate.py --update 'why'       # stores what is counted now, with the reason

The real model, AVX2 (valgrind knows no AVX-512), 1 thread: the counts do not depend on the machine's load, and hardly on the machine.
They depend on the compiler: clang-19, release preset. A stored figure changes only together with its reason.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TROUPE = os.environ.get("TROUPE_BINARY") or str(ROOT / "build" / "release" / "troupe")
MODEL = Path(os.environ.get("TROUPE_DEPS") or ROOT / ".deps") / "models" / "smollm2.gguf"
EXPECTED = Path(__file__).with_name("callgrind_expected.json")
# One call is one step; virtual, so never inlined. The two options of callgrind match names differently.
STEP = "troupe::native::NativePartition::wait"
TOLERANCE = 0.03
CHUNK = 32
# The steps of this run: the prompt for the first token, the timed prompt, the prompt before decoding, two decode steps.
SHAPE = ["--backend", "native", "--isa", "avx2", "--threads", "1", "--rounds", "1", "--batch", "1", "--chunk", str(CHUNK),
         "--prefill-tokens", str(CHUNK), "--prompt-tokens", str(CHUNK), "--generate", "2", "--no-bandwidth"]
STEPS = {"prefill_chunk": 1, "decode_step": 4}  # counted from 0: neither is the first of its kind
STEPS_IN_ALL = 5


def instructions(dump: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(errors="replace"), re.M)
    return int(found[1]) if found else 0


def count() -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="callgrind-") as folder:
        bare = Path(folder) / "troupe"  # valgrind 3.19 gives up on clang-19's debug information
        subprocess.run(["strip", "--strip-debug", "-o", bare, TROUPE], check=True)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/step", f"--toggle-collect={STEP}*",
                   f"--dump-after={STEP}(troupe::Ticket,*", str(bare), "bench", str(MODEL), *SHAPE]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        dumps = sorted(Path(folder).glob("step.*"), key=lambda p: int(p.suffix[1:]))
        counted = [n for n in map(instructions, dumps) if n > 0]
    if len(counted) != STEPS_IN_ALL:
        sys.exit(f"callgrind saw {len(counted)} steps of {STEPS_IN_ALL}: is {STEP} still what runs one?")
    return {name: counted[at] for name, at in STEPS.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", metavar="REASON", help="store the counts instead")
    arguments = parser.parse_args()
    counted, expected = count(), json.loads(EXPECTED.read_text())
    if arguments.update:
        EXPECTED.write_text(json.dumps(counted | {"reason": arguments.update}, indent=1) + "\n")
    print(f"the stored figures: {expected['reason']}")
    failed = 0
    for name, now in counted.items():
        before = now if arguments.update else expected[name]
        change = now / before - 1
        said = f"{name}: {now:,} instructions, {change:+.2%} against the stored {before:,}"
        if change > TOLERANCE:
            failed += 1
            said += ": FAILED; make it cheaper, or store it with --update and the reason in the same commit"
        elif change < -TOLERANCE:
            said += ": better; keep it with --update and the reason"
        print(said)
    print(f"{len(counted) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
