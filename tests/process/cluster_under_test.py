"""A real one-node cluster for one test: starts `troupe serve`, knows its processes, and leaves none behind."""

import os
import shutil
import signal
import time

import talk
from node_state import NodeState, host_and_port, metric_sum
from processes import Identity, poll
from started import BINARY, READY_S, Family, read_line, short_folder, start


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
        self._family = Family()
        self.n1 = NodeState(self.state / "n1")
        started = time.monotonic()
        self.node = start(command, self._log)
        try:
            line = read_line(self.node.stdout, ready_s)
            self.ready_after = time.monotonic() - started
            if not line.startswith("ready http"):
                raise AssertionError(f"{' '.join(command)} printed {line!r} instead of a ready line")
            self.url = line.split()[1]
            self.address = host_and_port(self.url)
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
        self._family.notice(self.node)

    def processes(self) -> list[Identity]:
        self.notice()
        return self._family.alive()

    def pids(self) -> list[int]:
        """Of the node and its children."""
        return [self.node.pid, *(i.pid for i in self.processes())]

    def tree(self) -> dict:
        """/admin/tree, by the token and port in endpoint.json."""
        self.notice()
        answer = self.n1.admin("/admin/tree")
        assert answer.status == 200, answer
        return answer.json()

    def endpoint(self) -> dict:
        return self.n1.endpoint()

    def actors(self, role: str) -> list[dict]:
        return [a for n in self.tree()["nodes"] for a in n["actors"] if a["role"] == role]

    def actor(self, role: str) -> dict:
        found = self.actors(role)
        assert len(found) == 1, f"{len(found)} actors of role {role}: {found}"
        return found[0]

    def kill(self, role: str, how: int = signal.SIGKILL) -> dict:
        """Sends the signal to the process of that role; gives its row from before."""
        row = self.actor(role)
        assert row["pid"] in self._family.pids(), f"{row} is no process of this cluster"
        os.kill(row["pid"], how)
        return row

    def kill_row(self, row: dict, how: int = signal.SIGKILL) -> None:
        """Sends the signal to the process of a row that actors() gave."""
        assert row["pid"] in self._family.pids(), f"{row} is no process of this cluster"
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
        """Of the router: the sum of a series over those of its labels that are not given."""
        return metric_sum(self.get("/metrics?compat=none"), name, **labels)

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
        self.notice()
        self.node.kill()
        self.node.wait()
        self.node.stdout.close()
        left = self._family.outlived()
        if failed:
            print("the node's log:", self.log()[-8000:], sep="\n", flush=True)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if left and not failed:
            raise AssertionError(f"processes outlived their node: {left}")
