"""The prompts of the goldens of SmolLM2-135M-Instruct, and its tokenizer and chat template taken from the GGUF file."""

from pathlib import Path

import jinja2.sandbox
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# (text, positions kept): raw text of many kinds; the ids are cut to the given length.
REFERENCE = [
    ("The capital of France is Paris, and the capital of Italy is Rome.", 8),
    ("Once upon a time, in a small village by the sea, there lived an old fisherman who", 16),
    ("def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n\n\nprint(", 40),
    ("\u65e5\u672c\u306e\u9996\u90fd\u306f\u6771\u4eac\u3067\u3059\u3002\u4eba\u53e3\u306f", 24),
    ("3.14159265358979323846 and 2.71828182845904523536 are", 40),
    ("Zwei Dinge erf\u00fcllen das Gem\u00fct mit immer neuer und zunehmender Bewunderung und Ehrfurcht", 32),
    ("\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 party!!! \u2764\ufe0f", 24),
    ("   leading spaces\n\n\n\ttabs\tand\n\n newlines   ", 20),
    ("SELECT name, count(*) FROM users WHERE age >= 21 GROUP BY name ORDER BY 2 DESC LIMIT 10;", 32),
    ("the the the the the the the the the the the the the the the the the the the the the the", 20),
    ("{\"id\": 17, \"tags\": [\"a\", \"b\"], \"nested\": {\"ok\": true, \"value\": null}}", 36),
    ("\u041c\u043e\u0441\u043a\u0432\u0430 \u2014 \u0441\u0442\u043e\u043b\u0438\u0446\u0430 \u0420\u043e\u0441\u0441\u0438\u0438", 28),
    ("Water boils at 100 degrees Celsius at sea level, but on top of Mount Everest, where the air pressure is only about "
     "a third of that at sea level, it boils at about 71 degrees. This is why cooking rice or pasta at high altitude "
     "takes longer and why pressure cookers are popular in mountain regions all over the world.", 64),
    ("<|im_start|>", 1),
]  # fmt: skip

REFERENCE_CHATS = [
    ([{"role": "user", "content": "What is the capital of France?"}], 64),
    ([{"role": "user", "content": "Hi"}], 64),
    ([{"role": "system", "content": "You answer in one word."}, {"role": "user", "content": "Is water wet?"}], 48),
    ([{"role": "user", "content": "Write a haiku about autumn leaves."}], 64),
    ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"},
      {"role": "assistant", "content": "4"}, {"role": "user", "content": "And times 3?"}], 64),
    ([{"role": "user", "content": "List three colours.\n1."}], 56),
]  # fmt: skip

# Candidates for greedy.json: greedy.py keeps the CHATS_KEPT and RAW_KEPT whose path stays decided longest.
CHATS_KEPT, RAW_KEPT = 18, 12
USER = [
    "What is the capital of France?",
    "Who wrote Romeo and Juliet?",
    "Explain gravity to a five year old.",
    "Write a haiku about autumn leaves.",
    "What is 12 times 8?",
    "List three colours of the rainbow.",
    "How do I boil an egg?",
    "Why is the sky blue?",
    "Write a Python function that adds two numbers.",
    "Name the largest planet in the solar system.",
    "Give me a recipe for pancakes.",
    "What does HTTP stand for?",
    "What are the primary colours?",
    "Tell me a joke.",
    "How many days are there in a leap year?",
    "What is photosynthesis?",
    "Write a short thank-you note to a teacher.",
    "What is the difference between a cat and a dog?",
    "Count from 1 to 20.",
    "List the days of the week.",
    "List the months of the year, one per line.",
    "Write the English alphabet in capital letters.",
    "What is machine learning?",
    "What is the water cycle?",
    "What does DNA stand for?",
    "Who was Albert Einstein?",
    "What is the speed of light?",
    "Write a Python program that prints Hello, World!",
    "Write a Python function that returns the factorial of n.",
    "Write an email asking my boss for a day off.",
    "What is the boiling point of water?",
    "What is the chemical formula of water?",
    "Explain what a prime number is.",
    "What is the largest ocean on Earth?",
    "Write an HTML page with a heading and a paragraph.",
    "What is the past tense of 'go'?",
]
CHATS = [[{"role": "user", "content": text}] for text in USER] + [
    [{"role": "system", "content": "You are a pirate. Answer like one."}, {"role": "user", "content": "Where is the treasure?"}],
    [{"role": "system", "content": "You are a helpful science teacher."}, {"role": "user", "content": "What is an atom?"}],
    [{"role": "system", "content": "You write code and nothing else."},
     {"role": "user", "content": "A Python loop that prints the numbers from 0 to 9."}],
    [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Nice to meet you, Ada!"},
     {"role": "user", "content": "What is my name?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a fruit."},
     {"role": "assistant", "content": "Apple."}, {"role": "user", "content": "Another one."}],
    [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "2 + 2 = 4."},
     {"role": "user", "content": "What is 3 + 3?"}, {"role": "assistant", "content": "3 + 3 = 6."},
     {"role": "user", "content": "What is 4 + 4?"}],
]  # fmt: skip
RAW = [
    "The quick brown fox",
    "In the beginning God created the heaven and the earth.",
    "def quicksort(arr):\n",
    "The three laws of thermodynamics are:\n1.",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,",
    "Monday, Tuesday, Wednesday,",
    "A B C D E F G H I",
    "To be, or not to be, that is the question:",
    "Four score and seven years ago our fathers brought forth",
    "We hold these truths to be self-evident, that all men are created equal,",
    "Twinkle, twinkle, little star,\nHow I wonder",
    "import numpy as np\nimport matplotlib.pyplot as",
    "for i in range(10):\n    print(i)\nfor j in range(10):\n    print(j)\nfor k in range(10):\n",
    "red, green, blue, red, green, blue, red, green, blue,",
    "January\nFebruary\nMarch\nApril\n",
    "<html>\n<head>\n<title>Home</title>\n</head>\n<body>\n",
    "{\"name\": \"Ann\", \"age\": 31}\n{\"name\": \"Bob\", \"age\": 32}\n{\"name\": \"Cid\", \"age\": 33}\n",
    "2 4 6 8 10 12 14 16 18 20",
    "France: Paris\nItaly: Rome\nSpain: Madrid\nGermany:",
    "#include <stdio.h>\n\nint main(",
    "SELECT * FROM users WHERE id = 1;\nSELECT * FROM users WHERE id = 2;\nSELECT * FROM users WHERE id = 3;\n",
    "Once upon a time, there was a little girl named",
    "The mitochondria is the powerhouse of the",
    "Dear Sir or Madam,\n\n",
    "Do re mi fa so la ti do. Do re mi fa so la ti do. Do re mi",
    "class Point:\n    def __init__(self, x, y):\n        self.x = x\n",
]


def metadata(model: Path, *keys: str):
    fields = GGUFReader(model).fields
    return [fields[key].contents() for key in keys]


def tokenizer(model: Path) -> Tokenizer:
    """Hugging Face's tokenizer for these vocabulary entries: digits alone, then GPT-2's byte-level split."""
    tokens, types, merges = metadata(
        model, "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"
    )
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True) for t, kind in zip(tokens, types) if kind == 3])
    return tok


def render(model: Path, messages: list[dict]) -> str:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(metadata(model, "tokenizer.chat_template")[0])
    return template.render(messages=messages, add_generation_prompt=True)


def reference_prompts(model: Path) -> list[list[int]]:
    tok = tokenizer(model)
    ids = [tok.encode(text).ids[:keep] for text, keep in REFERENCE]
    return ids + [tok.encode(render(model, chat)).ids[:keep] for chat, keep in REFERENCE_CHATS]


def greedy_prompts(model: Path) -> list[dict]:
    chats = [{"kind": "chat", "messages": chat, "prompt": render(model, chat)} for chat in CHATS]
    return chats + [{"kind": "raw", "prompt": text} for text in RAW]
