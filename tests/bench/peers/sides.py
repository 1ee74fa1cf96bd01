"""The two sides of the bench: how each is called for each thing it is asked to do, always at its best."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from peer_build import build
from servers import CONTEXT, SLOTS, TROUPE

CALL_S = 600


def timed_call(command, environment) -> tuple[str, float]:
    """(standard output, seconds from spawn to exit) of a command that must succeed."""
    start = time.monotonic()
    done = subprocess.run([str(c) for c in command], env=os.environ | environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=CALL_S)
    took = time.monotonic() - start
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-1500:]}")
    return done.stdout, took


@dataclass(frozen=True)
class Troupe:
    model: Path
    threads: int
    backend: str = "auto"
    isa: str = ""
    name = "troupe"
    api_model = "peer"

    def _options(self) -> list[str]:
        return ["--threads", str(self.threads), "--backend", self.backend, *(["--isa", self.isa] if self.isa else [])]

    def serve(self, port: int, state: Path):
        return [TROUPE, "serve", self.model, "--name", self.api_model, "--port", str(port), "--state", state,
                *self._options()], {}

    def bench(self, *options) -> tuple[dict, float]:
        out, took = timed_call([TROUPE, "bench", self.model, "--json", *self._options(), *options], {})
        return json.loads(out), took

    def decode(self, n_prompt: int, n_generate: int) -> float:
        figures, _ = self.bench("--batch", 1, "--rounds", 1, "--prefill-tokens", 1, "--prompt-tokens", n_prompt,
                                "--generate", n_generate, "--no-bandwidth")
        return figures["decode"][0]["tokens_per_second"]

    def prefill(self, n_prompt: int) -> float:
        figures, _ = self.bench("--batch", 1, "--rounds", 1, "--prefill-tokens", n_prompt, "--prompt-tokens", 1,
                                "--generate", 1, "--no-bandwidth")
        return figures["prefill"][0]["tokens_per_second"]

    def first_token(self) -> float:
        """Seconds from the start of the process to its end, with one token in between."""
        return self.bench("--first-token", "--prompt-tokens", 1, "--prefill-tokens", 1, "--generate", 1, "--batch", 1)[1]


@dataclass(frozen=True)
class Llama:
    model: Path
    threads: int
    build: str = "pthread"
    repack: bool = True
    isa: str = ""  # as of peer_build
    name = "llama.cpp"
    api_model = "peer"

    def __str__(self) -> str:
        return f"{self.isa or 'best'} {self.build}, {'repack and AMX where there is' if self.repack else '--no-repack'}"

    def _tool(self, name: str) -> Path:
        return build(self.build, self.isa) / name

    def _environment(self) -> dict:
        return {"OMP_WAIT_POLICY": "passive"} if self.build == "openmp" else {}

    def serve(self, port: int, state: Path):
        return [self._tool("llama-server"), "-m", self.model, "--alias", self.api_model, "--host", "127.0.0.1",
                "--port", str(port), "-t", str(self.threads), "-c", str(CONTEXT), "-np", str(SLOTS),
                *([] if self.repack else ["--no-repack"])], self._environment()

    def bench(self, *options) -> tuple[dict, float]:
        out, took = timed_call([self._tool("llama-bench"), "-m", self.model, "-t", self.threads, "--repack",
                                int(self.repack), "-r", 1, "-o", "json", *options], self._environment())
        return json.loads(out)[-1], took

    def decode(self, n_prompt: int, n_generate: int) -> float:
        return self.bench("-p", 0, "-n", n_generate, "-d", n_prompt)[0]["avg_ts"]

    def prefill(self, n_prompt: int) -> float:
        return self.bench("-p", n_prompt, "-n", 0)[0]["avg_ts"]

    def first_token(self) -> float:
        return self.bench("-p", 0, "-n", 1, "--no-warmup")[1]
