"""A cluster of several nodes, each on a host of its own (hosts.py), for one test; leaves no process behind."""

import shutil
import signal
import subprocess

import talk
from cluster_files import make_certificates, one_group_a_node, write_config
from hosts import Hosts
from node_state import NodeState, metric_sum
from processes import poll
from started import BINARY, READY_S, Family, short_folder, start

CONTROL_PORT, HTTP_PORT = 7400, 8080
DRAINED_S = 30  # a node without requests


class HostNode(NodeState):
    """`troupe node` on a host. Its ports are asked from inside that host."""

    def __init__(self, cluster: "ClusterOnHosts", name: str, port: int):
        super().__init__(cluster.folder / "state" / name)
        self._cluster = cluster
        self._router = ("127.0.0.1", port)
        self._log = open(cluster.folder / f"log-{name}", "ab")
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [BINARY, "node", "--config", str(self._cluster.config), "--name", self.name,
                   "--state", str(self._cluster.folder / "state")]
        self.process = start(self._cluster.hosts.command(self.name, *command), self._log, subprocess.DEVNULL)

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
        with self._cluster.hosts.on(self.name):
            return super().admin(path)

    def actor(self, actor: str) -> dict:
        """A row of its own part of the tree."""
        return next((a for a in self.own().get("actors", []) if a["id"] == actor), {})

    def router_metric(self, name: str, **labels: str) -> float:
        return metric_sum(self.ask("GET", "/metrics?compat=none"), name, **labels)

    # -- its router

    def ask(self, method: str, path: str, body: dict | None = None) -> talk.Answer:
        with self._cluster.hosts.on(self.name):
            return talk.ask(self._router, method, path, body)

    def request(self, prompt: str, count: int, **options) -> dict:
        """Not cacheable: it is drawn, without a seed. The oracle answers the same all the same."""
        return {"model": "oracle", "prompt": prompt, "max_tokens": count, "temperature": 1} | options

    def complete(self, prompt: str, count: int, **options) -> talk.Answer:
        return self.ask("POST", "/v1/completions", self.request(prompt, count, **options))

    def stream(self, prompt: str, count: int, **options) -> talk.Stream:
        with self._cluster.hosts.on(self.name):
            return talk.Stream(self._router, "/v1/completions", self.request(prompt, count, **options))

    def log(self) -> str:
        return (self._cluster.folder / f"log-{self.name}").read_text(errors="replace")


class ClusterOnHosts:
    """Use as a context manager: entered once every node is ready. A node a host, a router each."""

    def __init__(self, names: list[str], models: str = "", more: str = "", devices: dict[str, int] | None = None):
        """`devices`: slots for ranks, of nodes that have more than one."""
        self.folder = short_folder()
        self._family = Family()
        self.nodes: dict[str, HostNode] = {}
        self.hosts = Hosts(names)
        try:
            places = {name: (address, CONTROL_PORT) for name, address in self.hosts.addresses.items()}
            routers = {name: f"127.0.0.1:{HTTP_PORT + i}" for i, name in enumerate(names)}
            self.config = write_config(self.folder, places, routers, models or one_group_a_node(names), more,
                                       devices)
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
            if node.process:
                self._family.notice(node.process)

    def close(self, failed: bool = False) -> None:
        self.notice()
        for node in self.nodes.values():
            if node.process:
                node.process.kill()
                node.process.wait()
        left = self._family.outlived()
        for node in self.nodes.values():
            if failed:
                print(f"the log of {node.name}:", node.log()[-4000:], sep="\n", flush=True)
            node._log.close()
        self.hosts.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if left and not failed:
            raise AssertionError(f"processes outlived their node: {left}")
