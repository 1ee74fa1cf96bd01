"""`troupe bench`: figures that follow from the steps it ran, and one sentence when it can't run."""

import json
import os
import subprocess
import sys

from process_case import ProcessCase, run_tests
from started import BINARY, MODEL, short_folder

BENCH_S = 120
STEP_MS = 5


class Bench(ProcessCase):
    def bench(self, *arguments: str, code: int = 0, binary: str = BINARY) -> str:
        done = subprocess.run([binary, "bench", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=BENCH_S)
        self.assertEqual(done.returncode, code, done.stderr)
        if code == 0:
            self.assertEqual(done.stderr, "")
            return done.stdout
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("troupe: "), done.stderr)
        return done.stderr

    def figures(self, *arguments: str) -> dict:
        return json.loads(self.bench("--backend", "oracle", "--json", *arguments))

    def test_rates_are_those_of_the_steps(self):
        """A step sleeps 5 ms, so n steps take at least n * 5 ms whatever else runs here."""
        said = self.figures("--oracle-step-ms", str(STEP_MS), "--rounds", "3", "--prefill-tokens", "64", "--chunk", "16",
                            "--prompt-tokens", "20", "--generate", "8", "--batch", "1,4")
        per_step = 1000 / STEP_MS
        [prefill] = said["prefill"]
        self.assertEqual((said["backend"], said["chunk"], prefill["tokens"]), ("oracle", 16, 64))
        self.assertLessEqual(prefill["tokens_per_second"], per_step * 16)
        self.assertEqual([(d["batch"], d["tokens"]) for d in said["decode"]], [(1, 8), (4, 8)])
        for decode in said["decode"]:
            self.assertEqual(len(decode["rounds"]), 3)
            self.assertEqual(decode["tokens_per_second"], sorted(decode["rounds"])[1])
            for rate in decode["rounds"]:
                self.assertGreater(rate, 0)
                self.assertLessEqual(rate, per_step * decode["batch"])
        # Two chunks of at most 16 before the first token.
        self.assertGreaterEqual(said["start_to_first_token_s"], 2 * STEP_MS / 1000)

    def test_the_text_names_every_figure(self):
        text = self.bench("--backend", "oracle", "--rounds", "2", "--generate", "4", "--batch", "1,3")
        for part in ("oracle: ", "first token of a 128-token prompt", "prefill of 512", "decode, batch 1", "decode, batch 3",
                     "in 2 rounds"):
            self.assertIn(part, text)

    def test_first_token_measures_nothing_else(self):
        said = self.figures("--first-token")
        self.assertEqual((said["prefill"], said["decode"], said["read_bytes_per_second"]), ([], [], None))
        self.assertGreater(said["start_to_first_token_s"], 0)

    def test_a_wrong_flag_suggests_the_right_one(self):
        self.assertIn("did you mean --rounds?", self.bench("--backend", "oracle", "--ronds", "3", code=2))
        self.assertIn("did you mean bench?", subprocess.run([BINARY, "bnech"], capture_output=True, text=True).stderr)

    def test_what_cannot_run_is_refused_in_one_sentence(self):
        self.assertIn("a model is needed", self.bench(code=1))
        self.assertIn("/nowhere.gguf", self.bench("/nowhere.gguf", code=1))
        self.assertIn("ask for fewer --prefill-tokens", self.bench("--backend", "oracle", "--generate", "900000", code=1))
        self.assertIn("--chunk", self.bench("--backend", "oracle", "--chunk", "4000", code=1))
        self.assertIn("magic", self.bench("--backend", "magic", code=2))

    def test_libtorch_is_needed_only_for_the_torch_backend(self):
        folder = short_folder()
        self.addCleanup(folder.rmdir)
        alone = folder / "troupe"  # a hard link or copy: the folder of the plugin is that of the executable
        self.addCleanup(alone.unlink)
        try:
            os.link(BINARY, alone)
        except OSError:
            alone.write_bytes(open(BINARY, "rb").read())
            alone.chmod(0o755)
        self.assertIn("oracle: ", self.bench("--backend", "oracle", "--rounds", "1", "--batch", "1", binary=str(alone)))
        self.assertIn("libtroupe_torch.so", self.bench(MODEL, "--backend", "torch", code=1, binary=str(alone)))


if __name__ == "__main__":
    sys.exit(run_tests())
