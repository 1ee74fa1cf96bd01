"""How near troupe's decoding comes to what the memory gives: a plain read, the matrix kernels alone, the whole step."""

import json

from sides import Troupe, timed_call
from workload import CLIENTS

GEMV_BENCH = CLIENTS / "gemv_bench"
PROMPT, GENERATE = 128, 128  # contexts up to 256


def kernels_alone(troupe: Troupe, isa: str) -> float:
    """Their share of a plain read of as many bytes by the same threads of the same pool."""
    out, _ = timed_call([GEMV_BENCH, "--rounds", 1, "--threads", troupe.threads, "--isa", isa], {})
    said = json.loads(out)
    return said["gemv_gb_per_s"][0] / said["read_gb_per_s"][0]


def measure(troupe: Troupe, isa: str, rounds: int) -> dict[str, list[float]]:
    """figure -> a value a round. One round before is not counted."""
    figures = {"read": [], "gemv_share": [], "step_share": []}
    for number in range(rounds + 1):
        said, _ = troupe.bench("--batch", 1, "--rounds", 1, "--prefill-tokens", 1, "--prompt-tokens", PROMPT, "--generate",
                               GENERATE)
        values = (said["read_bytes_per_second"] / 1e9, kernels_alone(troupe, isa), said["decode"][0]["bandwidth_share"])
        for figure, value in zip(figures.values(), values) if number else ():
            figure.append(value)
    return figures
