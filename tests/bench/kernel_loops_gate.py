#!/usr/bin/env python3
"""Looks at the machine code of the matrix kernels' inner loops: no vector may live on the stack in one, and none may get slower.

    python3 tests/bench/kernel_loops_gate.py build/release/libmodel_core.a
    python3 tests/bench/kernel_loops_gate.py build/release/libmodel_core.a --update 'why'   # stores the cycles of now, with the reason

Slower is what llvm-mca says for two fixed processors, so the machine, its load and its instruction sets do not matter. The compiler
does: clang-19, release preset. (What it says for sapphirerapids is pessimistic where sums start at zero: there it takes a zeroed register
for one that waits for its old value.) A loop is an innermost one that multiplies, or a whole function that multiplies and has no loop.
kernel_loops_expected.json has the cycles of a pass, and under "on_stack" how often a loop may touch vectors on the stack, and why.

AMX: a pass is a group of 32 inputs for a full tile of 16 rows, on sapphirerapids only. llvm-mca has no costs of tile instructions (it takes
each for one of 100 cycles that four ports may start), so they are left out of the cycles and counted: no kind may come to need more of them.
Tiles and vectors pass each other what they have through arrays on the stack, which are indexed by the group; a spill is not.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

EXPECTED = Path(__file__).with_name("kernel_loops_expected.json")
OBJECTS = {"avx512": "matmul_avx512.cpp.o", "avx2": "matmul_avx2.cpp.o", "floats_avx512": "matmul_floats_avx512.cpp.o",
           "floats_avx2": "matmul_floats_avx2.cpp.o", "amx": "matmul_amx.cpp.o"}
PROCESSORS = ["znver4", "sapphirerapids"]
TILE_PROCESSORS = ["sapphirerapids"]
TILE_ROWS = 16
PASSES = 40
TOLERANCE = 0.03
KINDS = ["w4", "w4m", "w8", "w8m", "q6", "f32", "f16", "bf16"]  # PackKind
SCALES = ["f16", "f32"]  # ScaleType
MULTIPLIES = re.compile(r"\t(vpdpbusd|vpdpwssd|vpmaddubsw|vpmaddwd|vfmadd\d+ps)\t")
VECTOR_ON_STACK = re.compile(r"\(%r[sb]p.*%[xyz]mm|%[xyz]mm.*\(%r[sb]p")
INDEXED = re.compile(r"\(%r[sb]p,")
TILES = re.compile(r"\t(tile\w+|tdp\w+)\t")
TILE_PRODUCT = re.compile(r"\ttdp\w+\t")
ROW_OF_SUMS = re.compile(r"\tvcvtdq2ps\t")
FRAME_POINTER = re.compile(r"\tmovq\t%rsp, %rbp")


@dataclass
class Function:
    name: str
    lines: list[tuple[int, str]] = field(default_factory=list)  # address, "\tmnemonic\toperands"

    def loops(self) -> list[tuple[int, int]]:
        """(first, last) address of each loop: backward jumps by their target."""
        start, found = self.lines[0][0], {}
        for address, text in self.lines:
            jump = re.match(r"\tj\w+\t0x([0-9a-f]+)", text)
            if jump and start <= int(jump[1], 16) <= address:
                found[int(jump[1], 16)] = address
        return list(found.items())

    def code(self, first: int, last: int) -> list[str]:
        return [text for address, text in self.lines if first <= address <= last]

    def group(self) -> tuple[list[str], list[str]] | None:
        """Of a function that multiplies tiles: the loop over groups, and the same run through, with its loop over rows unrolled to a full
        tile."""
        loops, products = self.loops(), [address for address, text in self.lines if TILE_PRODUCT.search(text)]
        if not products:
            return None
        rows = [loop for loop in loops if any(map(ROW_OF_SUMS.search, self.code(*loop)))]
        # (loop over groups, loop over rows): the nearest around a product and sums.
        pairs = [(loop, row) for loop in loops for row in rows
                 if loop[0] < row[0] and row[1] < loop[1] and any(loop[0] <= at <= loop[1] for at in products)]
        if not pairs:
            sys.exit(f"{self.name} has no loop over rows within one over groups: the gate knows no other kernels over tiles")
        (first, last), row = min(pairs, key=lambda pair: (pair[0][1] - pair[0][0], pair[1][1] - pair[1][0]))
        times = TILE_ROWS // sum(bool(ROW_OF_SUMS.search(text)) for text in self.code(*row))
        return self.code(first, last), self.code(first, row[0] - 1) + self.code(*row) * times + self.code(row[1] + 1, last)

    def hot(self) -> list[list[str]]:
        """The instructions of each innermost loop that multiplies; without loops those of the whole function."""
        loops, pieces = self.loops(), []
        for address, text in self.lines:
            if not MULTIPLIES.search(text):
                continue
            around = [loop for loop in loops if loop[0] <= address <= loop[1]]
            piece = min(around, key=lambda loop: loop[1] - loop[0], default=(self.lines[0][0], self.lines[-1][0]))
            if piece not in pieces:
                pieces.append(piece)
        return [self.code(*piece) for piece in pieces]


@dataclass
class Loop:
    name: str
    code: list[str]
    on_stack: int
    tiles: dict[str, int] = field(default_factory=dict)
    processors: list[str] = field(default_factory=lambda: PROCESSORS)


def functions(listing: str) -> list[Function]:
    found = []
    for line in listing.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            found.append(Function(short(head[1])))
        elif (code := re.match(r"\s*([0-9a-f]+):\s*(\t\S.*)", line)) and found:
            found[-1].lines.append((int(code[1], 16), re.sub(r"\s*[<#].*", "", code[2])))
    return [f for f in found if f.lines]


def short(demangled: str) -> str:
    """bytes_panel<w4m, f16, 16> of the compiler's long name."""
    name = re.sub(r"\(troupe::native::PackKind\)(\d)", lambda m: KINDS[int(m[1])], demangled)
    name = re.sub(r"\(troupe::native::ScaleType\)(\d)", lambda m: SCALES[int(m[1])], name)
    name = re.sub(r"troupe::native::|\(anonymous namespace\)::", "", name).removeprefix("void ")
    return re.sub(r"\(.*", "", name)


def hot_loops(listing: str, where: str) -> list[Loop]:
    found = []
    for function in functions(listing):
        frame = any(FRAME_POINTER.search(text) for _, text in function.lines)
        pieces = function.hot()
        for i, code in enumerate(pieces):
            name = f"{where}/{function.name}" + (f" loop {i + 1}" if len(pieces) > 1 else "")
            if any(loop.name == name for loop in found):
                sys.exit(f"two loops are called {name}: short() drops what tells them apart")
            touched = [t for t in code if VECTOR_ON_STACK.search(t) and (frame or "(%rbp" not in t)]
            found.append(Loop(name, code, len(touched)))
    return found


def group_loops(listing: str, where: str) -> list[Loop]:
    """Of kernels over tiles."""
    found = []
    for function in functions(listing):
        if not (group := function.group()):
            continue
        whole, run = group
        tiles = [m[1] for text in whole if (m := TILES.search(text))]
        spilled = [text for text in whole if VECTOR_ON_STACK.search(text) and not INDEXED.search(text)]
        found.append(Loop(f"{where}/{function.name}", [text for text in run if not TILES.search(text)], len(spilled),
                          {name: tiles.count(name) for name in sorted(set(tiles))}, TILE_PROCESSORS))
    return found


def tool(name: str) -> str:
    path = shutil.which(name)
    if not path:
        sys.exit(f"{name} is missing: run scripts/setup --test")
    return path


def loops_of(archive: Path) -> list[Loop]:
    found = []
    with tempfile.TemporaryDirectory(prefix="kernel-loops-") as folder:
        subprocess.run(["ar", "x", "--output", folder, archive, *OBJECTS.values()], check=True)
        for where, file in OBJECTS.items():
            command = [tool("llvm-objdump-19"), "-d", "-C", "--no-show-raw-insn", f"{folder}/{file}"]
            listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            loops = (group_loops if where == "amx" else hot_loops)(listing, where)
            if not loops:
                sys.exit(f"{file} has no loop that multiplies: nothing was looked at")
            found += loops
    return found


def cycles(loops: list[Loop], processor: str) -> dict[str, float]:
    """Cycles of one pass of each loop when nothing misses a cache."""
    text = "".join(f"# LLVM-MCA-BEGIN {i}\n" + "\n".join(loop.code) + "\n# LLVM-MCA-END\n" for i, loop in enumerate(loops))
    command = [tool("llvm-mca-19"), "-mtriple=x86_64", f"-mcpu={processor}", f"-iterations={PASSES}", "--resource-pressure=false",
               "--instruction-info=false"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found = {loops[int(i)].name: int(total) / PASSES
             for i, total in re.findall(r"Code Region - (\d+)\n.*?Total Cycles:\s+(\d+)", done.stdout, re.S)}
    if len(found) != len(loops):
        sys.exit(f"llvm-mca answered for {len(found)} of {len(loops)} loops:\n{done.stderr[-3000:]}")
    return found


def self_check() -> None:
    """The gate must see a spill in an inner loop, and only there."""
    listing = """
0000000000000010 <void troupe::native::(anonymous namespace)::f<(troupe::native::PackKind)1, (troupe::native::ScaleType)0, 9>(int)>:
      10:      \tvmovups\t%zmm1, 0x40(%rsp)
      20:      \tvpdpbusd\t(%rdi){1to16}, %zmm2, %zmm3
      28:      \tvmovups\t%zmm3, -0x40(%rsp)
      30:      \tvaddps\t0x40(%rsp), %zmm3, %zmm3
      38:      \tmovq\t%rax, 0x8(%rsp)
      40:      \tjne\t0x20 <void f+0x10>
      50:      \tvmovups\t%zmm3, 0x40(%rsp)
      60:      \tjne\t0x10 <void f+0x0>
      70:      \tretq
"""
    found = [(loop.name, len(loop.code), loop.on_stack) for loop in hot_loops(listing, "x")]
    if found != [("x/f<w4m, f16, 9>", 5, 2)]:
        sys.exit(f"the gate cannot read machine code any more: {found}")
    tiles = """
0000000000000010 <void troupe::native::tile_matmul_of<troupe::native::(anonymous namespace)::Tiles, (troupe::native::PackKind)3>(int)>:
      10:      \ttdpbssd\t%tmm2, %tmm1, %tmm0
      20:      \tvmovaps\t%zmm1, 0x40(%rsp,%rbx)
      28:      \tvmovaps\t%zmm1, 0x40(%rsp)
      30:      \ttileloadd\t(%r10,%rdx), %tmm2
      38:      \ttdpbssd\t%tmm2, %tmm1, %tmm0
      40:      \tvcvtdq2ps\t(%r15), %zmm3
      48:      \tvcvtdq2ps\t(%r14), %zmm4
      50:      \tjne\t0x40 <void f+0x30>
      58:      \tjmp\t0x20 <void f+0x10>
      60:      \tjmp\t0x10 <void f+0x0>
"""
    found = [(loop.name, len(loop.code), loop.on_stack, loop.tiles) for loop in group_loops(tiles, "x")]
    if found != [("x/tile_matmul_of<Tiles, w8m>", 2 + 3 * 8 + 1, 1, {"tdpbssd": 1, "tileloadd": 1})]:
        sys.exit(f"the gate cannot read loops over tiles any more: {found}")


def judge(loop: Loop, now: dict[str, float], expected: dict) -> list[str]:
    """What is wrong with a loop."""
    wrong = []
    allowed = expected["on_stack"].get(loop.name, {"times": 0})["times"]
    if loop.on_stack > allowed:
        wrong.append(f"{loop.on_stack} instructions touch a vector on the stack, {allowed} may: use fewer registers")
    stored = expected["cycles"].get(loop.name)
    if stored is None:
        return wrong + ["is new: store it with --update"]
    for processor, figure in now.items():
        if figure > stored[processor] * (1 + TOLERANCE):
            wrong.append(f"slower on {processor}: make it faster, or store it with --update and the reason in the same commit")
    for name, times in loop.tiles.items():
        if times > expected["tiles"].get(loop.name, {}).get(name, 0):
            wrong.append(f"{times} {name} a group, more than stored: need fewer, or store it with --update and the reason")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--update", metavar="REASON", help="store the cycles instead")
    arguments = parser.parse_args()
    self_check()
    loops = loops_of(arguments.archive)
    by_processor = {p: cycles([loop for loop in loops if p in loop.processors], p) for p in PROCESSORS}
    now = {loop.name: {p: by_processor[p][loop.name] for p in loop.processors} for loop in loops}
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {"on_stack": {}, "tiles": {}, "cycles": {}}
    before = expected["cycles"]
    if arguments.update:
        expected = {"reason": arguments.update, "on_stack": expected["on_stack"],
                    "tiles": {loop.name: loop.tiles for loop in loops if loop.tiles}, "cycles": now}
        EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
    print(f"the stored figures: {expected['reason']}")
    failed = 0
    for loop in loops:
        old = before.get(loop.name, {})
        figures = ", ".join(f"{p} {old.get(p, '-')} -> {now[loop.name][p]}" for p in loop.processors)
        figures += "".join(f", {times} {name}" for name, times in loop.tiles.items())
        wrong = judge(loop, now[loop.name], expected)
        failed += bool(wrong)
        print(f"{loop.name}: cycles {figures}; on the stack {loop.on_stack}" + "".join(f"\n  FAILED: {w}" for w in wrong))
    for name in sorted(set(expected["cycles"]) - set(now) | set(expected["on_stack"]) - set(now)):
        failed += 1
        print(f"{name}\n  FAILED: is stored and no longer there: store what is with --update")
    print(f"{len(loops) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
