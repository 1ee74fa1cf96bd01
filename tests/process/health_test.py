"""What a node says about itself is true, and what it keeps is private."""

import json
import os
import re
import stat
import subprocess
import sys
import unittest

import talk
from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import poll, tcp_listeners
from started import BINARY

LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
STATES = {"starting", "ready", "draining", "suspect", "fenced", "failed", "stopped"}
ACTOR_KEYS = {"id", "role", "pid", "state", "generation", "restarts", "last_error", "mailbox", "last_step_age_ms"}


class Health(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster("--oracle-step", "5ms")
        cls.addClassCleanup(cls.cluster.close)

    def status(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [BINARY, "status", *arguments, "--state", str(self.cluster.state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    def test_health_endpoints_agree_that_it_is_ready(self):
        ready = self.cluster.get("/readyz")
        self.assertEqual(ready.status, 200)
        self.assertEqual(ready.json(), {"ready": True, "reason": "",
                                        "models": [{"name": "oracle", "groups_ready": 1, "groups": 1}]})
        self.assertEqual(self.cluster.get("/health").status, 200)
        self.assertEqual(self.cluster.get("/livez").status, 200)

    def test_an_idle_group_stays_ready_by_canary_steps(self):
        steps = self.cluster.metric("troupe_group_steps_total")
        poll("an idle group makes canary steps", 15, lambda: self.cluster.metric("troupe_group_steps_total") > steps + 1)
        self.assertEqual(self.cluster.get("/readyz").status, 200)
        self.assertLess(self.cluster.actor("shard")["last_step_age_ms"], 5000)

    def test_the_tree_names_every_actor_and_its_process(self):
        tree = self.cluster.tree()
        self.assertEqual((tree["term"], tree["leader"]), (0, ""))
        (node,) = tree["nodes"]
        self.assertEqual((node["name"], node["state"]), ("n1", "ready"))
        self.assertRegex(node["incarnation"], "^[0-9a-f]{16}$")
        roles = [a["role"] for a in node["actors"]]
        self.assertEqual(sorted(roles), ["batcher", "cache", "health", "router", "shard", "supervisor"])
        pids = {a["role"]: a["pid"] for a in node["actors"]}
        self.assertEqual(set(pids.values()), set(self.cluster.pids()))
        self.assertEqual(pids["supervisor"], self.cluster.node.pid)
        self.assertEqual(pids["health"], pids["supervisor"])
        self.assertEqual(pids["cache"], pids["router"])
        self.assertEqual(pids["batcher"], pids["shard"])
        for actor in node["actors"]:
            with self.subTest(actor["id"]):
                self.assertLessEqual(ACTOR_KEYS, set(actor))
                self.assertTrue(actor["id"].startswith("n1/"))
                self.assertIn(actor["state"], STATES)
                self.assertEqual(set(actor["mailbox"]), {"depth", "age_ms"})
        (shard,) = (a for a in node["actors"] if a["role"] == "shard")
        self.assertEqual((shard["id"], shard["model"], shard["group"], shard["rank"], shard["generation"]),
                         ("n1/shard/oracle.0.0", "oracle", 0, 0, 1))

    def test_status_json_is_the_tree(self):
        shown = self.status("--json")
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))

        def without_ages(tree):
            return re.sub(r'"(age_ms|last_step_age_ms|depth)": \d+', "", json.dumps(tree))

        self.assertEqual(without_ages(json.loads(shown.stdout)), without_ages(self.cluster.tree()))

    def test_status_shows_the_tree_to_people(self):
        shown = self.status()
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        for actor in self.cluster.tree()["nodes"][0]["actors"]:
            (line,) = (x for x in shown.stdout.splitlines() if f" {actor['id']} " in x)
            self.assertIn(str(actor["pid"]), line)
            self.assertIn("ready", line)
        self.assertIn(self.cluster.url, shown.stdout)

    def test_the_admin_port_wants_its_token_and_its_own_host(self):
        host, _, port = self.cluster.endpoint()["admin"].removeprefix("http://").rpartition(":")
        admin = (host, int(port))
        token = {"Authorization": "Bearer " + open(self.cluster.endpoint()["token_path"]).read().strip()}
        self.assertEqual(talk.ask(admin, "GET", "/admin/tree").status, 401)
        self.assertEqual(talk.ask(admin, "GET", "/admin/tree", headers={"Authorization": "Bearer " + "0" * 64}).status, 401)
        self.assertEqual(talk.ask(admin, "GET", "/admin/tree", headers=token).status, 200)
        self.assertEqual(talk.ask(admin, "GET", "/admin/tree", headers=token | {"Host": "evil.example"}).status, 403)
        self.assertEqual(talk.ask(admin, "GET", "/admin/tree", headers=token | {"Origin": "http://evil.example"}).status, 403)
        self.assertEqual(talk.ask(admin, "GET", "/admin/actors/n1/router", headers=token).json()["role"], "router")
        self.assertEqual(talk.ask(admin, "GET", "/admin/actors/n1/nobody", headers=token).status, 404)

    def test_the_state_directory_is_private(self):
        state = self.cluster.state / "n1"
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        sockets = 0
        for path in state.iterdir():
            with self.subTest(path.name):
                self.assertEqual(stat.S_IMODE(path.lstat().st_mode) & 0o077, 0)
                sockets += path.is_socket()
        self.assertGreaterEqual(sockets, 2)
        self.assertEqual(stat.S_IMODE((state / "admin.token").stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE((state / "cluster.secret").stat().st_mode), 0o600)

    def test_no_secret_stands_in_a_command_line_or_environment(self):
        secrets = [(self.cluster.state / "n1" / f).read_text().strip() for f in ("admin.token", "cluster.secret")]
        for pid in self.cluster.pids():
            for name in ("cmdline", "environ"):
                try:
                    text = open(f"/proc/{pid}/{name}", "rb").read().decode("latin-1")
                except PermissionError:  # not dumpable: nobody else can read it either
                    continue
                for secret in secrets:
                    self.assertNotIn(secret, text)

    @unittest.skipUnless(os.geteuid() == 0, "only root may list the sockets of processes that are not dumpable")
    def test_nothing_listens_beyond_loopback(self):
        listeners = tcp_listeners(self.cluster.pids())
        self.assertIn(self.cluster.address[1], [port for _, port in listeners])
        self.assertEqual({address for address, _ in listeners} - LOOPBACK, set())
        admin = int(self.cluster.endpoint()["admin"].rpartition(":")[2])
        self.assertEqual({port for _, port in listeners}, {self.cluster.address[1], admin}, "BASP must stay off TCP")


if __name__ == "__main__":
    sys.exit(run_tests())
