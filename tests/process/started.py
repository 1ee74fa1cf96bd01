"""What tests of real processes start, and how they leave none behind.

The binary is the environment's TROUPE_BINARY, else build/release/troupe.
"""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from processes import Identity, descendants, poll

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TROUPE_BINARY") or str(ROOT / "build" / "release" / "troupe")
MODEL = str(Path(os.environ.get("TROUPE_DEPS") or ROOT / ".deps") / "models" / "smollm2.gguf")
TINY = ROOT / "tests" / "golden" / "tiny"  # checkpoints of a few hundred kilobytes
READY_S = 60
GONE_S = 5  # five times what is promised of a killed node's children
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_the_test() -> None:
    """A test that is killed for its time-out takes its cluster along."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def short_folder() -> Path:
    """Socket paths are limited, so not below a long build path."""
    return Path(tempfile.mkdtemp(prefix="troupe-", dir="/tmp"))


def free_ports(count: int) -> list[int]:
    """Ports that are free now; all at once, so that they differ."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def troupe(*arguments: str) -> subprocess.CompletedProcess:
    """Runs a command to its end."""
    return subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=60)


def start(command: list[str], log, stdout=subprocess.PIPE) -> subprocess.Popen:
    """In a session of its own; what it says on standard error goes to the file `log`. Dies with the test."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log, start_new_session=True,
                            preexec_fn=_die_with_the_test)


def read_line(pipe, seconds: float) -> str:
    line, end = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0, end - time.monotonic())):
            got = os.read(pipe.fileno(), 1)
            if not got:
                break
            line += got
    return line.decode()


class Family:
    """All that ever descended from processes of one test, as far as it was noticed."""

    def __init__(self):
        self._known: set[Identity] = set()

    def notice(self, ancestor: subprocess.Popen) -> None:
        """Remembers what descends from it now. Nothing once it has ended: its pid may be another's."""
        if ancestor.poll() is None:
            self._known.update(descendants(ancestor.pid))

    def alive(self) -> list[Identity]:
        return [i for i in self._known if i.alive()]

    def pids(self) -> set[int]:
        """Of the dead too."""
        return {i.pid for i in self._known}

    def outlived(self) -> str:
        """Once the ancestors have ended: whom they left behind for GONE_S, and who is killed now; or empty."""
        try:
            poll("descendants of what has ended are gone", GONE_S, lambda: not self.alive())
        except AssertionError:
            left = self.alive()
            for child in left:
                os.kill(child.pid, signal.SIGKILL)
            return str(left)
        return ""
