"""Reads and writes the files of expected logits (format: tests/golden/README.md)."""

import struct
from pathlib import Path

import numpy as np

FIXED = 64
TOP = 64


def fixed_ids(vocab: int) -> np.ndarray:
    """Ids spread over the vocabulary, the first and the last among them."""
    return np.unique(np.linspace(0, vocab - 1, FIXED).round().astype(np.int32))


def pack_prompt(ids: np.ndarray, logits: np.ndarray, fixed: np.ndarray, top: int = TOP) -> bytes:
    """One prompt: its ids and, for each position, what is kept of logits [positions, vocab]."""
    ids = np.asarray(ids, "<i4")
    assert logits.shape[0] == len(ids) and np.isfinite(logits).all()
    out = [struct.pack("<I", len(ids)), ids.tobytes()]
    for row in logits.astype(np.float64):
        peak = row.max()
        lse = peak + np.log(np.exp(row - peak).sum())
        order = np.lexsort((np.arange(len(row)), -row))[:top]  # by value, ties to the lowest id
        out += [
            np.array([lse], "<f4").tobytes(),
            row[fixed].astype("<f4").tobytes(),
            order.astype("<i4").tobytes(),
            row[order].astype("<f4").tobytes(),
        ]
    return b"".join(out)


def write(path: Path, vocab: int, prompts: list[tuple[np.ndarray, np.ndarray]]) -> None:
    fixed = fixed_ids(vocab)
    head = b"TLG1" + struct.pack("<IIII", vocab, len(fixed), TOP, len(prompts))
    body = b"".join(pack_prompt(ids, logits, fixed) for ids, logits in prompts)
    path.write_bytes(head + fixed.astype("<i4").tobytes() + body)
