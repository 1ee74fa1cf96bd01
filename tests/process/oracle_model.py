"""The oracle backend foretold: vocabulary, tokenizer and next token, written again in a second language
from config/mix.h, model/oracle/ and the oracle's vocabulary, so that a server's answers can be checked from outside.
"""

MASK = (1 << 64) - 1
END = 0
VOCAB = 4096


def mix(x: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def chain(state: int, value: int) -> int:
    return mix(state ^ mix(value ^ 0x5851F42D4C957F2D))


def _vocabulary() -> list[bytes]:
    """0 ends an answer; 1..255 are bytes, 256 the byte 0; then words of one and two syllables."""
    syllables = [o + v for o in "bdfghklmnprstvwz" for v in "aeiou"]
    tokens = [b""] + [bytes([b]) for b in range(1, 256)] + [b"\0"]
    tokens += [f" {s}".encode() for s in syllables]
    pair = 0
    while len(tokens) < VOCAB:
        first, second = divmod(pair * 2621 % 6400, 80)
        tokens.append(f" {syllables[first]}{syllables[second]}".encode())
        pair += 1
    return tokens


TOKENS = _vocabulary()
_IDS = {text: i for i, text in enumerate(TOKENS) if i != END}


def encode(text: str) -> list[int]:
    """The longest token first, from the left."""
    data, ids, at = text.encode(), [], 0
    while at < len(data):
        length = next(n for n in range(5, 0, -1) if at + n <= len(data) and data[at : at + n] in _IDS)
        ids.append(_IDS[data[at : at + length]])
        at += length
    return ids


def text_of(ids: list[int]) -> str:
    return b"".join(TOKENS[i] for i in ids).decode("utf-8", "replace")


def answer(prompt: list[int], count: int, seed: int = 1) -> tuple[list[int], str]:
    """At most `count` tokens and why the answer ends. The end token is not part of it."""
    state = mix(seed)
    for token in prompt:
        state = chain(state, token)
    out: list[int] = []
    while len(out) < count:
        token = END if state >> 54 == 0 else 1 + state % (VOCAB - 1)
        if token == END:
            return out, "stop"
        out.append(token)
        state = chain(state, token)
    return out, "length"
