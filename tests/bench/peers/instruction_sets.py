"""Which instruction sets each side really used, in its own words, and whether that is what was asked for. Pure."""

import re

# What llama.cpp's system_info line calls those beyond AVX2; absent or 0 where the build has none.
BEYOND_AVX2 = re.compile(r"(?:AVX_VNNI|AVX512\w*|AMX\w*)$")


def of_troupe(describe: str) -> str:
    """`native avx2` of what a bench or a shard says of itself."""
    found = re.match(r"native (scalar|avx2|avx512|amx)\b", describe)
    if not found:
        raise RuntimeError(f"troupe names no instruction set: {describe!r}")
    return found[1]


def of_llama(log: str) -> list[str]:
    """Those of the system_info line of a llama-server that was started with `-lv 4`."""
    line = next((x for x in log.splitlines() if "system_info:" in x), "")
    found = [name for name, on in re.findall(r"(\w+) = (\d+)", line.partition("CPU :")[2]) if on != "0"]
    if not found:
        raise RuntimeError(f"llama-server has no system_info line of its processor: {line!r}")
    return found


def check_troupe(asked: str, used: str) -> None:
    if asked not in ("", used):
        raise RuntimeError(f"troupe runs on {used} where {asked} was asked for: this processor has no {asked}")


def check_llama(asked: str, used: list[str]) -> None:
    """A peer for AVX2 has all of that and nothing beyond."""
    beyond = [name for name in used if BEYOND_AVX2.match(name)]
    if asked == "avx2" and (beyond or not {"AVX2", "FMA", "F16C"}.issubset(used)):
        raise RuntimeError(f"llama.cpp was to be built for AVX2 and has {', '.join(used)}: remove build/peers/avx2-*")
