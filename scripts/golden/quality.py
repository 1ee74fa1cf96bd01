"""Writes tests/golden/smollm2/quality.json: quality_text.txt in windows, with what reference_f32.py and llama.cpp say
about each next token. A backend is as good as llama.cpp if its mean NLL on this text is.

    quality.py MODEL.gguf LLAMA_SCORE      LLAMA_SCORE: the program built from llama_score.cpp (README.md)

The file is {"scored": 2588, "windows": [...]}; of each window, sums and lists over all positions but the last:
    ids                    by Hugging Face tokenizers, no special tokens
    f32_nll, f32_top       reference_f32.py: sum of the NLL of the next ids, and the best id at each position
    f32_margin             float32 script: how far the best logit is above the second best there
    llama_nll, llama_top   llama.cpp: the same sum, and its best ids
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from reference_f32 import GOLDEN, Llama
from smollm2_prompts import tokenizer

TEXT = Path(__file__).with_name("quality_text.txt")
LONGEST = 384


def windows(model: Path) -> list[list[int]]:
    """One window a passage of the text, each of which starts afresh at position 0."""
    tok = tokenizer(model)
    return [tok.encode(passage).ids[:LONGEST] for passage in TEXT.read_text().split("\n=====\n")]


def by_llama(program: str, model: Path, all_ids: list[list[int]]) -> list[dict]:
    stdin = "".join(" ".join(map(str, ids)) + "\n" for ids in all_ids)
    run = subprocess.run([program, str(model)], input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def by_float32(llama: Llama, ids: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NLL of each next id, the best id, and how far its logit is above the second best, at all positions but the
    last."""
    logits = llama.logits(ids)[:-1].astype(np.float64)
    largest = logits.max(axis=1)
    log_sum = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    second = np.partition(logits, -2, axis=1)[:, -2]
    return log_sum - logits[np.arange(len(logits)), ids[1:]], logits.argmax(axis=1), largest - second


def main() -> None:
    model = Path(sys.argv[1])
    all_ids = windows(model)
    theirs = by_llama(sys.argv[2], model, all_ids)
    llama = Llama(model)
    entries, total, f32_total, llama_total, same = [], 0, 0.0, 0.0, 0
    for ids, scores in zip(all_ids, theirs, strict=True):
        nll, top, margin = by_float32(llama, ids)
        assert len(scores["nll"]) == len(nll) == len(ids) - 1
        total += len(nll)
        f32_total += nll.sum()
        llama_total += sum(scores["nll"])
        same += int((top == np.array(scores["top"])).sum())
        entries.append(
            {
                "ids": ids,
                "f32_nll": round(float(nll.sum()), 4),
                "f32_top": top.tolist(),
                "f32_margin": [round(float(m), 3) for m in margin],
                "llama_nll": round(sum(scores["nll"]), 4),
                "llama_top": scores["top"],
            }
        )
        print(len(ids), entries[-1]["f32_nll"], entries[-1]["llama_nll"])
    lines = ",\n".join(json.dumps(e) for e in entries)
    out = GOLDEN / "smollm2" / "quality.json"
    out.write_text(f'{{"scored": {total}, "windows": [\n{lines}\n]}}\n')
    print(f"{total} scored, mean NLL: float32 {f32_total / total:.5f}, llama.cpp {llama_total / total:.5f}")
    print(f"llama.cpp chooses as float32 does at {same} of {total} ({same / total:.2%})")


if __name__ == "__main__":
    main()
