"""Writes tests/golden/smollm2/greedy.json: greedy continuations of 30 prompts by llama.cpp, with the margins of
reference_f32.py along the same path. Kept are the prompts whose first near tie comes latest: a small model that was
rounded to four bits is often undecided, and what follows a near tie can't be compared.

    greedy.py MODEL.gguf LLAMA_GREEDY      LLAMA_GREEDY: the program built from llama_greedy.cpp (README.md)

The file is {"near_tie": 0.35, "tokens": 48, "prompts": [...]}; of each prompt:
    kind, messages, prompt    "chat" or "raw"; the conversation; the text, for chats as the template renders it
    prompt_ids                by llama.cpp, special tokens parsed; Hugging Face tokenizers gives the same
    ids, text                 llama.cpp's greedy continuation, at most `tokens`; an end token, if it came, is the last id
                              and has no text
    margins                   llama.cpp's largest logit less its second, a step
    f32_ids, f32_margins      the best id and the margin of reference_f32.py at each step along llama.cpp's path
    first_near_tie            first step with f32_margins < near_tie, else the number of ids
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from reference_f32 import GOLDEN, Llama
from smollm2_prompts import CHATS_KEPT, RAW_KEPT, greedy_prompts, tokenizer

TOKENS = 48
NEAR_TIE = 0.35


def continuations(program: str, model: Path, prompts: list[dict]) -> list[dict]:
    stdin = b"".join(p["prompt"].encode() + b"\0" for p in prompts)
    run = subprocess.run([program, str(model), str(TOKENS)], input=stdin, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def decided(margins) -> int:
    """Steps before the first near tie."""
    near = np.flatnonzero(np.array(margins) < NEAR_TIE)
    return int(near[0]) if len(near) else len(margins)


def along(llama: Llama, prompt: dict, run: dict) -> dict | None:
    """The entry of greedy.json, or None if the two oracles part before a near tie."""
    path = run["prompt_ids"] + run["ids"]
    logits = llama.logits(path[:-1])[len(run["prompt_ids"]) - 1 :]
    two = np.sort(logits, axis=1)[:, -2:]
    margins = two[:, 1] - two[:, 0]
    best = logits.argmax(axis=1)
    differs = np.flatnonzero(best != np.array(run["ids"]))
    first = decided(margins)
    print(f"{len(run['ids'])} tokens, near tie at {first}, oracles differ at {differs.tolist()}: {prompt['prompt'][-60:]!r}")
    # llama.cpp rounds activations to 8 bits, so the two may part, but only from a near tie on.
    if len(differs) and differs[0] < first:
        print(f"  NOT USABLE: margin {margins[differs[0]]:.3f}")
        return None
    return prompt | {
        "prompt_ids": run["prompt_ids"],
        "ids": run["ids"],
        "margins": run["margins"],
        "f32_ids": best.tolist(),
        "f32_margins": [round(float(m), 4) for m in margins],
        "first_near_tie": first,
    }


def main() -> None:
    model = Path(sys.argv[1])
    prompts = greedy_prompts(model)
    tok = tokenizer(model)
    llama = Llama(model)
    runs = continuations(sys.argv[2], model, prompts)
    entries = []
    for kind, kept in (("chat", CHATS_KEPT), ("raw", RAW_KEPT)):
        mine = [(p, r) for p, r in zip(prompts, runs, strict=True) if p["kind"] == kind]
        for prompt, run in mine:
            assert tok.encode(prompt["prompt"]).ids == run["prompt_ids"], prompt
        # llama.cpp's own margins tell cheaply which ones are worth the slow script.
        mine.sort(key=lambda item: -decided(item[1]["margins"]))
        found = [entry for p, r in mine[: kept + 4] if (entry := along(llama, p, r))]
        found.sort(key=lambda entry: -entry["first_near_tie"])
        entries += found[:kept]
    for entry in entries:
        entry["text"] = tok.decode(entry["ids"], skip_special_tokens=True)
    out = GOLDEN / "smollm2" / "greedy.json"
    lines = ",\n".join(json.dumps(e, ensure_ascii=True) for e in entries)
    out.write_text(f'{{"near_tie": {NEAR_TIE}, "tokens": {TOKENS}, "prompts": [\n{lines}\n]}}\n')
    print(f"{len(entries)} prompts, {sum(e['first_near_tie'] for e in entries)} steps before the first near ties")


if __name__ == "__main__":
    main()
