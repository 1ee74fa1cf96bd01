"""A process of which all threads but some stand still, as if they hung: SIGSTOP would stop every one."""

import ctypes
import os
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WAIT_ALL = 0x40000000  # __WALL: threads too
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x}) of thread {thread}: {os.strerror(ctypes.get_errno())}")


class HungThreads:
    """A context manager. `spared`: the name of a thread that goes on; there must be one."""

    def __init__(self, pid: int, spared: str):
        self._pid, self._spared = pid, spared
        self._held: list[int] = []

    def __enter__(self):
        names = {int(t.name): (t / "comm").read_text().strip() for t in Path(f"/proc/{self._pid}/task").iterdir()}
        assert self._spared in names.values(), names
        try:
            for thread, name in names.items():
                if name != self._spared:
                    _ptrace(_SEIZE, thread)
                    self._held.append(thread)
                    _ptrace(_INTERRUPT, thread)
                    os.waitpid(thread, _WAIT_ALL)
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for thread in self._held:
            _ptrace(_DETACH, thread)
        self._held.clear()
