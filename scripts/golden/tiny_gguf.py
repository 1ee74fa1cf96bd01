"""Writes a tiny Hugging Face checkpoint as GGUF: names, metadata and the order of q/k rows as llama.cpp's
converter writes them."""

import json
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file

LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def gguf_name(name: str) -> str:
    if name in OUTER:
        return OUTER[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER[rest]}"


def to_adjacent(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row i of the first half of a head and row i of the second half become neighbours."""
    out, cols = rows.shape
    return rows.reshape(heads, 2, out // heads // 2, cols).swapaxes(1, 2).reshape(out, cols)


def to_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    out, cols = rows.shape
    return rows.reshape(heads, out // heads // 2, 2, cols).swapaxes(1, 2).reshape(out, cols)


def llama3_divisors(config: dict, dim: int) -> np.ndarray:
    """The divisors of the rotary frequencies, as the Llama 3.1 reference code scales them."""
    scaling = config["rope_scaling"]
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    divisors = []
    for i in range(0, dim, 2):
        wave = 2 * np.pi * config["rope_theta"] ** (i / dim)
        if wave < high:
            divisors.append(1.0)
        elif wave > low:
            divisors.append(scaling["factor"])
        else:
            smooth = (scaling["original_max_position_embeddings"] / wave - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"]
            )
            divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(divisors, np.float32)


def write_tokenizer(writer: GGUFWriter, directory: Path, config: dict, pre: str) -> None:
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    vocab = dict(tokenizer["model"]["vocab"])
    special = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    vocab |= special
    by_id = {i: t for t, i in vocab.items()}
    size = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([by_id[i] for i in range(size)])
    writer.add_token_types([TokenType.CONTROL if by_id[i] in special else TokenType.NORMAL for i in range(size)])
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    eos = config["eos_token_id"]
    writer.add_eos_token_id(eos[-1] if isinstance(eos, list) else eos)
    writer.add_add_bos_token(pre == "llama-bpe")
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    beside = directory / "chat_template.jinja"
    writer.add_chat_template(beside.read_text() if beside.exists() else settings["chat_template"])


def write_gguf(path: Path, directory: Path, kind: str) -> dict[str, torch.Tensor]:
    """Returns the weights under their Hugging Face names as a reader of the file sees them, in float32."""
    config = json.loads((directory / "config.json").read_text())
    arch = config["model_type"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config["head_dim"]
    writer = GGUFWriter(path, arch)
    writer.add_name(path.stem)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    if arch == "llama":
        writer.add_rope_dimension_count(dim)
        writer.add_vocab_size(config["vocab_size"])
    write_tokenizer(writer, directory, config, "llama-bpe" if arch == "llama" else "qwen2")

    qtype = GGMLQuantizationType[kind]
    state = {}
    if config.get("rope_scaling"):
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config, dim))
    for name, tensor in sorted(load_file(directory / "model.safetensors").items()):
        rows = tensor.to(torch.float32).numpy()
        n = heads if "q_proj" in name else kv_heads if "k_proj" in name else 0
        if arch == "llama" and n:
            rows = to_adjacent(rows, n)
        if rows.ndim == 1:
            writer.add_tensor(gguf_name(name), rows)
        else:
            packed = quantize(rows, qtype)
            writer.add_tensor(gguf_name(name), packed, raw_dtype=qtype)
            rows = dequantize(packed, qtype)
        if arch == "llama" and n:
            rows = to_halves(rows, n)
        state[name] = torch.from_numpy(np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state
