"""A plain float32 Llama forward pass in numpy, written from the papers (Touvron et al. 2023; RoPE, Su et al. 2021;
grouped queries, Ainslie et al. 2023). It shares no code with Troupe, torch or llama.cpp: only the GGUF container and the
weight formats are read by PyPI gguf. Slow and clear on purpose.

    reference_f32.py MODEL.gguf     writes tests/golden/smollm2/reference.bin
    reference_f32.py --check        compares itself with the logits transformers gave for tests/golden/tiny/llama3
"""

import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from logit_file import write

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


class Llama:
    def __init__(self, path: Path):
        reader = GGUFReader(path)
        meta = {key: field.contents() for key, field in reader.fields.items() if key.startswith("llama.")}
        self.layers = meta["llama.block_count"]
        self.heads = meta["llama.attention.head_count"]
        self.kv_heads = meta["llama.attention.head_count_kv"]
        self.eps = np.float32(meta["llama.attention.layer_norm_rms_epsilon"])
        self.base = meta["llama.rope.freq_base"]
        self.dim = meta["llama.rope.dimension_count"]
        self.weights = {
            t.name: np.asarray(dequantize(t.data, t.tensor_type), np.float32).reshape(t.shape[::-1])
            for t in reader.tensors
        }
        self.embedding = self.weights["token_embd.weight"]
        self.head = self.weights.get("output.weight", self.embedding)
        self.vocab = self.embedding.shape[0]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps) * self.weights[name]

    def rotate(self, x: np.ndarray) -> np.ndarray:
        """x: [positions, heads, dim]. GGUF's llama files keep the two elements of a rotation side by side."""
        inverse = self.base ** (-np.arange(0, self.dim, 2, dtype=np.float64) / self.dim)
        if "rope_freqs.weight" in self.weights:
            inverse = inverse / self.weights["rope_freqs.weight"]
        angle = np.arange(x.shape[0], dtype=np.float64)[:, None] * inverse
        cos = np.cos(angle).astype(np.float32)[:, None]
        sin = np.sin(angle).astype(np.float32)[:, None]
        even, odd = x[..., 0::2], x[..., 1::2]
        out = np.empty_like(x)
        out[..., 0::2] = even * cos - odd * sin
        out[..., 1::2] = even * sin + odd * cos
        return out

    def attention(self, x: np.ndarray, layer: int) -> np.ndarray:
        n = x.shape[0]
        q = self.rotate((x @ self.weights[f"blk.{layer}.attn_q.weight"].T).reshape(n, self.heads, self.dim))
        k = self.rotate((x @ self.weights[f"blk.{layer}.attn_k.weight"].T).reshape(n, self.kv_heads, self.dim))
        v = (x @ self.weights[f"blk.{layer}.attn_v.weight"].T).reshape(n, self.kv_heads, self.dim)
        out = np.empty_like(q)
        future = np.triu(np.ones((n, n), bool), 1)
        for h in range(self.heads):
            shared = h * self.kv_heads // self.heads
            score = q[:, h] @ k[:, shared].T / np.float32(np.sqrt(self.dim))
            score[future] = -np.inf
            weight = np.exp(score - score.max(axis=1, keepdims=True))
            out[:, h] = weight / weight.sum(axis=1, keepdims=True) @ v[:, shared]
        return out.reshape(n, -1) @ self.weights[f"blk.{layer}.attn_output.weight"].T

    def feed_forward(self, x: np.ndarray, layer: int) -> np.ndarray:
        gate = x @ self.weights[f"blk.{layer}.ffn_gate.weight"].T
        up = x @ self.weights[f"blk.{layer}.ffn_up.weight"].T
        return (gate / (1 + np.exp(-gate)) * up) @ self.weights[f"blk.{layer}.ffn_down.weight"].T

    def logits(self, ids) -> np.ndarray:
        """float32 [positions, vocab]: logits after each position of `ids`."""
        x = self.embedding[np.asarray(ids)]
        for layer in range(self.layers):
            x = x + self.attention(self.norm(x, f"blk.{layer}.attn_norm.weight"), layer)
            x = x + self.feed_forward(self.norm(x, f"blk.{layer}.ffn_norm.weight"), layer)
        out = self.norm(x, "output_norm.weight") @ self.head.T
        assert out.dtype == np.float32
        return out


def check() -> None:
    """transformers and this script must agree on a model that both can read."""
    data = (GOLDEN / "tiny" / "llama3" / "expected.bin").read_bytes()
    _, n_fixed, n_top, _ = struct.unpack_from("<IIII", data, 4)
    fixed = np.frombuffer(data, "<i4", n_fixed, 20)
    at = 20 + 4 * n_fixed
    (n,) = struct.unpack_from("<I", data, at)
    ids = np.frombuffer(data, "<i4", n, at + 4)
    rows = np.frombuffer(data, "<f4", n * (1 + n_fixed + 2 * n_top), at + 4 + 4 * n).reshape(n, -1)
    ours = Llama(GOLDEN / "tiny" / "llama3" / "llama3-f32.gguf").logits(ids)[:, fixed]
    difference = np.abs(ours - rows[:, 1 : 1 + n_fixed]).max()
    print(f"largest difference from transformers: {difference:.2e}")
    assert difference < 1e-4


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        check()
        return
    from smollm2_prompts import reference_prompts

    model = Llama(Path(sys.argv[1]))
    prompts = reference_prompts(Path(sys.argv[1]))
    results = [(np.array(ids, np.int32), model.logits(ids)) for ids in prompts]
    out = GOLDEN / "smollm2" / "reference.bin"
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, model.vocab, results)
    print(f"{len(results)} prompts, {sum(len(i) for i, _ in results)} positions, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
