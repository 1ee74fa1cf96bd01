"""Other programs that compute beside a side, one busy process each, as on a machine that is not its alone."""

import os
import subprocess
import sys

from servers import ROOT

sys.path.insert(0, str(ROOT / "tests" / "process"))
from processes import poll  # noqa: E402
from started import start  # noqa: E402

BUSY_S, STARTS_S = 0.05, 30


def cores() -> int:
    return len(os.sched_getaffinity(0))


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Neighbours:
    """A context manager: within it `count` processes compute whenever they are let."""

    def __init__(self, count: int):
        self.count, self.processes = count, []

    def __enter__(self):
        try:
            for _ in range(self.count):
                self.processes.append(start([sys.executable, "-c", "while True: pass"], subprocess.DEVNULL, subprocess.DEVNULL))
            for process in self.processes:
                poll("a neighbour is busy", STARTS_S, lambda: cpu_seconds(process.pid) >= BUSY_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


def rates_beside(rate) -> dict[str, float]:
    """What rate() is beside one neighbour and beside one on each core, as shares of what it is without."""
    quiet = rate()
    shares = {}
    for name, count in (("beside_one", 1), ("beside_each", cores())):
        with Neighbours(count):
            shares[name] = rate() / quiet
    return shares
