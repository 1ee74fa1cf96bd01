"""`troupe up`: three nodes form on one host, a killed one comes back, and the end leaves nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import talk
from cluster_files import make_certificates
from cluster_under_test import Cluster
from process_case import ProcessCase, expected, run_tests
from processes import poll, report, session_members, within
from started import BINARY, MODEL, read_line, short_folder, troupe
from up_under_test import Up, write_up_config

NAMES = ["n1", "n2", "n3"]
FORMS_S = 3
AT_ONCE_S = 1
MODEL_READY_S = 20


def ask_oracle(address: tuple[str, int], prompt: str) -> str:
    body = {"model": "oracle", "prompt": prompt, "max_tokens": 8, "temperature": 1}
    return talk.ask(address, "POST", "/v1/completions", body).text()


class UpForms(ProcessCase):
    def test_three_nodes_form_and_a_killed_one_comes_back(self):
        with Up(NAMES) as up:
            report("three nodes: from start to all of them ready", up.ready_after, FORMS_S)
            addresses = {f"ready http://{h}:{p}\n" for h, p in (n.address() for n in up.nodes.values())}
            self.assertEqual(set(up.ready_lines), addresses)
            poll("it says when all routers answer", 5, lambda: "every router answers" in up.log())
            for node in up.nodes.values():
                self.assertEqual(ask_oracle(node.address(), "hello"), expected("hello", 8)[0])
            for node in up.nodes.values():
                poll("each node hears the beats of both others", 10, lambda: node.metric("troupe_beat_connections") == 2)
            before = {name: (node.pid(), node.own()["incarnation"]) for name, node in up.nodes.items()}
            os.kill(before["n2"][0], signal.SIGKILL)
            start = time.monotonic()
            n2 = up.nodes["n2"]
            poll("the killed node is another process", 10, lambda: n2.pid() != before["n2"][0] and n2.ready())
            report("a killed node is ready again", time.monotonic() - start, 2)
            self.assertTrue(read_line(up.process.stdout, 10).startswith("ready http://127.0.0.2:"))
            self.assertNotEqual(n2.own()["incarnation"], before["n2"][1])
            self.assertIn("signal 9", up.log())
            for name in ("n1", "n3"):
                self.assertEqual((up.nodes[name].pid(), up.nodes[name].own()["incarnation"]), before[name])
                poll("it is heard again", 10, lambda: up.nodes[name].metric("troupe_beat_connections") == 2)
            children = up.notice()
            self.assertGreaterEqual(len(children), 12)  # three nodes with link, router and shard each
            up.interrupt()
            within(AT_ONCE_S, "Ctrl-C ends three idle nodes", lambda: up.process.poll() is not None)
            self.assertEqual(up.process.returncode, 0)
            self.assertFalse([c for c in children if c.alive()])

    def test_a_model_cut_over_three_nodes_answers_as_one_process_does(self):
        body = {"model": "smollm2", "prompt": "Four score and seven years ago", "max_tokens": 32, "temperature": 0.9,
                "seed": 7, "logprobs": 3}

        def choices(address: tuple[str, int]) -> list[dict]:
            answer = talk.ask(address, "POST", "/v1/completions", body)
            self.assertEqual(answer.status, 200, answer.body[:300])
            return answer.json()["choices"]

        with Cluster("--threads", "1", model=MODEL) as one:
            right = choices(one.address)
        with Up(NAMES, f"{{name: smollm2, source: {MODEL}, threads: 1, tensor_parallel: 3}}") as up:
            for node in up.nodes.values():
                poll("its router reaches the group", MODEL_READY_S,
                     lambda: talk.ask(node.address(), "GET", "/readyz").status == 200)
                self.assertEqual(choices(node.address()), right, f"through the router of {node.name}")

    def test_no_process_survives_kill_9(self):
        with Up(NAMES) as up:
            children = up.notice()
            up.process.kill()
            up.process.wait()
            within(AT_ONCE_S, "everything is gone after kill -9 of troupe up",
                   lambda: not any(c.alive() for c in children))

    def test_a_second_ctrl_c_ends_a_drain(self):
        with Up(["n1"], "{name: oracle, backend: oracle, oracle_step: 20ms}") as up:
            body = {"model": "oracle", "prompt": "endless", "max_tokens": 20000, "ignore_eos": True, "temperature": 1}
            with talk.Stream(up.nodes["n1"].address(), "/v1/completions", body) as stream:
                stream.read_tokens(3)
                up.interrupt()
                poll("readyz tells of the drain", 5,
                     lambda: talk.ask(up.nodes["n1"].address(), "GET", "/readyz").status == 503)
                self.assertIsNone(up.process.poll())
                up.interrupt()
                within(AT_ONCE_S, "a second Ctrl-C ends the drain", lambda: up.process.poll() is not None)
                self.assertEqual(up.process.returncode, 0)
                self.assertIsNotNone(stream.read_all().error(), "the stream did not say that it was ended")

    def test_link_metrics_have_nothing_that_promtool_minds(self):
        if not shutil.which("promtool"):
            self.skipTest("promtool is not installed (Debian package prometheus)")
        with Up(["n1", "n2"]) as up:
            n1 = up.nodes["n1"]
            poll("the link has reported", 10, lambda: "troupe_link_streams " in n1.admin("/metrics").body.decode())
            checked = subprocess.run(["promtool", "check", "metrics"], input=n1.admin("/metrics").body,
                                     capture_output=True, timeout=30)
            self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, b""))
            days = (n1.metric("troupe_certificate_expiry_timestamp_seconds") - time.time()) / 86400
            self.assertAlmostEqual(days, 90, delta=0.1)
            poll("a dialled stream is counted", 10, lambda: n1.metric("troupe_link_streams_dialled_total") >= 1)
            with socket.create_connection(("127.0.0.1", int(up.config.read_text().split("control_port: ")[1].split("}")[0])),
                                          timeout=10) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            poll("a stranger is counted", 10, lambda: n1.metric("troupe_link_refused_total", reason="not_tls") == 1)


class UpRefuses(ProcessCase):
    def setUp(self):
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = write_up_config(self.folder, NAMES, "{name: oracle, backend: oracle}")

    def up(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen([BINARY, "up", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def refusal(self, code: int, *arguments: str) -> str:
        """The last line on standard error of a command that must end by itself and leave nothing behind."""
        process = self.up(*arguments)
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            self.fail(f"troupe up {' '.join(arguments)} did not end: {process.communicate()[1]}")
        self.assertEqual((process.returncode, out), (code, ""), err)
        poll("no process is left", 5, lambda: not session_members(process.pid))
        return err.strip().splitlines()[-1]

    def from_config(self) -> str:
        return self.refusal(1, "--config", str(self.config), "--state", str(self.folder / "state"))

    def test_what_is_missing_is_named_with_the_command_that_makes_it(self):
        certs = self.folder / "certs"
        init, issue = f"troupe certs init --dir {certs}", f"troupe certs issue n1 n2 n3 --dir {certs}"
        self.assertEqual(self.from_config(), f"troupe: {certs}/ca.pem can't be read (No such file or directory); "
                                             f"{init} && {issue} makes what is needed")
        # What it says is what helps.
        self.assertEqual(troupe("certs", "init", "--dir", str(certs)).returncode, 0)
        self.assertEqual(self.from_config(),
                         f"troupe: {certs}/n1.pem can't be read (No such file or directory); {issue} makes it")
        self.assertEqual(troupe("certs", "issue", "n1", "n3", "--dir", str(certs)).returncode, 0)
        self.assertEqual(self.from_config(), f"troupe: {certs}/n2.pem can't be read (No such file or directory); "
                                             f"troupe certs issue n2 --dir {certs} makes it")
        self.assertEqual(troupe("certs", "issue", "n2", "--dir", str(certs)).returncode, 0)
        (certs / "cluster.secret").rename(certs / "elsewhere")
        self.assertEqual(self.from_config(),
                         f"troupe: {certs}/cluster.secret can't be read (No such file or directory); copy it from the "
                         "folder of the CA, where troupe certs issue makes it")

    def test_a_wrong_flag_suggests_the_right_one(self):
        self.assertIn("troupe up has no flag --cofnig, did you mean --config?", self.refusal(2, "--cofnig", "x"))

    def test_help_shows_how(self):
        said = troupe("up", "--help")
        self.assertEqual(said.returncode, 0)
        self.assertIn("troupe up --config cluster.yaml", said.stdout)

    def test_a_node_that_can_not_start_ends_it_all_with_the_reason(self):
        make_certificates(self.folder, NAMES)
        text = self.config.read_text()
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = str(busy.getsockname()[1])
            taken = text.split("name: n2, host: 127.0.0.1, control_port: ")[1].split("}")[0]
            self.config.write_text(text.replace(taken, port))
            process = self.up("--config", str(self.config), "--state", str(self.folder / "state"))
            out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("troupe: node n2 could not start, for the reason above", err.strip().splitlines()[-1])
        reason = [line for line in err.splitlines() if line.startswith("troupe: ") and port in line]
        self.assertEqual(len(reason), 1, err)
        poll("no process is left", 5, lambda: not session_members(process.pid))

    def test_a_config_that_is_wrong_starts_nothing(self):
        self.config.write_text("cluster: demo\nnodse: []\n")
        self.assertIn("nodse", self.from_config())
        self.assertFalse((self.folder / "state").exists())


if __name__ == "__main__":
    sys.exit(run_tests())
