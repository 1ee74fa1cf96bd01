"""A model file that a node lacks comes from another one by its digest, and only right bytes are ever served."""

import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import talk
from cluster_files import make_certificates, on_this_host, write_config
from nodes_under_test import Node
from process_case import ProcessCase, run_tests
from processes import poll, report, within
from started import ROOT, short_folder

TINY = (ROOT / "tests" / "golden" / "tiny" / "llama3" / "llama3-f32.gguf").read_bytes()
DIGEST = hashlib.sha256(TINY).hexdigest()
OTHER = TINY[:-1] + bytes([TINY[-1] ^ 1])
FOUND_S = 2  # once another node has the file
SOON_S = 15


class Host:
    """A folder of its own for a node, as it would have on a host of its own: config, certificates, perhaps the model."""

    def __init__(self, top: Path, name: str, config: str):
        self.name, self.folder = name, top / name
        self.folder.mkdir()
        shutil.copytree(top / "certs", self.folder / "certs")
        (self.folder / "cluster.yaml").write_text(config)
        self.model = self.folder / "model.gguf"
        self.models = self.folder / "state" / name / "models"
        self.copy, self.part = self.models / f"{DIGEST}.gguf", self.models / f"{DIGEST}.part"
        self.node: Node | None = None

    def start(self) -> None:
        self.node = Node(self.folder, self.name)
        self.node.endpoint()

    def restart(self) -> None:
        self.node.kill()
        self.start()

    def shard(self) -> dict:
        return next(a for a in self.node.actors().values() if a["role"] == "shard")

    def reason(self) -> str:
        return self.shard().get("reason", "")

    def group_ready(self) -> bool:
        return self.shard()["state"] == "ready"

    def answer(self) -> str:
        body = {"model": "tiny", "prompt": "hello", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        return talk.ask(self.node.address(), "POST", "/v1/completions", body).text()

    def log(self) -> str:
        return (self.folder / f"log-{self.name}").read_text(errors="replace")


class Hosts:
    """n1 and n2 serve a group of the tiny model each, or one together, and have a router each. A context manager."""

    def __init__(self, *with_model: str, layout: str = "groups: 2", digest: str = f", sha256: {DIGEST}"):
        self.top = short_folder()
        names = ["n1", "n2"]
        make_certificates(self.top, names)
        config = write_config(self.top, on_this_host(names), {"n1": "127.0.0.1:0", "n2": "127.0.0.2:0"},
                              f"{{name: tiny, source: model.gguf{digest}, {layout}, threads: 1}}").read_text()
        self.n1, self.n2 = (Host(self.top, name, config) for name in names)
        for host in (self.n1, self.n2):
            if host.name in with_model:
                host.model.write_bytes(TINY)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            for host in (self.n1, self.n2):
                if host.node:
                    host.node.close()
        finally:
            if kind is not None:
                for host in (self.n1, self.n2):
                    if host.node:
                        print(f"{host.name}:", host.log()[-4000:], sep="\n", flush=True)
            shutil.rmtree(self.top, ignore_errors=True)


class Files(ProcessCase):
    def test_a_missing_file_comes_from_the_node_that_has_it(self):
        with Hosts("n1") as hosts:
            n1, n2 = hosts.n1, hosts.n2
            n2.start()
            poll("n2 says what it lacks", SOON_S, lambda: "n1 does not answer" in n2.reason())
            self.assertEqual(n2.reason(), f"{n2.model} is not there, and no other node sends it (n1 does not answer); "
                                          "put the right file there, or start a node that has it")
            ready = talk.ask(n2.node.address(), "GET", "/readyz")
            self.assertEqual(ready.status, 503)
            self.assertIn(n2.reason(), ready.json()["reason"])
            self.assertEqual(n2.shard()["restarts"], 0)  # waiting costs it nothing of its budget
            n1.start()
            poll("n1 serves", SOON_S, n1.group_ready)
            within(FOUND_S, "n2 has fetched the model and serves it", n2.group_ready)
            self.assertEqual(n2.copy.read_bytes(), TINY)
            self.assertEqual(n2.copy.stat().st_mode & 0o777, 0o600)
            self.assertEqual(list(n2.models.glob("*.part")), [])
            self.assertFalse(n1.models.exists() and list(n1.models.glob("*.gguf")))  # it uses its own
            poll("n1 has counted it", SOON_S, lambda: n1.node.metric("troupe_file_transfers_sent_total") == 1)
            self.assertEqual(n1.node.metric("troupe_file_sent_bytes_total"), len(TINY))
            self.assertEqual(n2.node.metric("troupe_files_fetched_total"), 1)
            text = n1.answer()
            # A killed rank has its file looked at again, and nothing is fetched twice.
            os.kill(n2.shard()["pid"], signal.SIGKILL)
            poll("n2 serves again", SOON_S, lambda: n2.shard()["restarts"] == 1 and n2.group_ready())
            self.assertEqual(n2.node.metric("troupe_files_fetched_total"), 1)
            # Alone, n2 answers by what it fetched, also in another life.
            n1.node.kill()
            n2.restart()
            poll("n2 serves by its copy", SOON_S, n2.group_ready)
            self.assertEqual(n2.answer(), text)

    def test_a_router_serves_a_model_whose_file_is_elsewhere(self):
        with Hosts("n1", layout="groups: 1", digest="") as hosts:
            hosts.n1.start()
            hosts.n2.start()
            poll("n1 serves", SOON_S, hosts.n1.group_ready)
            poll("so does the router of n2", SOON_S,
                 lambda: talk.ask(hosts.n2.node.address(), "GET", "/readyz").status == 200)
            self.assertEqual(hosts.n2.answer(), hosts.n1.answer())
            # Tokenizer and template came with the model's registration.
            for path, body in [("/v1/tokenize", {"model": "tiny", "prompt": "hello  world"}),
                               ("/v1/chat/completions", {"model": "tiny", "temperature": 0, "max_tokens": 8, "ignore_eos": True,
                                                         "messages": [{"role": "user", "content": "hello"}]})]:
                here, there = (talk.ask(host.node.address(), "POST", path, body) for host in (hosts.n2, hosts.n1))
                self.assertEqual((here.status, there.status), (200, 200), (here, there))
                told = [{k: v for k, v in a.json().items() if k in ("tokens", "choices")} for a in (here, there)]
                self.assertEqual(told[0], told[1])
                self.assertTrue(told[0])
            self.assertFalse(hosts.n2.model.exists() or hosts.n2.models.exists())
            self.assertEqual([a["role"] for a in hosts.n2.node.actors().values() if a["role"] == "shard"], [])

    def test_a_part_is_gone_on_with_and_wrong_bytes_are_not(self):
        with Hosts("n1") as hosts:
            n1, n2 = hosts.n1, hosts.n2
            n1.start()
            poll("n1 serves", SOON_S, n1.group_ready)
            n2.models.mkdir(parents=True, mode=0o700)
            n2.part.write_bytes(TINY[:100_000])
            n2.part.chmod(0o600)
            n2.start()
            poll("n2 serves", SOON_S, n2.group_ready)
            self.assertEqual(n1.node.metric("troupe_file_sent_bytes_total"), len(TINY) - 100_000)
            self.assertEqual(n2.copy.read_bytes(), TINY)
            # A bit of the copy turns, and what lies behind a broken transfer is not the file's.
            n2.node.kill()
            n2.copy.write_bytes(OTHER)
            n2.part.write_bytes(OTHER)
            n2.start()
            poll("n2 serves again", SOON_S, n2.group_ready)
            self.assertEqual(n2.copy.read_bytes(), TINY)
            self.assertIn(f"the copy that was fetched in place of {n2.model} is damaged: it is deleted", n2.log())
            self.assertIn(f"what came from n1 has sha256 {hashlib.sha256(OTHER).hexdigest()}, the config asks for "
                          f"{DIGEST}: it is fetched anew", n2.log())
            self.assertEqual(n1.node.metric("troupe_file_sent_bytes_total"), 2 * len(TINY) - 100_000)

    def test_a_rank_of_a_group_over_two_nodes_fetches_its_file_too(self):
        with Hosts("n1", layout="tensor_parallel: 2") as hosts:
            n1, n2 = hosts.n1, hosts.n2
            n1.start()
            n2.start()
            poll("both ranks serve", SOON_S, lambda: n1.group_ready() and n2.group_ready())
            self.assertEqual(n2.copy.read_bytes(), TINY)
            self.assertEqual(n1.answer(), n2.answer())

    def test_a_wrong_file_is_refused_with_both_digests(self):
        with Hosts() as hosts:
            n1, n2 = hosts.n1, hosts.n2
            n1.model.write_bytes(OTHER)
            n1.start()
            n2.start()
            differs = f"{n1.model} has sha256 {hashlib.sha256(OTHER).hexdigest()}, the config asks for {DIGEST}"
            poll("n1 says what is wrong", SOON_S, lambda: "n2 does not have it" in n1.reason())
            self.assertTrue(n1.reason().startswith(f"{differs}, and no other node sends it ("), n1.reason())
            self.assertEqual(talk.ask(n1.node.address(), "GET", "/readyz").status, 503)
            n2.model.write_bytes(TINY)
            poll("n2 serves the right file", SOON_S, n2.group_ready)
            poll("n1 serves n2's", SOON_S, n1.group_ready)
            self.assertEqual(n1.copy.read_bytes(), TINY)
            self.assertEqual(n1.model.read_bytes(), OTHER)  # it is its operator's
            self.assertIn(f"{differs}: the copy fetched from another node is used; put the right file there", n1.log())

    def test_a_node_that_waits_for_a_file_ends_at_once(self):
        with Hosts() as hosts:
            n1 = hosts.n1
            n1.start()
            poll("n1 waits", SOON_S, lambda: "is not there" in n1.reason())
            start = time.monotonic()
            n1.node.process.send_signal(signal.SIGTERM)
            self.assertEqual(n1.node.process.wait(SOON_S), 0)
            report("a node that waits for a file ends", time.monotonic() - start, 1)


if __name__ == "__main__":
    sys.exit(run_tests())
