"""Two nodes of one config, each with a link process: what strangers get, and what a killed link costs."""

import os
import shutil
import signal
import socket
import ssl
import sys
from pathlib import Path

from cluster_files import make_certificates, on_this_host, write_config
from node_state import NodeState
from process_case import ProcessCase, run_tests
from processes import poll
from started import BINARY, READY_S, Family, read_line, short_folder, start, troupe


class Node(NodeState):
    """`troupe node` of a config, with its own state below `folder`."""

    def __init__(self, folder: Path, name: str):
        super().__init__(folder / "state" / name)
        self._log = open(folder / f"log-{name}", "w+b")
        command = [BINARY, "node", "--config", str(folder / "cluster.yaml"), "--name", name, "--state", str(folder / "state")]
        self.process = start(command, self._log)
        self._family = Family()
        line = read_line(self.process.stdout, READY_S)
        if not line.startswith("ready http"):
            said = self.log()
            self.close()
            raise AssertionError(f"node {name} printed {line!r} instead of a ready line: {said}")

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def close(self) -> None:
        self._family.notice(self.process)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._log.close()
        if left := self._family.outlived():
            raise AssertionError(f"processes outlived their node: {left}")


class LinkProcess(ProcessCase):
    def setUp(self):
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.hosts = on_this_host(["n1", "n2"])
        self.config = write_config(self.folder, self.hosts, {"n1": "127.0.0.1:0", "n2": "127.0.0.2:0"},
                                   "{name: oracle, backend: oracle, groups: 2}")

    def troupe(self, *arguments: str, code: int = 0) -> str:
        done = troupe(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr.strip().splitlines()[-1]

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
        make_certificates(self.folder, ["n1", "n2"])
        n1, n2 = self.start("n1"), self.start("n2")
        door = n1.state / "dn1.sock"
        poll("n1 reaches the node process of n2", 10, lambda: self.hears_the_node_of(door))
        before = n1.actors() | n2.actors()
        for link in ("n1/link", "n2/link"):
            self.assertEqual((before[link]["role"], before[link]["state"]), ("link", "ready"))
        for node in (n1, n2):
            killed = before[f"{node.name}/link"]["pid"]
            os.kill(killed, signal.SIGKILL)
            poll("another link runs", 10,
                 lambda: (row := node.actors()[f"{node.name}/link"])["pid"] not in (0, killed) and row["state"] == "ready")
            poll("the door leads to n2 again", 10, lambda: self.hears_the_node_of(door))
        after = n1.actors() | n2.actors()
        for actor, row in before.items():
            if row["role"] == "link":
                self.assertEqual(after[actor]["restarts"], 1, actor)
            else:
                self.assertEqual((after[actor]["pid"], after[actor]["restarts"]), (row["pid"], row["restarts"]), actor)

    def test_strangers_are_refused_on_the_port(self):
        make_certificates(self.folder, ["n1", "n2"])
        n1 = self.start("n1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["basp"])
        with socket.create_connection(self.hosts["n1"], timeout=10) as plain:
            with self.assertRaises(OSError), context.wrap_socket(plain) as tls:
                tls.settimeout(10)
                if not tls.recv(1):  # TLS 1.3: the client is done before the server judged it
                    raise OSError("closed")
        self.assertEqual(n1.actors()["n1/link"]["state"], "ready")
        # The node is the only one who may read what the link has.
        self.assertEqual((n1.state / "dn1.sock").stat().st_mode & 0o777, 0o600)

    def test_a_start_without_certificates_says_what_to_make(self):
        arguments = ("node", "--config", str(self.config), "--name", "n1", "--state", str(self.folder / "s"))
        make_certificates(self.folder, ["n2"])
        self.assertEqual(self.troupe(*arguments, code=1),
                         f"troupe: {self.folder}/certs/n1.pem can't be read (No such file or directory); "
                         f"troupe certs issue n1 --dir {self.folder}/certs makes it")
        self.config.write_text(self.config.read_text().replace("certs: certs", "api_keys_file: keys.txt"))
        self.assertEqual(self.troupe(*arguments, code=1),
                         "troupe: several nodes need security.certs in the config; make the folder with troupe certs "
                         "init and troupe certs issue")

    def test_a_wrong_flag_of_certs_is_named(self):
        said = self.troupe("certs", "issue", "n1", "--dri", str(self.folder), code=2)
        self.assertIn("troupe certs issue has no flag --dri, did you mean --dir?", said)


if __name__ == "__main__":
    sys.exit(run_tests())
