"""Starts that can't succeed: one sentence that says what to do, an exit code, and no process left."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cluster_under_test import Cluster
from node_state import NodeState
from process_case import ProcessCase, run_tests
from processes import poll, session_members
from started import BINARY, MODEL, TINY, short_folder, start

REFUSED_S = 10
CONFIG = """cluster: demo
nodes:
  - {name: n1, host: 127.0.0.1, devices: [cpu:0]}
routers: [{node: n1, http: 127.0.0.1:0}]
models:
  - {name: oracle, backend: oracle}
"""


class BadStart(ProcessCase):
    def setUp(self):
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def refused(self, *arguments: str, code: int = 1) -> str:
        """The sentence on standard error of a command that must end by itself."""
        process = subprocess.Popen([BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        start = time.monotonic()
        try:
            out, err = process.communicate(timeout=REFUSED_S)
        except subprocess.TimeoutExpired:
            for pid in session_members(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.communicate()
            self.fail(f"troupe {' '.join(arguments)} did not end within {REFUSED_S} s")
        print(f"    ended after {(time.monotonic() - start) * 1000:.0f} ms: {err.strip().splitlines()[-1:]}", flush=True)
        self.assertEqual(process.returncode, code, err)
        self.assertEqual(out, "")
        poll("no process is left", 5, lambda: not session_members(process.pid))
        sentences = [line for line in err.splitlines() if line.startswith("troupe: ")]
        self.assertEqual(len(sentences), 1, err)
        self.assertEqual(err.splitlines()[-1], sentences[0], "the sentence comes last")
        return sentences[0]

    def serve(self, *arguments: str, code: int = 1) -> str:
        state = [] if "--state" in arguments else ["--state", str(self.folder / "state")]
        port = [] if "--port" in arguments else ["--port", "0"]
        return self.refused("serve", *arguments, *port, *state, code=code)

    def check_says(self, sentence: str, *parts: str) -> None:
        for part in parts:
            self.assertIn(part, sentence)

    # -- models

    def test_no_model(self):
        self.check_says(self.serve(), "a model is needed", "troupe serve model.gguf")

    def test_a_missing_model_file(self):
        self.check_says(self.serve("/nowhere/model.gguf"), "/nowhere/model.gguf", "does not exist")

    def test_a_file_that_is_no_model(self):
        path = self.folder / "notes.gguf"
        path.write_text("this is no model at all, but it is long enough to look at\n" * 100)
        self.check_says(self.serve(str(path)), str(path))

    def test_a_truncated_model_file(self):
        for size in (0, 3, 64, 100_000, 2_000_000):
            with self.subTest(size=size):
                path = self.folder / "short.gguf"
                with open(MODEL, "rb") as whole:
                    path.write_bytes(whole.read(size))
                self.check_says(self.serve(str(path)), str(path))

    def test_an_empty_model_directory(self):
        path = self.folder / "model"
        path.mkdir()
        self.check_says(self.serve(str(path)), str(path))

    def altered_model(self, name: str, old: str, new: str) -> Path:
        """A copy of a tiny checkpoint in whose file `name` a text is another one."""
        path = self.folder / "model"
        shutil.copytree(TINY / "qwen3", path)
        text = (path / name).read_text()
        self.assertEqual(text.count(old), 1)
        (path / name).write_text(text.replace(old, new))
        return path

    def test_a_chat_template_that_is_not_supported(self):
        path = self.altered_model("chat_template.jinja", "{% for", '{% include "x" %}{% for')
        self.check_says(self.serve(str(path)), str(path), "chat template, line 1", "include", "not supported")

    def test_a_tokenizer_that_does_not_compile(self):
        path = self.altered_model("tokenizer.json", "(?i:'s", "((?i:'s")
        self.check_says(self.serve(str(path)), str(path), "split pattern", "not understood")

    # -- memory

    def test_more_kv_than_there_is_memory_for(self):
        sentence = self.serve(MODEL, "--kv-memory", "10TiB")
        self.check_says(sentence, "--kv-memory asks for 10485760 MiB", "MiB of memory left beside the weights; ask for less")
        self.assertRegex(sentence, r"but this (machine|container \(its cgroup\)) has \d+ MiB")
        self.assertNotIn("kv_memory", sentence)
        self.check_says(self.serve(MODEL, "--kv-memory", "2MiB", "--ctx", "4000"), "--ctx 4000 needs more KV", "more --kv-memory or")

    def test_more_kv_in_a_config_than_there_is_memory_for(self):
        """A node of a cluster goes on trying, and says why the group is not there in words of its config."""
        path = self.folder / "cluster.yaml"
        models = f"  - {{name: big, source: {MODEL}, backend: native, kv_memory: 10TiB}}\n"
        path.write_text(CONFIG.replace("  - {name: oracle, backend: oracle}\n", models))
        state = NodeState(self.folder / "n1")
        with open(self.folder / "log", "w+b") as log:
            node = start([BINARY, "node", "--config", str(path), "--name", "n1", "--state", str(self.folder)], log)
            try:
                def why() -> str:
                    return " ".join(a.get("reason", "") for a in state.own().get("actors", []))

                poll("the shard says why", REFUSED_S, lambda: "kv_memory" in why())
                self.check_says(why(), "loading failed: model big: kv_memory asks for 10485760 MiB, but this ",
                                "MiB of memory left beside the weights; ask for less")
                self.assertIsNone(node.poll())
            finally:
                node.send_signal(signal.SIGTERM)
                self.assertEqual(node.wait(REFUSED_S), 0)
        poll("no process is left", 5, lambda: not session_members(node.pid))

    # -- ports and the state directory

    def test_a_busy_port(self):
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = str(busy.getsockname()[1])
            self.check_says(self.serve("--backend", "oracle", "--port", port), port, "in use", "another port")

    def test_a_state_directory_that_cannot_be_made(self):
        (self.folder / "file").write_text("in the way")
        state = str(self.folder / "file" / "state")
        self.check_says(self.serve("--backend", "oracle", "--state", state), state, "--state")

    def test_a_state_directory_in_use(self):
        with Cluster() as cluster:
            sentence = self.serve("--backend", "oracle", "--state", str(cluster.state))
            self.check_says(sentence, str(cluster.state), "in use", "--state")
            self.assertEqual(cluster.get("/readyz").status, 200, "the first node is not disturbed")

    def test_a_state_directory_with_too_long_a_path(self):
        state = str(self.folder / ("long" * 40))
        self.check_says(self.serve("--backend", "oracle", "--state", state), "at most 107", "shorter state directory")

    def test_a_damaged_secret(self):
        state = self.folder / "state" / "n1"
        state.mkdir(parents=True)
        (state / "cluster.secret").write_text("not hex")
        self.check_says(self.serve("--backend", "oracle"), "damaged", "cluster.secret")

    # -- flags and configs

    def test_a_wrong_flag_suggests_the_right_one(self):
        self.check_says(self.serve("--backnd", "oracle", code=2), "--backnd", "did you mean --backend?")

    def test_a_wrong_command_suggests_the_right_one(self):
        self.check_says(self.refused("sevre", code=2), "sevre", "did you mean serve?")

    def test_a_wrong_value(self):
        self.check_says(self.serve("--backend", "magic", code=2), "magic", "oracle")
        self.check_says(self.serve("--backend", "oracle", "--port", "99999", code=2), "99999")

    def test_no_plaintext_beyond_loopback(self):
        sentence = self.serve("--backend", "oracle", "--host", "0.0.0.0")
        self.check_says(sentence, "insecure")

    def test_missing_keys_and_certificates(self):
        self.check_says(self.serve("--backend", "oracle", "--api-keys", "/nowhere/keys"), "/nowhere/keys")
        self.check_says(self.serve("--backend", "oracle", "--tls-cert", "/nowhere/cert", "--tls-key", "/nowhere/key"),
                        "/nowhere/")

    def test_a_config_with_an_unknown_key(self):
        path = self.folder / "cluster.yaml"
        path.write_text(CONFIG + "modles: []\n")
        for command in (["check-config", str(path)], ["node", "--config", str(path), "--name", "n1"]):
            with self.subTest(command[0]):
                self.check_says(self.refused(*command), f"{path}:{CONFIG.count(chr(10)) + 1}", "modles")

    def test_a_config_that_is_missing_or_no_yaml(self):
        self.check_says(self.refused("check-config", "/nowhere.yaml"), "/nowhere.yaml")
        path = self.folder / "cluster.yaml"
        path.write_text("cluster: [unclosed\n")
        self.check_says(self.refused("check-config", str(path)), str(path))

    def test_a_node_that_is_not_in_the_config(self):
        path = self.folder / "cluster.yaml"
        path.write_text(CONFIG)
        sentence = self.refused("node", "--config", str(path), "--name", "n7", "--state", str(self.folder))
        self.check_says(sentence, "n7", "--name")

    def test_status_without_a_node(self):
        self.check_says(self.refused("status", "--state", str(self.folder)), str(self.folder), "troupe serve")

    def test_chat_without_a_server(self):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        self.check_says(self.refused("chat", "hello", "--url", f"http://127.0.0.1:{port}"), str(port))


if __name__ == "__main__":
    sys.exit(run_tests())
