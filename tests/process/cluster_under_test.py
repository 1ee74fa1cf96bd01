"""A real one-node cluster for one test: starts `troupe serve`, knows its processes, and leaves none behind.

The binary is the environment's TROUPE_BINARY, else build/release/troupe.
"""

import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import talk
from processes import Identity, descendants, poll

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TROUPE_BINARY") or str(ROOT / "build" / "release" / "troupe")
MODEL = str(Path(os.environ.get("TROUPE_DEPS") or ROOT / ".deps") / "models" / "smollm2.gguf")
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


class Cluster:
    """Use as a context manager. `arguments` follow `troupe serve`; the oracle backend unless a model is given. `under`: a
    tool that runs the command and dies with it."""

    def __init__(self, *arguments: str, model: str | None = None, ready_s: float = READY_S, under: tuple[str, ...] = ()):
        self.folder = short_folder()
        self.state = self.folder / "state"
        self._log = open(self.folder / "log", "w+b")
        source = [model, "--name", "smollm2"] if model else ["--backend", "oracle"]
        self.model = "smollm2" if model else "oracle"
        command = [*under, BINARY, "serve", *source, "--port", "0", "--state", str(self.state), *arguments]
        self._known: set[Identity] = set()
        started = time.monotonic()
        self.node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log,
                                     start_new_session=True, preexec_fn=_die_with_the_test)
        try:
            line = read_line(self.node.stdout, ready_s)
            self.ready_after = time.monotonic() - started
            if not line.startswith("ready http"):
                raise AssertionError(f"{' '.join(command)} printed {line!r} instead of a ready line")
            self.url = line.split()[1]
            host, _, port = self.url.partition("://")[2].rpartition(":")
            self.address = (host, int(port))
            self.notice()
        except BaseException:
            self.close(failed=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(failed=kind is not None)

    # -- processes

    def notice(self) -> None:
        """Remembers every process there is now, to look for it at the end."""
        self._known.update(descendants(self.node.pid))

    def processes(self) -> list[Identity]:
        self.notice()
        return [i for i in self._known if i.alive()]

    def pids(self) -> list[int]:
        """Of the node and its children."""
        return [self.node.pid, *(i.pid for i in self.processes())]

    def tree(self) -> dict:
        """/admin/tree, by the token and port in endpoint.json."""
        self.notice()
        endpoint = self.endpoint()
        host, _, port = endpoint["admin"].removeprefix("http://").rpartition(":")
        token = Path(endpoint["token_path"]).read_text().strip()
        answer = talk.ask((host, int(port)), "GET", "/admin/tree", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 200, answer
        return answer.json()

    def endpoint(self) -> dict:
        return json.loads((self.state / "n1" / "endpoint.json").read_text())

    def actors(self, role: str) -> list[dict]:
        return [a for n in self.tree()["nodes"] for a in n["actors"] if a["role"] == role]

    def actor(self, role: str) -> dict:
        found = self.actors(role)
        assert len(found) == 1, f"{len(found)} actors of role {role}: {found}"
        return found[0]

    def kill(self, role: str, how: int = signal.SIGKILL) -> dict:
        """Sends the signal to the process of that role; gives its row from before."""
        row = self.actor(role)
        assert row["pid"] in {i.pid for i in self._known}, f"{row} is no process of this cluster"
        os.kill(row["pid"], how)
        return row

    def kill_row(self, row: dict, how: int = signal.SIGKILL) -> None:
        """Sends the signal to the process of a row that actors() gave."""
        assert row["pid"] in {i.pid for i in self._known}, f"{row} is no process of this cluster"
        os.kill(row["pid"], how)

    def successor(self, role: str, of: dict) -> dict | None:
        """The actor's row once another process has taken over from that in row `of` and is ready."""
        row = self.actor(role)
        return row if row["state"] == "ready" and row["pid"] not in (0, of["pid"]) else None

    # -- requests

    def get(self, path: str, **options) -> talk.Answer:
        return talk.ask(self.address, "GET", path, **options)

    def post(self, path: str, body: dict, **options) -> talk.Answer:
        return talk.ask(self.address, "POST", path, body, **options)

    def complete(self, prompt: str, count: int, **options) -> talk.Answer:
        return self.post("/v1/completions", self.request(prompt, count, **options))

    def stream(self, prompt: str, count: int, **options) -> talk.Stream:
        return talk.Stream(self.address, "/v1/completions", self.request(prompt, count, **options))

    def request(self, prompt: str, count: int, **options) -> dict:
        """Not cacheable unless told: it is drawn, without a seed. The oracle answers the same all the same."""
        return {"model": self.model, "prompt": prompt, "max_tokens": count, "temperature": 1} | options

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a series over those of its labels that are not given, from /metrics."""
        values = [line.rpartition(" ")[2] for line in self.get("/metrics?compat=none").body.decode().splitlines()
                  if line.startswith((name + " ", name + "{")) and all(f'{k}="{v}"' in line for k, v in labels.items())]
        assert values, f"no metric {name} {labels or ''}"
        return sum(map(float, values))

    def wait_ready(self) -> None:
        poll("readyz", READY_S, lambda: self.get("/readyz").status == 200)

    def log(self) -> str:
        self._log.flush()
        return (self.folder / "log").read_text(errors="replace")

    # -- the end

    def signal(self, number: int) -> None:
        self.node.send_signal(number)

    def stop(self, seconds: float = 40) -> int:
        """SIGTERM; the exit code."""
        self.notice()
        self.signal(signal.SIGTERM)
        return self.node.wait(seconds)

    def close(self, failed: bool = False) -> None:
        """Ends the node whatever it does. A child that outlives it for GONE_S is a failure of the test."""
        if self.node.poll() is None:
            self.notice()
            self.node.kill()
        self.node.wait()
        self.node.stdout.close()
        try:
            poll("children of a node that ended are gone", GONE_S, lambda: not any(i.alive() for i in self._known))
        except AssertionError:
            left = [i for i in self._known if i.alive()]
            for child in left:
                os.kill(child.pid, signal.SIGKILL)
            if not failed:
                raise AssertionError(f"processes outlived their node: {left}") from None
        finally:
            if failed:
                print("the node's log:", self.log()[-8000:], sep="\n", flush=True)
            self._log.close()
            shutil.rmtree(self.folder, ignore_errors=True)
