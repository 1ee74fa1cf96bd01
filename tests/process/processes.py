"""Processes as the tests see them: who descends from whom, who is gone, what one costs. Linux /proc only."""

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Identity(NamedTuple):
    """A pid alone is not enough: it may be given to another process, which then has another start time."""

    pid: int
    parent: int
    started: int

    def alive(self) -> bool:
        now = identity(self.pid)
        return now is not None and now.started == self.started


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def identity(pid: int) -> Identity | None:
    """None for a process that is gone or a zombie."""
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else Identity(pid, int(fields[1]), int(fields[19]))


def descendants(root: int) -> list[Identity]:
    everyone = [identity(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit()]
    found, parents = [], {root}
    while parents:
        children = [i for i in everyone if i and i.parent in parents]
        found += children
        parents = {i.pid for i in children}
    return found


def session_members(session: int) -> list[int]:
    """Living processes of a session, whoever their parent is by now."""
    everyone = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [pid for pid in everyone if (f := _stat(pid)) and f[0] not in "ZX" and int(f[3]) == session]


def cpu_seconds(pids: list[int]) -> float:
    """User and system time since each started."""
    return sum(int(f[11]) + int(f[12]) for f in map(_stat, pids) if f) / TICKS


def pss_bytes(pids: list[int]) -> int:
    """Sum of PSS. Processes that hold prompts show it to root only; a neighbour with the same executable changes it."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(re.search(r"^Pss:\s+(\d+)", r, re.M)[1]) for r in rollups) * 1024


def own_memory_bytes(pids: list[int]) -> int:
    """Resident memory that is not pages of files: what PSS is about, for any user and whoever else runs."""
    states = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(n) for s in states for n in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+)", s, re.M)) * 1024


def memory_mib(pid: int) -> dict[str, float]:
    """What a process has in memory now and had at most. `pss` is its resident size, which is never less, where only
    root may see the PSS of a process that holds prompts."""
    status = dict(re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M))
    try:
        pss = pss_bytes([pid]) / 1024
    except PermissionError:
        pss = float(status["VmRSS"])
    kib = {"pss": pss, "anonymous": status["RssAnon"], "files": status["RssFile"], "peak": status["VmHWM"]}
    return {name: round(float(value) / 1024, 1) for name, value in kib.items()}


def mapped_files(pid: int) -> set[str]:
    """Paths of the files that a process has in its address space."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {fields[5] for line in lines if len(fields := line.split(None, 5)) == 6 and fields[5].startswith("/")}


def tcp_listeners(pids: list[int]) -> list[tuple[str, int]]:
    """(address, port) of every TCP socket of these processes that listens; addresses as /proc writes them."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except FileNotFoundError:  # closed since it was listed
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    return found


def poll(what: str, seconds: float, probe, pause: float = 0.02):
    """The first true value of probe(); AssertionError once `seconds` have passed without one."""
    end = time.monotonic() + seconds
    while True:
        if value := probe():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.1f} s")
        time.sleep(pause)


def within(promise_s: float, what: str, probe, pause: float = 0.01) -> float:
    """Polls for five times what is promised, prints what it took and returns that."""
    start = time.monotonic()
    poll(what, 5 * promise_s, probe, pause)
    return report(what, time.monotonic() - start, promise_s)


def report(what: str, took_s: float, promise_s: float) -> float:
    print(f"    {what}: {took_s * 1000:.0f} ms (promised {promise_s * 1000:.0f} ms)", flush=True)
    return took_s
