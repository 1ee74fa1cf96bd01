#!/usr/bin/env python3
"""Seeds of the model file fuzzers, cut from the tiny checkpoints: python3 scripts/golden/fuzz_corpus.py

Whole real files where they are small; else the same file with fewer tokens or tensors, so that a fuzzer reaches the
interesting bytes soon. Needs nothing but Python.
"""
import json
import pathlib
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "tests/golden/tiny"
CORPUS = ROOT / "tests/fuzz/corpus"


def gguf(entries: list, tensors: list, version: int = 3) -> bytes:
    """entries: (key, type, value bytes); tensors: (name, dims, type, data)."""
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    for key, kind, value in entries:
        out += text(key) + struct.pack("<I", kind) + value
    offset = 0
    for name, dims, kind, data in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        out += struct.pack("<IQ", kind, offset)
        offset += (len(data) + 31) // 32 * 32
    for _, _, _, data in tensors:
        out += b"\0" * (-len(out) % 32) + data
    return out


def spm_vocabulary() -> bytes:
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    tokens = ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "\u2581a"]
    many = lambda kind, items: struct.pack("<IQ", kind, len(items)) + b"".join(items)
    return gguf(
        [
            ("general.architecture", 8, text("llama")),
            ("tokenizer.ggml.model", 8, text("llama")),
            ("tokenizer.ggml.tokens", 9, many(8, [text(t) for t in tokens])),
            ("tokenizer.ggml.scores", 9, many(6, [struct.pack("<f", -i) for i in range(7)])),
            ("tokenizer.ggml.token_type", 9, many(5, [struct.pack("<i", t) for t in (2, 3, 3, 6, 1, 1, 1)])),
            ("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
            ("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)),
            ("tokenizer.ggml.add_space_prefix", 7, b"\1"),
        ],
        [],
        version=2,
    )


def one_layer() -> bytes:
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    u32 = lambda n: struct.pack("<I", n)
    many = lambda kind, items: struct.pack("<IQ", kind, len(items)) + b"".join(items)
    entries = [
        ("general.architecture", 8, text("llama")),
        ("llama.block_count", 4, u32(1)),
        ("llama.context_length", 4, u32(64)),
        ("llama.embedding_length", 4, u32(4)),
        ("llama.feed_forward_length", 4, u32(6)),
        ("llama.attention.head_count", 4, u32(2)),
        ("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
        ("llama.rope.scaling.type", 8, text("linear")),
        ("llama.rope.scaling.factor", 6, struct.pack("<f", 2)),
        ("tokenizer.ggml.model", 8, text("gpt2")),
        ("tokenizer.ggml.pre", 8, text("smollm")),
        ("tokenizer.ggml.tokens", 9, many(8, [text(t) for t in ("<|im_end|>", "a", "b", "ab")])),
        ("tokenizer.ggml.token_type", 9, many(5, [struct.pack("<i", t) for t in (3, 1, 1, 1)])),
        ("tokenizer.ggml.merges", 9, many(8, [text("a b")])),
    ]
    shapes = {"attn_norm": [4], "attn_q": [4, 4], "attn_k": [4, 4], "attn_v": [4, 4], "attn_output": [4, 4],
              "ffn_norm": [4], "ffn_gate": [4, 6], "ffn_up": [4, 6], "ffn_down": [6, 4]}
    tensors = [("token_embd.weight", [4, 4], 1, bytes(32)), ("output_norm.weight", [4], 0, bytes(16))]
    for name, dims in shapes.items():
        count = dims[0] * (dims[1] if len(dims) > 1 else 1)
        tensors.append((f"blk.0.{name}.weight", dims, 30, bytes(2 * count)))
    return gguf(entries, tensors)


def smallest_tensors(path: pathlib.Path, count: int) -> bytes:
    """The same file with only its `count` smallest tensors, moved together."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8:start])
    table.pop("__metadata__", None)
    kept, body = {}, b""
    for name, entry in sorted(table.items(), key=lambda kv: kv[1]["data_offsets"][1] - kv[1]["data_offsets"][0])[:count]:
        begin, end = entry["data_offsets"]
        kept[name] = entry | {"data_offsets": [len(body), len(body) + end - begin]}
        body += data[start + begin : start + end]
    header = json.dumps({"__metadata__": {"format": "pt"}} | kept, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + body


def short_tokenizer(name: str, keep: int) -> bytes:
    tokenizer = json.loads((TINY / name / "tokenizer.json").read_text())
    model = tokenizer["model"]
    model["vocab"] = dict(sorted(model["vocab"].items(), key=lambda kv: kv[1])[:keep])
    model["merges"] = model["merges"][:8]
    config = (TINY / name / "tokenizer_config.json").read_bytes()
    return b"t" + json.dumps(tokenizer, ensure_ascii=False).encode() + b"\n--\n" + config


def main() -> None:
    for name in ("gguf", "safetensors", "hf_json"):
        shutil.rmtree(CORPUS / name, ignore_errors=True)
        (CORPUS / name).mkdir(parents=True)
    shutil.copy(TINY / "llama3/llama3-q4_0.gguf", CORPUS / "gguf/llama3-q4_0")
    (CORPUS / "gguf/spm-vocabulary").write_bytes(spm_vocabulary())
    (CORPUS / "gguf/one-layer").write_bytes(one_layer())
    for name in ("qwen2", "smollm2", "llama2"):
        (CORPUS / "safetensors" / name).write_bytes(smallest_tensors(TINY / name / "model.safetensors", 6))
    for name in ("llama2", "llama3", "qwen2", "qwen25", "qwen3", "mistral"):
        (CORPUS / "hf_json" / f"config-{name}").write_bytes(b"c" + (TINY / name / "config.json").read_bytes())
    (CORPUS / "hf_json/generation").write_bytes(b'g{"eos_token_id": [1, 2], "temperature": 0.6}')
    (CORPUS / "hf_json/index-mistral").write_bytes(b"i" + (TINY / "mistral/model.safetensors.index.json").read_bytes())
    for name, keep in (("llama2", 12), ("llama3", 12), ("smollm2", 12), ("qwen3", 12)):
        (CORPUS / "hf_json" / f"tokenizer-{name}").write_bytes(short_tokenizer(name, keep))


if __name__ == "__main__":
    main()
