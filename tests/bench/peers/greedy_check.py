"""Before anything is timed, the peer must say the right text: a fast wrong build is no peer. Of the shipped file that is
what the goldens say llama.cpp said; of another one what troupe says of the same file, as far as it is sure."""

import json

from peer_build import ROOT

PROMPTS, TOKENS = 5, 32
# Between the logarithms of the two likeliest tokens. llama.cpp's own ways through Q4_0, with and without repacking, were seen to part
# from troupe's text at up to 0.46 (30 prompts of 32 tokens).
SURE_BY = 0.8
SURE_LEAST = 6  # tokens of a prompt, for its text to say anything


def greedy_golden() -> dict:
    return json.loads((ROOT / "tests" / "golden" / "smollm2" / "greedy.json").read_text())


def check_greedy(server) -> None:
    # Those that stay decided longest: a near tie may fall the other way on another CPU.
    prompts = sorted(greedy_golden()["prompts"], key=lambda p: -p["first_near_tie"])[:PROMPTS]
    for p in prompts:
        count = min(TOKENS, p["first_near_tie"], len(p["ids"]))
        answer = server.post("/completion", {"prompt": p["prompt_ids"], "n_predict": count, "temperature": 0,
                                             "return_tokens": True, "cache_prompt": False})
        said = answer["tokens"][:count]
        if said != p["ids"][: len(said)] or len(said) < count - 1:
            raise RuntimeError(f"llama.cpp parts from the golden text of {p['prompt'][-60:]!r}: {said} != {p['ids'][:count]}")


def sure_tokens(logprobs: dict, near_tie: float) -> list[str]:
    """Of a completion's greedy tokens those before the first near tie, or before one that is no whole text."""
    sure = []
    for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"]):
        best = sorted(top.values(), reverse=True)
        if len(best) < 2 or best[0] - best[1] < near_tie or "\N{REPLACEMENT CHARACTER}" in token:
            break
        sure.append(token)
    return sure


def sure_texts(troupe_server) -> list[tuple[list[int], int, str]]:
    """(prompt, tokens, text) of the prompts that stay decided longest by troupe's own answers."""
    found = []
    for p in greedy_golden()["prompts"]:
        answer = troupe_server.post("/v1/completions", {"model": "peer", "prompt": p["prompt_ids"], "max_tokens": TOKENS,
                                                        "temperature": 0, "logprobs": 2})
        sure = sure_tokens(answer["choices"][0]["logprobs"], SURE_BY)
        found.append((p["prompt_ids"], len(sure), "".join(sure)))
    found = sorted(found, key=lambda entry: -entry[1])[:PROMPTS]
    if found[-1][1] < SURE_LEAST:
        raise RuntimeError(f"troupe is sure of {found[-1][1]} tokens only: nothing to check the peer's text by")
    return found


def check_texts(server, sure: list[tuple[list[int], int, str]]) -> None:
    for prompt, count, text in sure:
        said = server.post("/completion", {"prompt": prompt, "n_predict": count, "temperature": 0, "cache_prompt": False})["content"]
        if said != text:
            raise RuntimeError(f"llama.cpp says {said!r} where troupe is sure of {text!r}")
