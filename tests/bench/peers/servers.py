"""A server of either side: started on a free port, asked, and ended by its pid. Nothing of it is left behind."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peer_build import ROOT

sys.path.insert(0, str(ROOT / "tests" / "process"))
from processes import descendants, poll  # noqa: E402

TROUPE = os.environ.get("TROUPE_BINARY") or str(ROOT / "build" / "release" / "troupe")
READY_S, END_S = 120, 30
CONTEXT, SLOTS = 16384, 16


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A context manager. `side` is what made the command: sides.Troupe or sides.Llama."""

    enter: list[str] = []  # what a client's command begins with

    def __init__(self, side, *extra: str):
        self.side, self.port = side, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="peer-", dir="/tmp"))
        self._log = open(self.folder / "log", "w+b")
        command, environment = side.serve(self.port, self.folder / "state")
        self.started = time.monotonic()
        self._process = subprocess.Popen([*command, *extra], env=os.environ | environment, stdin=subprocess.DEVNULL,
                                         stdout=self._log, stderr=self._log, start_new_session=True)

    def __enter__(self):
        return self

    def wait_ready(self) -> "Server":
        def ready() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.side.name} ended: {self.log()[-2000:]}")
            try:
                return self.get("/readyz" if self.side.name == "troupe" else "/health")[0] == 200
            except OSError:
                return False

        poll(f"{self.side.name} ready", READY_S, ready, pause=0.02)
        return self

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _ask(self, method: str, path: str, body=None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as e:
            raise OSError(f"no HTTP answer: {e}") from e
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        return self._ask("GET", path)

    def post(self, path: str, body: dict) -> dict:
        status, answer = self._ask("POST", path, body)
        if status != 200:
            raise RuntimeError(f"{self.side.name} answered {status} to {path}: {answer[:500]!r}")
        return json.loads(answer)

    def __exit__(self, kind, *_):
        children = descendants(self._process.pid)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_S if kind is None else 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:
            if child.alive():
                os.kill(child.pid, signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
