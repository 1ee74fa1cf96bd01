"""Writes tests/golden/smollm2/greedy.json: greedy continuations of 30 prompts by llama.cpp, with the margins of
reference_f32.py along the same path.

    greedy.py MODEL.gguf LLAMA_GREEDY      LLAMA_GREEDY: the program built from llama_greedy.cpp (README.md)
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from reference_f32 import GOLDEN, Llama
from smollm2_prompts import greedy_prompts, tokenizer

TOKENS = 48
NEAR_TIE = 0.35


def continuations(program: str, model: Path, prompts: list[dict]) -> list[dict]:
    stdin = b"".join(p["prompt"].encode() + b"\0" for p in prompts)
    run = subprocess.run([program, str(model), str(TOKENS)], input=stdin, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def main() -> None:
    model = Path(sys.argv[1])
    prompts = greedy_prompts(model)
    tok = tokenizer(model)
    llama = Llama(model)
    entries = []
    for prompt, run in zip(prompts, continuations(sys.argv[2], model, prompts), strict=True):
        assert tok.encode(prompt["prompt"]).ids == run["prompt_ids"], prompt
        path = run["prompt_ids"] + run["ids"]
        logits = llama.logits(path[:-1])[len(run["prompt_ids"]) - 1 :]
        two = np.sort(logits, axis=1)[:, -2:]
        margins = two[:, 1] - two[:, 0]
        best = logits.argmax(axis=1)
        near = np.flatnonzero(margins < NEAR_TIE)
        differs = np.flatnonzero(best != np.array(run["ids"]))
        # llama.cpp rounds activations to 8 bits, so the two may part, but first at a near tie.
        bad = [i for i in differs[:1] if not len(near) or i < near[0]]
        if bad:
            print(f"NOT USABLE: differs at {bad}, margin {margins[bad]}: {prompt['prompt']!r}")
        entries.append(
            prompt
            | {
                "prompt_ids": run["prompt_ids"],
                "ids": run["ids"],
                "text": tok.decode(run["ids"], skip_special_tokens=True),
                "margins": run["margins"],
                "f32_ids": best.tolist(),
                "f32_margins": [round(float(m), 4) for m in margins],
                "first_near_tie": int(near[0]) if len(near) else len(run["ids"]),
            }
        )
        first = entries[-1]["first_near_tie"]
        print(f"{len(run['ids'])} tokens, near tie at {first}, f32 differs at {differs.tolist()}: {entries[-1]['text'][:60]!r}")
    out = GOLDEN / "smollm2" / "greedy.json"
    lines = ",\n".join(json.dumps(e, ensure_ascii=True) for e in entries)
    out.write_text(f'{{"near_tie": {NEAR_TIE}, "tokens": {TOKENS}, "prompts": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
