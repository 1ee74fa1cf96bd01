"""The commands when all is well: what they print is what was asked for. bad_start_test.py has their refusals."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys

from cluster_under_test import Cluster
from process_case import ProcessCase, expected, run_tests
from started import BINARY, TINY, short_folder, troupe

CHECKPOINT = TINY / "qwen3"
TOKENS = 12
CONFIG = """cluster: demo
nodes:
  - {name: n1, host: 127.0.0.1, devices: [cpu:0]}
routers: [{node: n1, http: 127.0.0.1:8080}]
models:
  - {name: oracle, backend: oracle, groups: 1, oracle_step: 5ms}
"""


def commands_of(*path: str) -> list[str]:
    """What a command's help lists below `Subcommands:`."""
    listed = re.search(r"\n[Ss]ubcommands:(?:\s*\n)((?:  .*\n?)+)", troupe(*path, "--help").stdout, re.I)
    return re.findall(r"^  (\w\S*)", listed[1], re.M) if listed else []


class Commands(ProcessCase):
    def printed(self, *arguments: str) -> str:
        """Standard output of a command that succeeds and has nothing to complain about."""
        done = troupe(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def test_every_commands_help_has_an_example(self):
        commands = commands_of()
        self.assertLessEqual({"serve", "node", "up", "status", "chat", "tokenize", "bench", "check-config", "certs",
                              "version"}, set(commands))
        for command in commands:
            for path in [[command], *([command, inner] for inner in commands_of(command))]:
                with self.subTest(" ".join(path)):
                    example = self.printed(*path, "--help").partition("Example")[2]
                    self.assertIn(f"troupe {' '.join(path)}", example)

    def test_the_version_is_said_in_two_ways(self):
        short = self.printed("--version").strip()
        self.assertRegex(short, r"^\d+\.\d+\.\d+$")
        self.assertRegex(self.printed("version"), rf"^troupe {re.escape(short)}(-\S+)?\n$")

    def test_a_good_config_is_printed_with_all_that_it_does_not_say(self):
        folder = short_folder()
        self.addCleanup(shutil.rmtree, folder)
        path, again = folder / "cluster.yaml", folder / "again.yaml"
        path.write_text(CONFIG)
        resolved = self.printed("check-config", str(path))
        for line in ("cluster: demo", "  - name: n1", "  - name: oracle", "    oracle_step: 5000us",
                     "    tensor_parallel: 1", "  timing_scale: 1"):
            self.assertIn(line, resolved.splitlines())
        again.write_text(resolved)
        self.assertEqual(self.printed("check-config", str(again)), resolved, "it is itself a config, and complete")


class Tokenize(ProcessCase):
    def test_it_gives_the_ids_of_the_server_and_of_the_reference(self):
        """tokens.json is PyPI tokenizers' (tests/golden/tiny/README.md)."""
        with Cluster(model=str(CHECKPOINT)) as cluster:
            for golden in json.loads((CHECKPOINT / "tokens.json").read_text()):
                text, ids = golden["text"], golden["ids"]
                with self.subTest(text):
                    served = cluster.post("/v1/tokenize", {"model": cluster.model, "prompt": text}).json()
                    command = ["tokenize", str(CHECKPOINT)]
                    given = json.loads(troupe(*command, text, "--json").stdout)
                    piped = subprocess.run([BINARY, *command, "--json"], input=text.encode(), capture_output=True,
                                           timeout=60)
                    self.assertEqual(served["tokens"], ids)
                    self.assertEqual(given, {"tokens": ids, "count": len(ids)})
                    self.assertEqual(json.loads(piped.stdout), given)
                    lines = troupe(*command, text).stdout.splitlines()
                    self.assertEqual([int(line.split()[0]) for line in lines], [*ids, len(ids)])
                    self.assertEqual(lines[-1], f"{len(ids)} tokens")


class Chat(ProcessCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)

    def answer_to(self, *turns: str) -> str:
        """Of the oracle, whose template writes a line `role: content` a turn."""
        roles = ["user", "assistant"] * len(turns)
        lines = "".join(f"{role}: {turn}\n" for role, turn in zip(roles, turns))
        return expected(lines + "assistant:", TOKENS)[0]

    def command(self, *arguments: str) -> list[str]:
        return [BINARY, "chat", *arguments, "--url", self.cluster.url, "--max-tokens", str(TOKENS)]

    def test_one_question_one_answer(self):
        """As an argument, and from what is no terminal."""
        for arguments, text in ((["Hello there"], b""), ([], b"Hello there\n")):
            done = subprocess.run(self.command(*arguments), input=text, capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(done.stdout.decode(), self.answer_to("Hello there") + "\n")

    def test_a_conversation_remembers_until_it_is_reset(self):
        ours, theirs = pty.openpty()
        said = subprocess.Popen(self.command(), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(theirs)
        os.write(ours, b"one\ntwo\n/reset\ntwo\n/quit\n")
        out, err = said.communicate(timeout=60)
        os.close(ours)
        self.assertEqual((said.returncode, err), (0, b""))
        first = self.answer_to("one")
        second, anew = self.answer_to("one", first, "two"), self.answer_to("two")
        self.assertNotEqual(second, anew)
        shown = out.decode().partition("\n")[2]
        self.assertEqual(shown, f"> {first}\n> {second}\n> > {anew}\n> \n")


if __name__ == "__main__":
    sys.exit(run_tests())
