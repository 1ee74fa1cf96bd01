"""What is measured: one function a row of the table. Each takes a side (or its running server) and a salt, and gives
one or more numbers; lower or higher is better as the row says."""

import http.client
import json
import math
import time
from dataclasses import dataclass
from typing import Callable

from neighbours import rates_beside
from servers import Server
from workload import client, completion, stream_all

PROMPT, GENERATE, CONCURRENT = 128, 128, 16
RUNNING, LONG_PROMPT = 4, 512
ARRIVES_AFTER = 16  # tokens that each running stream has had when the long prompt comes
START_S = 60
BESIDE_TOKENS = 64  # the peer may be at a twentieth of its rate


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def decode_cli(side, _) -> dict:
    return {"decode_cli": side.decode(PROMPT, GENERATE)}


def prefill_cli(side, _) -> dict:
    return {"prefill": side.prefill(LONG_PROMPT)}


def start_cli(side, _) -> dict:
    return {"start_cli": side.first_token()}


def decode_http(server, salt) -> dict:
    [stream] = stream_all(server, [(0, completion(salt, PROMPT, GENERATE))])
    return {"decode_http": (GENERATE - 1) / (stream["events"][-1] - stream["events"][0])}


def concurrent(server, salt) -> dict:
    """Both the throughput and the time to first token of one burst."""
    streams = stream_all(server, [(0, completion(f"{salt} {i}", PROMPT, GENERATE)) for i in range(CONCURRENT)])
    return {"concurrent": CONCURRENT * GENERATE / max(s["events"][-1] for s in streams),
            "ttft_p95": percentile([s["events"][0] - s["sent"] for s in streams], 0.95)}


def gaps(server, salt) -> dict:
    """Of the running streams, while the long prompt is between its arrival and its first token."""
    requests = [(0, completion(f"{salt} {i}", PROMPT, GENERATE)) for i in range(RUNNING)]
    *running, late = stream_all(server, [*requests, (ARRIVES_AFTER, completion(f"{salt} long", LONG_PROMPT, 8))])
    overlapping = [b - a for s in running for a, b in zip(s["events"], s["events"][1:])
                   if b > late["sent"] and a < late["events"][0]]
    return {"largest_gap": max(overlapping), "gap_p99": percentile(overlapping, 0.99)}


def start_http(side, salt) -> dict:
    """From spawn to the first event with text; asks again as long as the server is not there or answers 503."""
    body = json.dumps(completion(salt, 16, 4))
    with Server(side, *(["--no-warmup"] if side.name == "llama.cpp" else [])) as server:
        while time.monotonic() < server.started + START_S:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=START_S)
            try:
                connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status == 200:
                    while line := answer.readline():
                        if b'"text":"' in line and b'"text":""' not in line:
                            return {"start_http": time.monotonic() - server.started}
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(0.002)
        raise RuntimeError(f"{side.name} gave no token within {START_S} s: {server.log()[-1500:]}")


def neighbours(side, _) -> dict:
    return rates_beside(lambda: side.decode(PROMPT, BESIDE_TOKENS))


def repeat(server, salt) -> dict:
    """Microseconds. troupe answers from its response cache; the peer, which has none, computes again."""
    ours = server.side.name == "troupe"
    body = json.dumps(completion(salt, PROMPT, GENERATE, stream=False))
    said = client("repeat_request", server, *((5000, 500) if ours else (3, 1)), stdin=body)
    if ours and said["x_cache"] != "hit-memory":
        raise RuntimeError(f"the repeated request was no hit: X-Cache is {said['x_cache']!r}")
    return {"repeat": said["p50_us"]}


@dataclass(frozen=True)
class Scenario:
    run: Callable
    needs_server: bool
    variant: str  # which calibration picks the peer's build: decode, prefill or serve


SCENARIOS = {
    "decode_cli": Scenario(decode_cli, False, "decode"),
    "decode_http": Scenario(decode_http, True, "decode"),
    "concurrent": Scenario(concurrent, True, "serve"),
    "prefill": Scenario(prefill_cli, False, "prefill"),
    "gaps": Scenario(gaps, True, "serve"),
    "start_http": Scenario(start_http, False, "serve"),
    "start_cli": Scenario(start_cli, False, "decode"),
    "neighbours": Scenario(neighbours, False, "decode"),
    "repeat": Scenario(repeat, True, "serve"),
}
