"""The unit in deploy/systemd: systemd has nothing to say about it, and a node can live with what it forbids."""

import os
import re
import shutil
import signal
import subprocess
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, run_tests
from processes import poll
from started import BINARY, MODEL, ROOT, short_folder

FOLDER = ROOT / "deploy" / "systemd"
UNIT = FOLDER / "troupe-node@.service"
INSTALLED = "/usr/local/bin/troupe"


def settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M))


def run(*command: str) -> str:
    """What it printed on both streams; its exit status is part of that when it is not 0."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr + (f"exit {done.returncode}" if done.returncode else "")


def allowed_calls(group: str) -> set[str]:
    """System calls of one of systemd's groups."""
    found: set[str] = set()
    for line in run("systemd-analyze", "syscall-filter", group).splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= allowed_calls(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


class Unit(ProcessCase):
    def setUp(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed (Debian package systemd)")
        self.folder = short_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def verify(self, text: str) -> str:
        unit = self.folder / "troupe-node@n1.service"  # a template is judged by an instance of it
        unit.write_text(text)
        return run("systemd-analyze", "verify", "--man=no", str(unit))

    def test_systemd_has_nothing_to_say(self):
        text = UNIT.read_text()
        self.assertEqual(text.count(INSTALLED), 1)
        text = text.replace(INSTALLED, BINARY)
        self.assertEqual(self.verify(text), "")
        # It would say so: it exits with 0 for a misspelt key, hence the words count.
        self.assertIn("KillMod", self.verify(text.replace("KillMode", "KillMod")))

    def test_the_command_line_is_one_that_troupe_takes(self):
        words = settings()["ExecStart"].split()
        self.assertEqual(words[:2], [INSTALLED, "node"])
        known = set(re.findall(r"--[a-z-]+", run(BINARY, "node", "--help")))
        self.assertLessEqual({w for w in words if w.startswith("--")}, known)

    def test_a_drain_fits_into_the_time_to_stop(self):
        limits = (ROOT / "config" / "limits.h").read_text()
        drain, end = (int(re.search(rf"{name} = (\d+)s;", limits)[1]) for name in ("kDrainMax", "kNodeEndMax"))
        self.assertEqual(settings()["KillMode"], "mixed")
        self.assertEqual(int(settings()["TimeoutStopSec"]), drain + end)

    def life(self, *arguments: str, model: str | None = None) -> str:
        """The system calls of a node and all its processes, from start over a killed shard to the end, as strace tells them."""
        trace = self.folder / "trace"
        with Cluster(*arguments, model=model, under=("strace", "-f", "-qq", "-o", str(trace))) as cluster:
            self.assertEqual(cluster.complete("hello", 8).status, 200)
            before = cluster.kill("shard")
            poll("shard respawned", 30, lambda: cluster.successor("shard", before))
            cluster.wait_ready()
            self.assertEqual(cluster.complete("hello again", 8).status, 200)
            cluster.notice()
            os.kill(cluster.endpoint()["pid"], signal.SIGTERM)  # strace keeps signals for itself
            self.assertEqual(cluster.node.wait(40), 0)
        return trace.read_text(errors="replace")

    def test_a_node_makes_no_system_call_that_the_unit_forbids(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed (Debian package strace)")
        if "exit" in run("strace", "-qq", "-o", "/dev/null", "true"):
            self.skipTest("this machine does not let strace trace")
        allowed = allowed_calls(settings()["SystemCallFilter"])
        self.assertIn("openat", allowed)
        self.assertNotIn("reboot", allowed)
        families = set(settings()["RestrictAddressFamilies"].split())
        for name, model in (("oracle", None), ("native", MODEL)):
            with self.subTest(name):
                told = self.life(model=model)
                calls = set(re.findall(r"^\d+ +(\w+)\(", told, re.M))
                self.assertGreater(len(calls), 30, "strace saw too little to judge")
                self.assertEqual(calls - allowed, set())
                self.assertEqual(set(re.findall(r"socket(?:pair)?\((\w+)", told)) - families, set())


if __name__ == "__main__":
    sys.exit(run_tests())
