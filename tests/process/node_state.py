"""A node as its state directory shows it: where it listens, and what its admin port says."""

import http.client
import json
from pathlib import Path

import talk


def metric_sum(answer: talk.Answer, name: str, **labels: str) -> float:
    """The sum of a series over those of its labels that are not given."""
    values = [line.rpartition(" ")[2] for line in answer.body.decode().splitlines()
              if line.startswith((name + " ", name + "{")) and all(f'{k}="{v}"' in line for k, v in labels.items())]
    assert values, f"no metric {name} {labels or ''}"
    return sum(map(float, values))


def host_and_port(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)


class NodeState:
    def __init__(self, state: Path):
        self.name, self.state = state.name, state

    def endpoint(self) -> dict:
        return json.loads((self.state / "endpoint.json").read_text())

    def pid(self) -> int:
        return self.endpoint()["pid"]

    def address(self) -> tuple[str, int]:
        """Of its router."""
        return host_and_port(self.endpoint()["http"][0])

    def admin(self, path: str) -> talk.Answer:
        endpoint = self.endpoint()
        token = Path(endpoint["token_path"]).read_text().strip()
        return talk.ask(host_and_port(endpoint["admin"]), "GET", path, headers={"Authorization": f"Bearer {token}"})

    def nodes(self) -> dict[str, dict]:
        """What its /admin/tree says of every node, by name."""
        answer = self.admin("/admin/tree")
        assert answer.status == 200, answer
        return {n["name"]: n for n in answer.json()["nodes"]}

    def tree(self) -> dict[str, dict]:
        """The same; empty while it does not answer."""
        try:
            return self.nodes()
        except (OSError, ValueError, http.client.HTTPException):
            return {}

    def own(self) -> dict:
        """Its part of its tree; empty while it does not answer."""
        return self.tree().get(self.name, {})

    def actors(self) -> dict[str, dict]:
        """Its own, by id."""
        return {a["id"]: a for a in self.nodes()[self.name]["actors"]}

    def ready(self) -> bool:
        return self.own().get("state") == "ready"

    def metric(self, name: str, **labels: str) -> float:
        """Of the node; a router has its own."""
        return metric_sum(self.admin("/metrics"), name, **labels)
