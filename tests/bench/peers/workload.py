"""Requests of random prompts, the same for both sides, and what the C++ clients say about their answers.

A prompt is a list of token ids, so that it has exactly the length asked for on both sides. No two prompts of a run are
alike: neither a prefix cache nor a response cache can help.
"""

import json
import os
import random
import subprocess
from pathlib import Path

from peer_build import ROOT

CLIENTS = Path(os.environ.get("TROUPE_CLIENTS") or ROOT / "build" / "release")
TEXT_IDS = (300, 49_000)  # of SmolLM2's vocabulary: no special tokens, no single bytes
CLIENT_S = 600


def prompt(salt: str, n_tokens: int) -> list[int]:
    return random.Random(salt).choices(range(*TEXT_IDS), k=n_tokens)


def completion(salt: str, n_prompt: int, n_generate: int, stream: bool = True) -> dict:
    body = {"model": "peer", "prompt": prompt(salt, n_prompt), "max_tokens": n_generate, "temperature": 0,
            "ignore_eos": True}
    return body | {"stream": True, "stream_options": {"include_usage": True}} if stream else body


def client(name: str, server, *arguments, stdin: str) -> dict:
    done = subprocess.run([*server.enter, CLIENTS / name, "127.0.0.1", str(server.port), "/v1/completions", *map(str, arguments)],
                          input=stdin, capture_output=True, text=True, timeout=CLIENT_S)
    if done.returncode:
        raise RuntimeError(f"{server.side.name}: {done.stderr.strip()}\n{server.log()[-1500:]}")
    return json.loads(done.stdout)


def stream_all(server, requests: list[tuple[int, dict]]) -> list[dict]:
    """(after, body) as stream_load takes them; checks that each side did all the work."""
    lines = "".join(f"{after} {json.dumps(body)}\n" for after, body in requests)
    streams = client("stream_load", server, stdin=lines)["streams"]
    for stream, (_, body) in zip(streams, requests):
        done = stream["prompt_tokens"], stream["completion_tokens"]
        if done != (len(body["prompt"]), body["max_tokens"]):
            raise RuntimeError(f"{server.side.name} did {done} of {len(body['prompt'])} + {body['max_tokens']} tokens")
    return streams
