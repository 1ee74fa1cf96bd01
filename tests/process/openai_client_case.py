"""What the tests with the official `openai` client share: where the server is, short calls, expectations."""

import json
import os
import unittest
from pathlib import Path

import oracle_model
from openai import OpenAI

GREEDY = json.loads((Path(__file__).parents[1] / "golden" / "smollm2" / "greedy.json").read_text())
TIMEOUT_S = 300


class Setup:
    base_url = ""
    backend = ""
    model = ""
    client: OpenAI

    @classmethod
    def oracle(cls) -> bool:
        return cls.backend == "oracle"


def client_options() -> dict:
    return {
        "base_url": Setup.base_url.rstrip("/") + "/v1",
        "api_key": os.environ.get("TROUPE_API_KEY", "none"),
        "max_retries": 0,
        "timeout": TIMEOUT_S,
    }


def post(path: str, body: dict) -> dict:
    """A route of ours that the client has no method for."""
    return Setup.client.post(path, body=body, cast_to=object)


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def chat(messages: list[dict], **options):
    options = {"temperature": 0, "max_tokens": 24} | options
    return Setup.client.chat.completions.create(model=Setup.model, messages=messages, **options)


def complete(prompt, **options):
    options = {"temperature": 0, "max_tokens": 24} | options
    return Setup.client.completions.create(model=Setup.model, prompt=prompt, **options)


def chat_ids(messages: list[dict]) -> list[int]:
    return post("/tokenize", {"model": Setup.model, "messages": messages})["tokens"]


def detokenized(ids: list[int]) -> str:
    return post("/detokenize", {"model": Setup.model, "tokens": ids})["prompt"]


def joined(chunks, index: int = 0) -> str:
    parts = [c.delta.content if hasattr(c, "delta") else c.text for k in chunks for c in k.choices if c.index == index]
    return "".join(part or "" for part in parts)


def reasons(chunks, index: int = 0) -> list[str]:
    return [c.finish_reason for k in chunks for c in k.choices if c.index == index and c.finish_reason]


def golden(kind: str) -> list[dict]:
    """Greedy answers of the real model; those that stay decided longest first."""
    return sorted((p for p in GREEDY["prompts"] if p["kind"] == kind), key=lambda p: -p["first_near_tie"])


class Case(unittest.TestCase):
    maxDiff = None

    def check_answer(self, prompt_ids: list[int], count: int, text: str, finish: str) -> None:
        """The oracle's answer is known; of the real model we only know its shape here."""
        if Setup.oracle():
            ids, reason = oracle_model.answer(prompt_ids, count)
            self.assertEqual(text, oracle_model.text_of(ids))
            self.assertEqual(finish, reason)
        else:
            self.assertTrue(text)
            self.assertIn(finish, ("stop", "length"))

    def check_golden(self, entry: dict, text: str) -> None:
        """Equal to llama.cpp's answer up to the first near tie."""
        sure = entry["ids"][: entry["first_near_tie"]]
        if len(sure) == len(entry["ids"]) < GREEDY["tokens"]:  # the last id is an end token, which has no text
            self.assertEqual(text, detokenized(sure[:-1]))
            return
        expected = detokenized(sure).rstrip("\N{REPLACEMENT CHARACTER}")
        self.assertTrue(text.startswith(expected), f"{text!r} does not start with {expected!r}")
