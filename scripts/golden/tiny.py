"""Writes tests/golden/tiny/<name>/: tiny random checkpoints in the Hugging Face layout, two of them also as
GGUF, with the logits that PyPI transformers (float32, eager attention) computes from the written files.
See tests/golden/tiny/README.md.

llama2, llama3, smollm2 and qwen2 have config.json in the form of older releases (rope_theta, rope_scaling, torch_dtype;
template in tokenizer_config.json), the others in the newer one (rope_parameters, dtype; template in chat_template.jinja).
Both are met in published files.

llama3-f32.gguf (q/k rows in adjacent pairs, rope_freqs) and qwen3-f32.gguf (halves) hold the same weights as the directory,
so expected.bin holds for them; llama3-q4_0.gguf and qwen3-q8_0.gguf have their own expected-*.bin, computed by transformers
from the dequantised weights. Norms and biases stay F32.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import tiny_tokenizers
import torch
from logit_file import write
from tiny_gguf import write_gguf
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "tiny"
SEED = 7
PROMPT = 48

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start|>' + message['role'] + '\n\n' + message['content'] | trim"
    " + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n\n' }}{% endif %}"
)
BYTES = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
SPM = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
L3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}


def rope(base: float, **scaling) -> dict:
    return {"rope_theta": base, "rope_type": "default"} | scaling


LINEAR = rope(10000.0, rope_type="linear", factor=2.0)
# The wave lengths of head_dim 16 and base 500 lie on both sides of and between the two limits below.
LLAMA3 = rope(
    500.0,
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=128,
)


# What varies: configuration, tokenizer, storage type. `old`: config.json in the form of older releases
# (rope_theta, rope_scaling, torch_dtype), which is what most published files have.
def variants() -> dict[str, dict]:
    common = {"num_hidden_layers": 2, "max_position_embeddings": 256}
    return {
        "llama2": dict(
            config=LlamaConfig(
                **common, vocab_size=320, hidden_size=48, intermediate_size=88, num_attention_heads=3,
                num_key_value_heads=3, rms_norm_eps=1e-5, rope_parameters=LINEAR, tie_word_embeddings=False,
                bos_token_id=1, eos_token_id=2,
            ),
            tokenizer=tiny_tokenizers.sentencepiece, names=SPM, dtype=torch.float16, old=True,
        ),
        "llama3": dict(
            config=LlamaConfig(
                **common, vocab_size=288, hidden_size=32, head_dim=16, intermediate_size=64, num_attention_heads=4,
                num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters=LLAMA3, tie_word_embeddings=False,
                bos_token_id=0, eos_token_id=[1, 2],
            ),
            tokenizer=tiny_tokenizers.llama3, names=L3, dtype=torch.bfloat16, old=True, chat=LLAMA3_CHAT, gguf="Q4_0",
        ),
        "smollm2": dict(
            config=LlamaConfig(
                **common, vocab_size=288, hidden_size=72, intermediate_size=48, num_attention_heads=9,
                num_key_value_heads=3, rms_norm_eps=1e-5, rope_parameters=rope(100000.0), tie_word_embeddings=True,
                bos_token_id=1, eos_token_id=2, pad_token_id=2,
            ),
            tokenizer=tiny_tokenizers.smollm, names=BYTES, dtype=torch.float32, old=True, chat=CHATML,
        ),
        "qwen2": dict(
            config=Qwen2Config(
                **common, vocab_size=304, hidden_size=40, intermediate_size=96, num_attention_heads=1,
                num_key_value_heads=1, rms_norm_eps=1e-6, rope_parameters=rope(1000000.0), tie_word_embeddings=False,
                bos_token_id=301, eos_token_id=303,
            ),
            # use_sliding_window is false, so the window must have no effect, as in Qwen's own files.
            tokenizer=tiny_tokenizers.qwen2, names=BYTES, dtype=torch.bfloat16, old=True, chat=CHATML,
            patch={"sliding_window": 8, "use_sliding_window": False, "max_window_layers": 2},
        ),
        "qwen25": dict(
            config=Qwen2Config(
                **common, vocab_size=320, hidden_size=48, intermediate_size=96, num_attention_heads=3,
                num_key_value_heads=1, rms_norm_eps=1e-6, rope_parameters=rope(1000000.0), tie_word_embeddings=True,
                bos_token_id=317, eos_token_id=319,
            ),
            # The matrix has more rows than the tokenizer has tokens, as in Qwen's own files.
            tokenizer=tiny_tokenizers.qwen2, tokens=304, names=BYTES, dtype=torch.float16, old=False, chat=CHATML,
        ),
        "qwen3": dict(
            config=Qwen3Config(
                **common, vocab_size=288, hidden_size=64, head_dim=32, intermediate_size=32, num_attention_heads=3,
                num_key_value_heads=1, rms_norm_eps=1e-6, rope_parameters=rope(1000000.0), tie_word_embeddings=True,
                bos_token_id=285, eos_token_id=287,
            ),
            tokenizer=tiny_tokenizers.qwen2, names=BYTES, dtype=torch.float32, old=False, chat=CHATML, gguf="Q8_0",
        ),
        "mistral": dict(
            config=MistralConfig(
                **common, vocab_size=320, hidden_size=48, intermediate_size=96, num_attention_heads=6,
                num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters=rope(10000.0), sliding_window=16,
                tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
            ),
            tokenizer=tiny_tokenizers.sentencepiece, names=SPM, dtype=torch.bfloat16, old=False, shard="60KB",
        ),
        "llama-bias": dict(
            config=LlamaConfig(
                **common, vocab_size=288, hidden_size=72, intermediate_size=24, num_attention_heads=9,
                num_key_value_heads=9, rms_norm_eps=1e-6, rope_parameters=rope(10000.0), attention_bias=True,
                mlp_bias=True, tie_word_embeddings=True, bos_token_id=0, eos_token_id=2,
            ),
            tokenizer=tiny_tokenizers.smollm, names=BYTES, dtype=torch.float32, old=False,
        ),
    }


@torch.no_grad()
def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights that keep the residual stream of order one and spread the logits over tens."""
    tied = model.config.tie_word_embeddings
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            weight.copy_(1 + 0.25 * noise)
        elif name.endswith("bias"):
            weight.copy_(0.4 * noise)
        elif "embed_tokens" in name:
            weight.copy_(noise * (0.5 if tied else 1.0))
        else:
            gain = 3.0 if "lm_head" in name else 1.3
            weight.copy_(noise * gain / math.sqrt(weight.shape[1]))


def old_config(path: Path) -> None:
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    if kind == "linear":
        config["rope_scaling"] = {"type": "linear"} | parameters
    elif kind == "llama3":
        config["rope_scaling"] = parameters | {"rope_type": "llama3"}
    else:
        config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    if config.get("head_dim") == config["hidden_size"] // config["num_attention_heads"]:
        del config["head_dim"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


SAMPLES = [
    "the other theatre",
    "Hello, world! I'll be there at 10:45.",
    "  two spaces,\ttab\nand\n\n  lines  ",
    "caf\u00e9 na\u00efve e\u0301",
    "\u65e5\u672c\u8a9e\u306e\u6587 \u4e00\u4e01",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u0645\u0631\u062d\u0628\u0627",
    "x = 1234567; // don't",
    "",
]


def logits_of(directory: Path, prompt: np.ndarray, state: dict | None = None) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    if state is not None:
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        model.tie_weights()
    with torch.no_grad():
        return model(torch.tensor(prompt[None].astype(np.int64))).logits[0].numpy()


def make(name: str, variant: dict, generator: torch.Generator, rng: np.random.Generator) -> None:
    directory = OUT / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    config = variant["config"]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, generator)
    model.to(variant["dtype"]).save_pretrained(directory, max_shard_size=variant.get("shard", "5GB"))
    (directory / "generation_config.json").unlink(missing_ok=True)
    tokenizer = variant["tokenizer"](variant.get("tokens", config.vocab_size))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **variant["names"])
    fast.save_pretrained(directory)
    settings = directory / "tokenizer_config.json"
    if chat := variant.get("chat"):
        if variant["old"]:  # older releases keep the template among the settings, newer ones in a file
            settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": chat}, indent=2) + "\n")
        else:
            (directory / "chat_template.jinja").write_text(chat)
    if patch := variant.get("patch"):
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | patch, indent=2) + "\n")
    if variant["old"]:
        old_config(directory / "config.json")

    prompt = rng.integers(0, tokenizer.get_vocab_size(), PROMPT).astype(np.int32)
    logits = logits_of(directory, prompt)
    write(directory / "expected.bin", config.vocab_size, [(prompt, logits)])
    samples = [{"text": t, "ids": tokenizer.encode(t).ids} for t in SAMPLES]
    (directory / "tokens.json").write_text(json.dumps(samples, indent=0) + "\n")

    if quantised := variant.get("gguf"):
        for kind in ("F32", quantised):
            state = write_gguf(directory / f"{name}-{kind.lower()}.gguf", directory, kind)
            expected = logits_of(directory, prompt, state)
            if kind == "F32":  # the same weights: expected.bin holds for both
                assert np.array_equal(expected, logits)
            else:
                write(directory / f"expected-{kind.lower()}.bin", config.vocab_size, [(prompt, expected)])
    size = sum(p.stat().st_size for p in directory.glob("*.safetensors"))
    top = np.sort(logits, axis=1)[:, ::-1]
    print(f"{name}: {size / 1024:.0f} KB, logits {logits.std():.1f} sd, median margin {np.median(top[:, 0] - top[:, 1]):.2f}")


def main() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for index, (name, variant) in enumerate(variants().items()):
        generator = torch.Generator().manual_seed(SEED + index)
        make(name, variant, generator, np.random.default_rng(SEED + index))


if __name__ == "__main__":
    main()
