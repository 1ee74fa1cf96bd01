"""Several nodes of one cluster on this host, each a real `troupe node` with a state folder of its own, over their links."""

import shutil
from pathlib import Path

import talk
from cluster_files import make_certificates, on_this_host, write_config
from node_state import NodeState
from processes import poll
from started import BINARY, Family, short_folder, start, troupe

FORMED_S = 3


class Node(NodeState):
    def __init__(self, folder: Path, name: str):
        super().__init__(folder / "state" / name)
        self._log = open(folder / f"log-{name}", "ab")
        (self.state / "endpoint.json").unlink(missing_ok=True)  # of a former life
        command = [BINARY, "node", "--config", str(folder / "cluster.yaml"), "--name", name, "--state", str(folder / "state")]
        self.process = start(command, self._log, self._log)
        self._family = Family()

    def endpoint(self) -> dict:
        poll(f"{self.name} has started", 10, (self.state / "endpoint.json").exists)
        return super().endpoint()

    def nodes(self) -> dict[str, dict]:
        self._family.notice(self.process)
        return super().nodes()

    def kill(self) -> None:
        """kill -9 of the node process: its children go with it."""
        self._family.notice(self.process)
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._log.close()
        if left := self._family.outlived():
            raise AssertionError(f"processes outlived their node: {left}")


class Nodes:
    """n1 and n2 head a group of the oracle each, n3 has the router (and one more is on n1). A context manager."""

    names = ("n1", "n2", "n3")

    def __init__(self):
        self.folder = short_folder()
        self.running: dict[str, Node] = {}
        write_config(self.folder, on_this_host(list(self.names)), {"n3": "127.0.0.1:0", "n1": "127.0.0.2:0"},
                     "{name: oracle, backend: oracle, groups: 2, oracle_step: 5ms}")
        make_certificates(self.folder, list(self.names))

    def troupe(self, *arguments: str) -> str:
        done = troupe(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *names: str) -> None:
        for name in names:
            assert name not in self.running or self.running[name].process.poll() is not None
            self.running[name] = Node(self.folder, name)

    def start_config_drift(self, name: str) -> None:
        """Starts a node anew whose file is not that of the others."""
        self[name].kill()
        self.start_with(name, lambda text: text + "limits: {drain: 7s}\n")

    def start_with(self, name: str, change) -> None:
        """Starts a node by a file that only it sees: change(text of the others' file)."""
        config = self.folder / "cluster.yaml"
        text = config.read_text()
        config.write_text(change(text))
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
