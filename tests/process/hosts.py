"""Hosts for one test: network namespaces joined by a switch that drops packets in silence, one way or both. Needs root.

The switch is a namespace that forwards; a blackhole rule in it loses what one host sends to another, as a broken cable
does, without any packet filter in the kernel."""

import contextlib
import ctypes
import os
import subprocess
import threading

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_names = iter(range(1_000_000))


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def why_not() -> str:
    """Why there can be no hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Hosts(["a"]):
            return ""
    except (OSError, subprocess.SubprocessError) as error:
        return f"this machine has no network namespaces: {error}"


class Hosts:
    """Use as a context manager."""

    def __init__(self, names: list[str]):
        tag = f"troupe-{os.getpid()}-{next(_names)}"
        self._switch = f"{tag}-switch"
        self._spaces = {name: f"{tag}-{name}" for name in names}
        self._ports = {name: f"port{i}" for i, name in enumerate(names, 1)}
        self.addresses = {name: f"10.99.{i}.2" for i, name in enumerate(names, 1)}
        self._cuts: set[tuple[str, str]] = set()
        try:
            _ip("netns", "add", self._switch)
            self._run_in(self._switch, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            for i, name in enumerate(names, 1):
                space, port = self._spaces[name], self._ports[name]
                _ip("netns", "add", space)
                _ip("-n", space, "link", "set", "lo", "up")
                _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
                _ip("-n", space, "addr", "add", f"10.99.{i}.2/24", "dev", "eth0")
                _ip("-n", space, "link", "set", "eth0", "up")
                _ip("-n", self._switch, "addr", "add", f"10.99.{i}.1/24", "dev", port)
                _ip("-n", self._switch, "link", "set", port, "up")
                _ip("-n", space, "route", "add", "default", "via", f"10.99.{i}.1")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        for space in [self._switch, *self._spaces.values()]:
            subprocess.run(["ip", "netns", "del", space], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)

    @staticmethod
    def _run_in(space: str, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", space, *command], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=30, check=True)

    def command(self, name: str, *words: str) -> list[str]:
        """Runs on that host; the process is the command itself."""
        return ["ip", "netns", "exec", self._spaces[name], *words]

    @contextlib.contextmanager
    def on(self, name: str):
        """Sockets that this thread makes meanwhile are that host's."""
        def enter(path: str) -> None:
            with open(path, "rb") as space:
                if _libc.setns(space.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {path}")

        home = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        with open(home, "rb") as before:
            enter(f"/run/netns/{self._spaces[name]}")
            try:
                yield
            finally:
                if _libc.setns(before.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns back")

    # -- faults

    def _rule(self, verb: str, source: str, target: str) -> None:
        _ip("-n", self._switch, "rule", verb, "iif", self._ports[source], "to", self.addresses[target], "blackhole")

    def cut(self, source: str, target: str) -> None:
        """Nothing that `source` sends reaches `target` any more; the other way is untouched."""
        if (source, target) not in self._cuts:
            self._rule("add", source, target)
            self._cuts.add((source, target))

    def isolate(self, name: str) -> None:
        """Nothing reaches that host, and nothing leaves it."""
        for other in self._spaces.keys() - {name}:
            self.cut(name, other)
            self.cut(other, name)

    def heal(self) -> None:
        for source, target in self._cuts:
            self._rule("del", source, target)
        self._cuts.clear()

    def delay(self, name: str, milliseconds: float) -> str:
        """Delays what that host sends; why it can't, or empty. Kernels without netem have only fast networks."""
        done = subprocess.run(["ip", "netns", "exec", self._spaces[name], "tc", "qdisc", "replace", "dev", "eth0", "root",
                               "netem", "delay", f"{milliseconds}ms"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        return done.stderr.strip()
