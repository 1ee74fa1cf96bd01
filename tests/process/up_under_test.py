"""A cluster of several nodes on this host for one test: certificates, config, `troupe up`; leaves no process behind."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import talk
from cluster_under_test import BINARY, GONE_S, READY_S, _die_with_the_test, read_line, short_folder
from processes import Identity, descendants, poll


def free_ports(count: int) -> list[int]:
    """Ports that are free now; all at once, so that they differ."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def troupe(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def write_config(folder: Path, names: list[str], models: str, more: str = "") -> Path:
    """Nodes on free ports, each with a router on an address of its own; certificates are expected in folder/certs."""
    nodes = "".join(f"  - {{name: {n}, host: 127.0.0.1, control_port: {p}}}\n"
                    for n, p in zip(names, free_ports(len(names)), strict=True))
    routers = "".join(f"  - {{node: {n}, http: 127.0.0.{i}:0}}\n" for i, n in enumerate(names, 1))
    path = folder / "cluster.yaml"
    path.write_text(f"cluster: demo\nnodes:\n{nodes}routers:\n{routers}models:\n  - {models}\n"
                    f"security: {{certs: certs}}\n{more}")
    return path


def make_certificates(folder: Path, names: list[str]) -> None:
    certs = str(folder / "certs")
    for command in (["init", "--dir", certs], ["issue", *names, "--dir", certs]):
        done = troupe("certs", *command)
        assert done.returncode == 0, done.stderr


class UpNode:
    """One node of a cluster that is up, as its state directory shows it."""

    def __init__(self, state: Path):
        self.name, self.state = state.name, state

    def endpoint(self) -> dict:
        return json.loads((self.state / "endpoint.json").read_text())

    def pid(self) -> int:
        return self.endpoint()["pid"]

    def admin(self, path: str) -> talk.Answer:
        endpoint = self.endpoint()
        host, _, port = endpoint["admin"].removeprefix("http://").rpartition(":")
        token = Path(endpoint["token_path"]).read_text().strip()
        return talk.ask((host, int(port)), "GET", path, headers={"Authorization": f"Bearer {token}"})

    def own(self) -> dict:
        """Its part of the tree; empty while it does not answer."""
        try:
            answer = self.admin("/admin/tree")
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        return next((n for n in answer.json()["nodes"] if n["name"] == self.name), {})

    def ready(self) -> bool:
        return self.own().get("state") == "ready"

    def metric(self, name: str, **labels: str) -> float:
        lines = self.admin("/metrics").body.decode().splitlines()
        values = [line.rpartition(" ")[2] for line in lines
                  if line.startswith((name + " ", name + "{")) and all(f'{k}="{v}"' in line for k, v in labels.items())]
        assert values, f"no metric {name} {labels or ''}"
        return sum(map(float, values))

    def address(self) -> tuple[str, int]:
        """Of its router."""
        host, _, port = self.endpoint()["http"][0].partition("://")[2].rpartition(":")
        return host, int(port)


class Up:
    """Use as a context manager: entered once every node is ready."""

    def __init__(self, names: list[str], models: str = "", more: str = "",
                 folder: Path | None = None):
        self.folder = folder or short_folder()
        self.names = names
        models = models or f"{{name: oracle, backend: oracle, groups: {len(names)}}}"  # one a node
        self.config = write_config(self.folder, names, models, more)
        make_certificates(self.folder, names)
        self.state = self.folder / "state"
        self.nodes = {name: UpNode(self.state / name) for name in names}
        self._known: set[Identity] = set()
        self._log = open(self.folder / "log", "w+b")
        started = time.monotonic()
        self.process = subprocess.Popen([BINARY, "up", "--config", str(self.config), "--state", str(self.state)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log,
                                        start_new_session=True, preexec_fn=_die_with_the_test)
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
        self._known.update(descendants(self.process.pid))
        return [i for i in self._known if i.alive()]

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def interrupt(self) -> None:
        self.notice()
        self.process.send_signal(signal.SIGINT)

    def close(self, failed: bool = False) -> None:
        if self.process.poll() is None:
            self.notice()
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        try:
            poll("processes of a cluster that ended are gone", GONE_S, lambda: not any(i.alive() for i in self._known))
        except AssertionError:
            left = [i for i in self._known if i.alive()]
            for child in left:
                os.kill(child.pid, signal.SIGKILL)
            if not failed:
                raise AssertionError(f"processes outlived troupe up: {left}") from None
        finally:
            if failed:
                print("the log:", self.log()[-8000:], sep="\n", flush=True)
            self._log.close()
            shutil.rmtree(self.folder, ignore_errors=True)
