"""A cluster of several nodes, each on a host of its own (hosts.py), for one test; leaves no process behind."""

import http.client
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import talk
from cluster_under_test import BINARY, GONE_S, READY_S, _die_with_the_test, short_folder
from hosts import Hosts
from processes import Identity, descendants, poll
from up_under_test import make_certificates

CONTROL_PORT, HTTP_PORT = 7400, 8080
DRAINED_S = 30  # a node without requests


class HostNode:
    """`troupe node` on a host. Its ports are asked from inside that host."""

    def __init__(self, cluster: "ClusterOnHosts", name: str, port: int):
        self._cluster, self.name = cluster, name
        self.state = cluster.folder / "state" / name
        self.address = ("127.0.0.1", port)
        self._log = open(cluster.folder / f"log-{name}", "ab")
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [BINARY, "node", "--config", str(self._cluster.config), "--name", self.name,
                   "--state", str(self._cluster.folder / "state")]
        self.process = subprocess.Popen(self._cluster.hosts.command(self.name, *command), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True,
                                        preexec_fn=_die_with_the_test)

    def kill(self) -> None:
        self._cluster.notice()
        self.process.kill()
        self.process.wait()

    def drain(self) -> int:
        """Its exit code."""
        self._cluster.notice()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DRAINED_S)

    def admin(self, path: str) -> talk.Answer:
        endpoint = json.loads((self.state / "endpoint.json").read_text())
        host, _, port = endpoint["admin"].removeprefix("http://").rpartition(":")
        token = Path(endpoint["token_path"]).read_text().strip()
        with self._cluster.hosts.on(self.name):
            return talk.ask((host, int(port)), "GET", path, headers={"Authorization": f"Bearer {token}"})

    def tree(self) -> dict[str, dict]:
        """The nodes by name, as this one knows them; empty while it does not answer."""
        try:
            return {n["name"]: n for n in self.admin("/admin/tree").json()["nodes"]}
        except (OSError, ValueError, http.client.HTTPException):
            return {}

    def actor(self, actor: str) -> dict:
        """A row of its own part of the tree."""
        return next((a for a in self.tree().get(self.name, {"actors": []})["actors"] if a["id"] == actor), {})

    def ready(self) -> bool:
        return self.tree().get(self.name, {}).get("state") == "ready"

    def metric(self, name: str, **labels: str) -> float:
        """Of the node; the router has its own."""
        return self._sum(self.admin("/metrics"), name, labels)

    def router_metric(self, name: str, **labels: str) -> float:
        return self._sum(self.ask("GET", "/metrics?compat=none"), name, labels)

    @staticmethod
    def _sum(answer: talk.Answer, name: str, labels: dict[str, str]) -> float:
        lines = answer.body.decode().splitlines()
        values = [line.rpartition(" ")[2] for line in lines
                  if line.startswith((name + " ", name + "{")) and all(f'{k}="{v}"' in line for k, v in labels.items())]
        assert values, f"no metric {name} {labels or ''}"
        return sum(map(float, values))

    # -- its router

    def ask(self, method: str, path: str, body: dict | None = None) -> talk.Answer:
        with self._cluster.hosts.on(self.name):
            return talk.ask(self.address, method, path, body)

    def request(self, prompt: str, count: int, **options) -> dict:
        """Not cacheable: it is drawn, without a seed. The oracle answers the same all the same."""
        return {"model": "oracle", "prompt": prompt, "max_tokens": count, "temperature": 1} | options

    def complete(self, prompt: str, count: int, **options) -> talk.Answer:
        return self.ask("POST", "/v1/completions", self.request(prompt, count, **options))

    def stream(self, prompt: str, count: int, **options) -> talk.Stream:
        with self._cluster.hosts.on(self.name):
            return talk.Stream(self.address, "/v1/completions", self.request(prompt, count, **options))

    def log(self) -> str:
        return (self._cluster.folder / f"log-{self.name}").read_text(errors="replace")


class ClusterOnHosts:
    """Use as a context manager: entered once every node is ready. A node a host, a router each."""

    def __init__(self, names: list[str], models: str = "", more: str = "", devices: dict[str, int] | None = None):
        """`devices`: slots for ranks, of nodes that have more than one."""
        self.folder = short_folder()
        self._known: set[Identity] = set()
        self.nodes: dict[str, HostNode] = {}
        self.hosts = Hosts(names)
        try:
            slots = {n: ", ".join(f"cpu:{i}" for i in range((devices or {}).get(n, 1))) for n in names}
            nodes = "".join(f"  - {{name: {n}, host: {a}, control_port: {CONTROL_PORT}, devices: [{slots[n]}]}}\n"
                            for n, a in self.hosts.addresses.items())
            routers = "".join(f"  - {{node: {n}, http: 127.0.0.1:{HTTP_PORT + i}}}\n" for i, n in enumerate(names))
            models = models or f"{{name: oracle, backend: oracle, groups: {len(names)}}}"  # one a node
            self.config = self.folder / "cluster.yaml"
            self.config.write_text(f"cluster: hosts\nnodes:\n{nodes}routers:\n{routers}models:\n  - {models}\n"
                                   f"security: {{certs: certs}}\n{more}")
            make_certificates(self.folder, names)
            self.nodes = {name: HostNode(self, name, HTTP_PORT + i) for i, name in enumerate(names)}
            for node in self.nodes.values():
                node.start()
            poll("every node is ready", READY_S, lambda: all(n.ready() for n in self.nodes.values()))
            self.notice()
        except BaseException:
            self.close(failed=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(failed=kind is not None)

    def __getitem__(self, name: str) -> HostNode:
        return self.nodes[name]

    def others(self, name: str) -> list[HostNode]:
        return [n for n in self.nodes.values() if n.name != name]

    def notice(self) -> None:
        for node in self.nodes.values():
            if node.process and node.process.poll() is None:
                self._known.update(descendants(node.process.pid))

    def close(self, failed: bool = False) -> None:
        self.notice()
        for node in self.nodes.values():
            if node.process:
                node.process.kill()
                node.process.wait()
        try:
            poll("processes of nodes that ended are gone", GONE_S, lambda: not any(i.alive() for i in self._known))
        except AssertionError:
            left = [i for i in self._known if i.alive()]
            for child in left:
                os.kill(child.pid, 9)
            if not failed:
                raise AssertionError(f"processes outlived their node: {left}") from None
        finally:
            for node in self.nodes.values():
                if failed:
                    print(f"the log of {node.name}:", node.log()[-4000:], sep="\n", flush=True)
                node._log.close()
            self.hosts.close()
            shutil.rmtree(self.folder, ignore_errors=True)
