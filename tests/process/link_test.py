"""Two nodes of one config, each with a link process: what strangers get, and what a killed link costs."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import talk
from cluster_under_test import BINARY, READY_S, read_line, short_folder
from process_case import ProcessCase, run_tests
from processes import descendants, poll


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Node:
    """`troupe node` of a config, with its own state below `folder`."""

    def __init__(self, folder: Path, name: str):
        self.state = folder / "state" / name
        self._log = open(folder / f"log-{name}", "w+b")
        command = [BINARY, "node", "--config", str(folder / "cluster.yaml"), "--name", name, "--state", str(folder / "state")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log,
                                        start_new_session=True)
        line = read_line(self.process.stdout, READY_S)
        if not line.startswith("ready http"):
            self.close()
            raise AssertionError(f"node {name} printed {line!r} instead of a ready line: {self.log()}")
        host, _, port = line.split()[1].partition("://")[2].rpartition(":")
        self.address = (host, int(port))

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def actors(self) -> dict[str, dict]:
        endpoint = json.loads((self.state / "endpoint.json").read_text())
        host, _, port = endpoint["admin"].removeprefix("http://").rpartition(":")
        token = Path(endpoint["token_path"]).read_text().strip()
        answer = talk.ask((host, int(port)), "GET", "/admin/tree", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 200, answer
        return {a["id"]: a for n in answer.json()["nodes"] for a in n["actors"]}

    def close(self) -> None:
        children = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        poll("children of a killed node are gone", 5, lambda: not any(c.alive() for c in children))
        self._log.close()


class LinkProcess(ProcessCase):
    def setUp(self):
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.ports = {"n1": free_port(), "n2": free_port()}
        self.write_config("certs: certs")

    def write_config(self, security: str) -> None:
        nodes = "".join(f"  - {{name: {n}, host: 127.0.0.1, control_port: {p}}}\n" for n, p in self.ports.items())
        (self.folder / "cluster.yaml").write_text(
            f"cluster: demo\nnodes:\n{nodes}"
            "routers: [{node: n1, http: 127.0.0.1:0}, {node: n2, http: 127.0.0.2:0}]\n"
            "models: [{name: oracle, backend: oracle, groups: 2}]\n"
            f"security: {{{security}}}\n")

    def troupe(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr.strip().splitlines()[-1]

    def make_certificates(self, *nodes: str) -> None:
        certs = str(self.folder / "certs")
        self.troupe("certs", "init", "--dir", certs)
        for node in nodes:
            self.troupe("certs", "issue", node, "--dir", certs)

    def start(self, name: str) -> Node:
        node = Node(self.folder, name)
        self.addCleanup(node.close)
        return node

    def hears_the_node_of(self, door: Path) -> bool:
        """A node greets whoever connects to its socket; a link that can't reach it closes the door's connection."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            try:
                s.connect(str(door))
                return len(s.recv(1)) == 1
            except OSError:
                return False

    def test_a_killed_link_comes_back_and_nothing_else_restarts(self):
        self.make_certificates("n1", "n2")
        n1, n2 = self.start("n1"), self.start("n2")
        door = n1.state / "dn1.sock"
        poll("n1 reaches the node process of n2", 10, lambda: self.hears_the_node_of(door))
        before = n1.actors()
        self.assertEqual(before["n1/link"]["role"], "link")
        self.assertEqual(before["n1/link"]["state"], "ready")
        for node in (n1, n2):
            link = node.actors()[f"{node.state.name}/link"]
            subprocess.run(["kill", "-9", str(link["pid"])], check=True)
            poll("another link runs", 10, lambda: node.actors()[f"{node.state.name}/link"]["pid"] not in (0, link["pid"])
                 and node.actors()[f"{node.state.name}/link"]["state"] == "ready")
            poll("the door leads to n2 again", 10, lambda: self.hears_the_node_of(door))
        after = n1.actors()
        for actor, row in before.items():
            if actor != "n1/link":
                self.assertEqual((after[actor]["pid"], after[actor]["restarts"]), (row["pid"], row["restarts"]), actor)
        self.assertEqual(after["n1/link"]["restarts"], 1)

    def test_strangers_are_refused_on_the_port(self):
        self.make_certificates("n1", "n2")
        n1 = self.start("n1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["basp"])
        with socket.create_connection(("127.0.0.1", self.ports["n1"]), timeout=10) as plain:
            with self.assertRaises(OSError), context.wrap_socket(plain) as tls:
                tls.settimeout(10)
                if not tls.recv(1):  # TLS 1.3: the client is done before the server judged it
                    raise OSError("closed")
        self.assertEqual(n1.actors()["n1/link"]["state"], "ready")
        # The node is the only one who may read what the link has.
        self.assertEqual((n1.state / "dn1.sock").stat().st_mode & 0o777, 0o600)

    def test_a_start_without_certificates_says_what_to_make(self):
        arguments = ("node", "--config", str(self.folder / "cluster.yaml"), "--name", "n1", "--state", str(self.folder / "s"))
        self.make_certificates("n2")
        self.assertEqual(self.troupe(*arguments, code=1),
                         f"troupe: {self.folder}/certs/n1.pem can't be read (No such file or directory); "
                         f"troupe certs issue n1 --dir {self.folder}/certs makes it")
        self.write_config("api_keys_file: keys.txt")
        self.assertEqual(self.troupe(*arguments, code=1),
                         "troupe: several nodes need security.certs in the config; make the folder with troupe certs "
                         "init and troupe certs issue")

    def test_a_wrong_flag_of_certs_is_named(self):
        said = self.troupe("certs", "issue", "n1", "--dri", str(self.folder), code=2)
        self.assertIn("troupe certs issue has no flag --dri, did you mean --dir?", said)


if __name__ == "__main__":
    sys.exit(run_tests())
