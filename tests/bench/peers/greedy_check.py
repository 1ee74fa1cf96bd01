"""Before anything is timed, the peer must say what the goldens say it said: a fast wrong build is no peer."""

import json

from peer_build import ROOT

PROMPTS, TOKENS = 5, 32


def check_greedy(server) -> None:
    golden = json.loads((ROOT / "tests" / "golden" / "smollm2" / "greedy.json").read_text())
    # Those that stay decided longest: a near tie may fall the other way on another CPU.
    prompts = sorted(golden["prompts"], key=lambda p: -p["first_near_tie"])[:PROMPTS]
    for p in prompts:
        count = min(TOKENS, p["first_near_tie"], len(p["ids"]))
        answer = server.post("/completion", {"prompt": p["prompt_ids"], "n_predict": count, "temperature": 0,
                                             "return_tokens": True, "cache_prompt": False})
        said = answer["tokens"][:count]
        if said != p["ids"][: len(said)] or len(said) < count - 1:
            raise RuntimeError(f"llama.cpp parts from the golden text of {p['prompt'][-60:]!r}: {said} != {p['ids'][:count]}")
