"""Writes tests/golden/dequant/*.bin: random blocks of every weight format Troupe reads, with the
float32 values that PyPI gguf's numpy dequantisation gives for them. See tests/golden/dequant/README.md.
"""

import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Q
from gguf.quants import dequantize

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "dequant"
SEED = 20240601

# name, type, byte offsets of the float16 fields in a block, blocks to write
FORMATS = [
    ("q4_0", Q.Q4_0, [0], 64),
    ("q4_1", Q.Q4_1, [0, 2], 64),
    ("q5_0", Q.Q5_0, [0], 64),
    ("q5_1", Q.Q5_1, [0, 2], 64),
    ("q8_0", Q.Q8_0, [0], 64),
    ("q4_k", Q.Q4_K, [0, 2], 24),
    ("q5_k", Q.Q5_K, [0, 2], 24),
    ("q6_k", Q.Q6_K, [208], 24),
]

# zero, minus zero, the smallest and largest subnormal, the smallest normal, one, the largest, minus the largest
F16_EDGES = [0x0000, 0x8000, 0x0001, 0x03FF, 0x8155, 0x0400, 0x3C00, 0x7BFF, 0xFBFF]


def finite_f16(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random finite float16 bit patterns (any exponent, so subnormals too), the edges first."""
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    bits[(bits & 0x7C00) == 0x7C00] &= 0x83FF  # infinities and NaNs become subnormals
    edges = np.array(F16_EDGES, np.uint16)[:count]
    bits[: len(edges)] = edges
    return bits


def blocks_of(rng: np.random.Generator, qtype: Q, f16_offsets: list[int], count: int) -> np.ndarray:
    _, size = GGML_QUANT_SIZES[qtype]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for field, at in enumerate(f16_offsets):
        bits = np.roll(finite_f16(rng, count), 5 * field)  # so that not all edges meet in one block
        raw[:, at : at + 2] = bits.astype("<u2").view(np.uint8).reshape(count, 2)
    # One block of all-ones and one of all-zero quants: the extremes of every integer field.
    for row, byte in ((count - 1, 0xFF), (count - 2, 0x00), (count - 3, 0x80)):
        keep = {at + i: raw[row, at + i] for at in f16_offsets for i in (0, 1)}
        raw[row, :] = byte
        for at, value in keep.items():
            raw[row, at] = value
    return raw.reshape(-1)


def float_bytes(rng: np.random.Generator, qtype: Q) -> np.ndarray:
    if qtype == Q.F16:
        bits = finite_f16(rng, 2048).astype("<u2")
        bits[-2:] = [0x7C00, 0xFC00]
    elif qtype == Q.BF16:
        bits = rng.integers(0, 1 << 16, 2048, dtype=np.uint16).astype("<u2")
        bits[(bits & 0x7F80) == 0x7F80] &= 0x807F
        bits[:3] = [0x0001, 0x7F80, 0xFF80]
    else:
        bits = rng.integers(0, 1 << 32, 512, dtype=np.uint32).astype("<u4")
        bits[(bits & 0x7F800000) == 0x7F800000] &= 0x807FFFFF
        bits[:3] = [0x00000001, 0x7F800000, 0xFF800000]
    return bits.view(np.uint8)


def write(name: str, qtype: Q, raw: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        values = dequantize(raw, qtype).astype("<f4").reshape(-1)
    assert not np.isnan(values).any(), name
    head = b"TDQ1" + struct.pack("<III", int(qtype), raw.size, values.size)
    path = OUT / f"{name}.bin"
    path.write_bytes(head + raw.tobytes() + values.tobytes())
    print(f"{path.name}: type {int(qtype)}, {raw.size} bytes -> {values.size} values")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    for name, qtype, offsets, count in FORMATS:
        write(name, qtype, blocks_of(rng, qtype, offsets, count))
    for name, qtype in (("f32", Q.F32), ("f16", Q.F16), ("bf16", Q.BF16)):
        write(name, qtype, float_bytes(rng, qtype))


if __name__ == "__main__":
    main()
