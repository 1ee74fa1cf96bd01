"""Several nodes of one cluster on this host, each a real `troupe node` with a state folder of its own, over their links."""

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import talk
from cluster_under_test import BINARY, GONE_S, _die_with_the_test, short_folder
from processes import Identity, descendants, poll

FORMED_S = 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Node:
    def __init__(self, folder: Path, name: str):
        self.name, self.state = name, folder / "state" / name
        self._log = open(folder / f"log-{name}", "ab")
        (self.state / "endpoint.json").unlink(missing_ok=True)  # of a former life
        command = [BINARY, "node", "--config", str(folder / "cluster.yaml"), "--name", name, "--state", str(folder / "state")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                                        start_new_session=True, preexec_fn=_die_with_the_test)
        self._known: set[Identity] = set()

    def endpoint(self) -> dict:
        path = self.state / "endpoint.json"
        poll(f"{self.name} has started", 10, path.exists)
        return json.loads(path.read_text())

    def address(self) -> tuple[str, int]:
        """Of its router."""
        host, _, port = self.endpoint()["http"][0].partition("://")[2].rpartition(":")
        return host, int(port)

    def nodes(self) -> dict[str, dict]:
        """What /admin/tree of this node says of every node."""
        self._known.update(descendants(self.process.pid))
        endpoint = self.endpoint()
        host, _, port = endpoint["admin"].removeprefix("http://").rpartition(":")
        token = Path(endpoint["token_path"]).read_text().strip()
        answer = talk.ask((host, int(port)), "GET", "/admin/tree", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 200, answer
        return {n["name"]: n for n in answer.json()["nodes"]}

    def actors(self) -> dict[str, dict]:
        return {a["id"]: a for a in self.nodes()[self.name]["actors"]}

    def kill(self) -> None:
        """kill -9 of the node process: its children go with it."""
        self._known.update(descendants(self.process.pid))
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        poll("children of a killed node are gone", GONE_S, lambda: not any(c.alive() for c in self._known))
        self._log.close()


class Nodes:
    """n1 and n2 head a group of the oracle each, n3 has the router (and one more is on n1). A context manager."""

    names = ("n1", "n2", "n3")

    def __init__(self):
        self.folder = short_folder()
        self.running: dict[str, Node] = {}
        nodes = "".join(f"  - {{name: {n}, host: 127.0.0.1, control_port: {free_port()}}}\n" for n in self.names)
        (self.folder / "cluster.yaml").write_text(
            f"cluster: demo\nnodes:\n{nodes}"
            "routers: [{node: n3, http: 127.0.0.1:0}, {node: n1, http: 127.0.0.2:0}]\n"
            "models: [{name: oracle, backend: oracle, groups: 2, oracle_step: 5ms}]\n"
            "security: {certs: certs}\n")
        self.troupe("certs", "init", "--dir", str(self.folder / "certs"))
        for name in self.names:
            self.troupe("certs", "issue", name, "--dir", str(self.folder / "certs"))

    def troupe(self, *arguments: str) -> str:
        done = subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *names: str) -> None:
        for name in names:
            assert name not in self.running or self.running[name].process.poll() is not None
            self.running[name] = Node(self.folder, name)

    def start_config_drift(self, name: str) -> None:
        """Starts a node anew whose file is not that of the others."""
        self[name].kill()
        config = self.folder / "cluster.yaml"
        text = config.read_text()
        config.write_text(text + "limits: {drain: 7s}\n")
        self.start(name)
        self[name].endpoint()
        config.write_text(text)

    def __getitem__(self, name: str) -> Node:
        return self.running[name]

    def states(self) -> dict[str, dict[str, str]]:
        """By node: how it sees every node."""
        return {name: {n: row["state"] for n, row in node.nodes().items()} for name, node in self.running.items()}

    def formed(self) -> bool:
        """Every node sees every other as ready, and both routers can answer."""
        if set(map(str, self.states().values())) != {str(dict.fromkeys(self.names, "ready"))}:
            return False
        return all(self.ready_groups(router) == 2 for router in ("n1", "n3"))

    def ready_groups(self, router: str) -> int:
        ready = talk.ask(self[router].address(), "GET", "/readyz").json()
        return sum(m["groups_ready"] for m in ready["models"])

    def stream(self, router: str, prompt: str, count: int) -> talk.Stream:
        return talk.Stream(self[router].address(), "/v1/completions", self._request(prompt, count))

    def complete(self, router: str, prompt: str, count: int) -> talk.Answer:
        return talk.ask(self[router].address(), "POST", "/v1/completions", self._request(prompt, count))

    def _request(self, prompt: str, count: int) -> dict:
        return {"model": "oracle", "prompt": prompt, "max_tokens": count, "temperature": 1}

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            for node in self.running.values():
                node.close()
        finally:
            if kind is not None:
                for log in sorted(self.folder.glob("log-*")):
                    print(f"{log.name}:", log.read_text(errors="replace")[-4000:], sep="\n", flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
