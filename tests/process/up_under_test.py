"""A cluster of several nodes on this host for one test: certificates, config, `troupe up`; leaves no process behind."""

import re
import shutil
import signal
import time
from pathlib import Path

from cluster_files import make_certificates, on_this_host, one_group_a_node, write_config
from node_state import NodeState
from processes import Identity, poll
from started import BINARY, READY_S, Family, read_line, short_folder, start


def write_up_config(folder: Path, names: list[str], models: str, more: str = "",
                    devices: dict[str, int] | None = None) -> Path:
    """Nodes on free ports of this host, each with a router on an address of its own."""
    routers = {name: f"127.0.0.{i}:0" for i, name in enumerate(names, 1)}
    return write_config(folder, on_this_host(names), routers, models, more, devices)


class Up:
    """Use as a context manager: entered once every node is ready."""

    def __init__(self, names: list[str], models: str = "", more: str = "",
                 folder: Path | None = None, devices: dict[str, int] | None = None):
        """`devices`: slots for ranks, of nodes that have more than one."""
        self.folder = folder or short_folder()
        self.names = names
        self.config = write_up_config(self.folder, names, models or one_group_a_node(names), more, devices)
        make_certificates(self.folder, names)
        self.state = self.folder / "state"
        self.nodes = {name: NodeState(self.state / name) for name in names}
        self._family = Family()
        self._log = open(self.folder / "log", "w+b")
        started = time.monotonic()
        self.process = start([BINARY, "up", "--config", str(self.config), "--state", str(self.state)], self._log)
        try:
            self.ready_lines = [read_line(self.process.stdout, READY_S) for _ in names]
            assert all(re.fullmatch(r"ready http://127\.0\.0\.\d+:\d+\n", line) for line in self.ready_lines), self.ready_lines
            poll("every node is ready", READY_S, lambda: all(n.ready() for n in self.nodes.values()))
            self.ready_after = time.monotonic() - started
            self.notice()
        except BaseException:
            self.close(failed=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(failed=kind is not None)

    def notice(self) -> list[Identity]:
        """Remembers every process there is now, to look for it at the end; those that live."""
        self._family.notice(self.process)
        return self._family.alive()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def interrupt(self) -> None:
        self.notice()
        self.process.send_signal(signal.SIGINT)

    def close(self, failed: bool = False) -> None:
        self.notice()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        left = self._family.outlived()
        if failed:
            print("the log:", self.log()[-8000:], sep="\n", flush=True)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if left and not failed:
            raise AssertionError(f"processes outlived troupe up: {left}")
