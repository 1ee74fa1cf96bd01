"""The official `openai` client against a running node.

    pip install -r tests/process/openai_client_requirements.txt
    python tests/process/openai_client_test.py --base-url http://127.0.0.1:8080 --backend real
    python tests/process/openai_client_test.py --base-url http://127.0.0.1:8081 --backend oracle

Also by TROUPE_BASE_URL, TROUPE_BACKEND, TROUPE_MODEL (default: the only served model) and TROUPE_API_KEY.
With the oracle backend each answer is foretold by oracle_model.py; with the real model greedy answers are compared with
tests/golden/smollm2/greedy.json up to the first near tie. Prints one line a test and `N passed, N failed`.
"""

import argparse
import asyncio
import math
import os
import sys
import unittest

import openapi_case
import oracle_model
import recorded
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai_client_case import (
    GREEDY,
    Case,
    Setup,
    chat,
    chat_ids,
    client_options,
    complete,
    golden,
    joined,
    post,
    reasons,
    user,
)

STREAMS = 32


class Models(Case):
    def test_list(self):
        models = Setup.client.models.list().data
        self.assertIn(Setup.model, [m.id for m in models])
        for model in models:
            self.assertEqual(model.object, "model")
            self.assertIsInstance(model.created, int)
            self.assertTrue(model.owned_by)

    def test_retrieve(self):
        self.assertEqual(Setup.client.models.retrieve(Setup.model).id, Setup.model)
        with self.assertRaises(NotFoundError):
            Setup.client.models.retrieve("no-such-model")


class Chat(Case):
    messages = user("Why is the sky blue?")

    def test_answer(self):
        answer = chat(self.messages)
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, Setup.model)
        self.assertEqual(len(answer.choices), 1)
        choice = answer.choices[0]
        self.assertEqual((choice.index, choice.message.role), (0, "assistant"))
        prompt = chat_ids(self.messages)
        self.check_answer(prompt, 24, choice.message.content, choice.finish_reason)
        usage = answer.usage
        self.assertEqual(usage.prompt_tokens, len(prompt))
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        if choice.finish_reason == "length":
            self.assertEqual(usage.completion_tokens, 24)
        self.assertEqual(answer.model_extra["timings"]["prompt_tokens"], usage.prompt_tokens)
        self.assertEqual(answer.model_extra["timings"]["generated_tokens"], usage.completion_tokens)

    def test_same_question_same_answer(self):
        first, second = chat(self.messages), chat(self.messages)
        self.assertEqual(first.choices[0].message.content, second.choices[0].message.content)
        self.assertNotEqual(first.id, second.id)

    def test_system_developer_and_content_parts(self):
        plain = [{"role": "system", "content": "Be brief."}, *user("Name a fruit.")]
        parts = [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Name a fruit."}]},
        ]
        developer = [{"role": "developer", "content": "Be brief."}, *user("Name a fruit.")]
        expected = chat(plain).choices[0].message.content
        self.assertEqual(chat(parts).choices[0].message.content, expected)
        self.assertEqual(chat(developer).choices[0].message.content, expected)

    def test_max_completion_tokens_and_unknown_fields(self):
        answer = Setup.client.chat.completions.create(
            model=Setup.model,
            messages=self.messages,
            temperature=0,
            max_completion_tokens=3,
            extra_body={"no_such_field": {"a": 1}, "ignore_eos": True},
        )
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 3)

    def test_request_id(self):
        raw = Setup.client.chat.completions.with_raw_response.create(
            model=Setup.model, messages=self.messages, max_tokens=1, extra_headers={"X-Request-Id": "abc.DEF_1-2"}
        )
        self.assertEqual(raw.headers["x-request-id"], "abc.DEF_1-2")
        self.assertTrue(raw.headers["content-type"].startswith("application/json"))

    def test_special_text_of_a_user_stays_text(self):
        ids = chat_ids(user("<|im_end|> hello"))
        plain = chat_ids(user("hello"))
        self.assertGreater(len(ids), len(plain) + 2)

    def test_golden_answers(self):
        if Setup.oracle():
            return self.skipTest("the oracle's answers are checked everywhere else")
        for entry in golden("chat")[:6]:
            with self.subTest(entry["messages"][-1]["content"]):
                self.assertEqual(chat_ids(entry["messages"]), entry["prompt_ids"])
                answer = chat(entry["messages"], max_tokens=GREEDY["tokens"])
                self.check_golden(entry, answer.choices[0].message.content)


class Stream(Case):
    messages = user("Name the largest planet in the solar system.")

    def test_chunks(self):
        whole = chat(self.messages)
        chunks = list(chat(self.messages, stream=True))
        self.assertEqual({c.object for c in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({(c.id, c.created, c.model) for c in chunks}), 1)
        self.assertTrue(chunks[0].id.startswith("chatcmpl-"))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(joined(chunks), whole.choices[0].message.content)
        self.assertEqual(reasons(chunks), [whole.choices[0].finish_reason])
        self.assertTrue(all(c.usage is None for c in chunks))
        self.assertTrue(all(c.choices for c in chunks))
        self.check_answer(chat_ids(self.messages), 24, joined(chunks), reasons(chunks)[0])

    def test_tokens_arrive_as_events_of_their_own(self):
        chunks = list(chat(self.messages, stream=True))
        self.assertGreater(sum(1 for c in chunks if c.choices and c.choices[0].delta.content), 8)

    def test_usage(self):
        whole = chat(self.messages)
        chunks = list(chat(self.messages, stream=True, stream_options={"include_usage": True}))
        *before, last = chunks
        self.assertEqual(last.choices, [])
        self.assertEqual(last.usage.prompt_tokens, whole.usage.prompt_tokens)
        self.assertEqual(last.usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(last.usage.total_tokens, whole.usage.total_tokens)
        self.assertTrue(all(c.usage is None and c.choices for c in before))

    def test_a_stream_left_early_hurts_nobody(self):
        for _ in range(4):
            with chat(self.messages, stream=True, max_tokens=200) as stream:
                next(iter(stream))
        self.assertTrue(chat(self.messages).choices[0].message.content)


class Stop(Case):
    messages = user("What is photosynthesis?")

    def ascii_middle(self, text: str, length: int) -> str:
        for at in range(len(text) // 3, len(text) - length):
            piece = text[at : at + length]
            if piece.isascii() and piece.strip():
                return piece
        self.fail(f"no plain text to stop at in {text!r}")

    def test_stop_string(self):
        text = chat(self.messages).choices[0].message.content
        for length in (1, 3, 6):
            stop = self.ascii_middle(text, length)
            with self.subTest(stop=stop):
                answer = chat(self.messages, stop=stop)
                self.assertEqual(answer.choices[0].message.content, text[: text.index(stop)])
                self.assertEqual(answer.choices[0].finish_reason, "stop")
                chunks = list(chat(self.messages, stop=["not in the answer at all", stop], stream=True))
                self.assertEqual(joined(chunks), text[: text.index(stop)])
                self.assertEqual(reasons(chunks), ["stop"])

    def test_stop_that_never_comes(self):
        text = chat(self.messages).choices[0].message.content
        last = text[-1]
        answer = chat(self.messages, stop=[last + "\u2603 never"])
        self.assertEqual(answer.choices[0].message.content, text)


class Choices(Case):
    messages = user("Tell me a joke.")

    def test_n(self):
        options = {"n": 3, "temperature": 1.0, "seed": 11}
        answer = chat(self.messages, **options)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        texts = [c.message.content for c in answer.choices]
        self.assertLessEqual(answer.usage.completion_tokens, 72)
        if all(c.finish_reason == "length" for c in answer.choices):
            self.assertEqual(answer.usage.completion_tokens, 72)
        if Setup.oracle():  # it ignores sampling
            for choice in answer.choices:
                self.check_answer(chat_ids(self.messages), 24, choice.message.content, choice.finish_reason)
        else:
            self.assertGreater(len(set(texts)), 1, "three draws at temperature 1 were all the same")

    def test_n_streamed(self):
        options = {"n": 2, "temperature": 0}
        whole = chat(self.messages, **options)
        chunks = list(chat(self.messages, stream=True, **options))
        for index in (0, 1):
            self.assertEqual(joined(chunks, index), whole.choices[index].message.content)
            self.assertEqual(reasons(chunks, index), [whole.choices[index].finish_reason])

    def test_seed(self):
        draw = {"temperature": 1.0, "max_tokens": 12}
        first = chat(self.messages, seed=5, **draw).choices[0].message.content
        self.assertEqual(chat(self.messages, seed=5, **draw).choices[0].message.content, first)
        if not Setup.oracle():
            others = {chat(self.messages, seed=s, **draw).choices[0].message.content for s in (6, 7, 8)}
            self.assertNotEqual(others, {first})


class Logprobs(Case):
    messages = user("What does HTTP stand for?")

    def check_content(self, content, text: str, alternatives: int) -> None:
        self.assertEqual(b"".join(bytes(t.bytes) for t in content).decode("utf-8", "replace"), text)
        for token in content:
            if Setup.oracle():
                self.assertEqual(token.logprob, -1)
                continue
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), alternatives)
            values = [t.logprob for t in token.top_logprobs]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertLessEqual(sum(map(math.exp, values)), 1 + 1e-3)
            if alternatives:  # greedy: the token itself is the likeliest
                self.assertEqual(token.logprob, values[0])
                self.assertEqual(token.token, token.top_logprobs[0].token)

    def test_chat(self):
        for alternatives in (0, 5):
            with self.subTest(top_logprobs=alternatives):
                choice = chat(self.messages, logprobs=True, top_logprobs=alternatives).choices[0]
                self.check_content(choice.logprobs.content, choice.message.content, alternatives)
        self.assertIsNone(chat(self.messages).choices[0].logprobs)

    def test_chat_streamed(self):
        chunks = list(chat(self.messages, logprobs=True, top_logprobs=3, stream=True))
        content = [t for k in chunks for c in k.choices if c.logprobs for t in c.logprobs.content or []]
        self.check_content(content, joined(chunks), 3)


class Completions(Case):
    prompt = "The three laws of thermodynamics are:\n1."

    def prompt_ids(self) -> list[int]:
        ids = post("/tokenize", {"model": Setup.model, "prompt": self.prompt})["tokens"]
        if Setup.oracle():
            self.assertEqual(ids, oracle_model.encode(self.prompt))
        return ids

    def test_answer(self):
        answer = complete(self.prompt)
        self.assertTrue(answer.id.startswith("cmpl-"))
        self.assertEqual(answer.object, "text_completion")
        self.check_answer(self.prompt_ids(), 24, answer.choices[0].text, answer.choices[0].finish_reason)
        self.assertEqual(answer.usage.prompt_tokens, len(self.prompt_ids()))

    def test_prompt_as_ids(self):
        self.assertEqual(complete(self.prompt_ids()).choices[0].text, complete(self.prompt).choices[0].text)

    def test_stream(self):
        chunks = list(complete(self.prompt, stream=True))
        whole = complete(self.prompt)
        self.assertEqual(joined(chunks), whole.choices[0].text)
        self.assertEqual(reasons(chunks), [whole.choices[0].finish_reason])

    several = ("The three laws of thermodynamics are:\n1.", "Once upon a time", "The capital of France is")

    def test_several_prompts(self):
        draw = {"n": 2, "temperature": 1.0, "seed": 3, "max_tokens": 12, "stop": ["\n\n"]}
        alone = [complete(prompt, **draw) for prompt in self.several]
        expected = [(c.text, c.finish_reason) for answer in alone for c in answer.choices]
        whole = complete(list(self.several), **draw)
        self.assertEqual([c.index for c in whole.choices], list(range(6)))
        self.assertEqual([(c.text, c.finish_reason) for c in whole.choices], expected)
        for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.assertEqual(getattr(whole.usage, count), sum(getattr(a.usage, count) for a in alone), count)
        chunks = list(complete(list(self.several), stream=True, stream_options={"include_usage": True}, **draw))
        for index, (text, finish) in enumerate(expected):
            self.assertEqual(joined(chunks, index), text)
            self.assertEqual(reasons(chunks, index), [finish])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(len({c.id for c in chunks}), 1)
        if Setup.oracle():  # it ignores sampling
            for index, prompt in enumerate(self.several):
                ids = post("/tokenize", {"model": Setup.model, "prompt": prompt})["tokens"]
                for choice in whole.choices[2 * index : 2 * index + 2]:
                    self.check_answer(ids, 12, choice.text, choice.finish_reason)

    def test_several_prompts_as_ids_with_echo_and_logprobs(self):
        ids = [post("/tokenize", {"model": Setup.model, "prompt": p})["tokens"] for p in self.several]
        options = {"echo": True, "logprobs": 1, "max_tokens": 3, "extra_body": {"ignore_eos": True}}
        whole = complete(ids, **options)
        for prompt, choice in zip(ids, whole.choices, strict=True):
            alone = complete(prompt, **options).choices[0]
            self.assertEqual(choice.text, alone.text)
            self.assertEqual(choice.logprobs, alone.logprobs)
            self.assertEqual(len(choice.logprobs.tokens), len(prompt) + 3)

    def test_one_bad_prompt_refuses_them_all(self):
        with self.assertRaises(BadRequestError) as caught:
            complete(["fine", ""])
        self.assertEqual(caught.exception.param, "prompt[1]")

    def test_echo(self):
        whole = complete(self.prompt).choices[0].text
        self.assertEqual(complete(self.prompt, echo=True).choices[0].text, self.prompt + whole)

    def test_echo_with_logprobs(self):
        ids = self.prompt_ids()
        choice = complete(self.prompt, echo=True, logprobs=2, max_tokens=4, extra_body={"ignore_eos": True}).choices[0]
        logprobs = choice.logprobs
        self.assertEqual(len(logprobs.tokens), len(ids) + 4)
        self.assertEqual(len(logprobs.token_logprobs), len(ids) + 4)
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertTrue(all(value <= 0 for value in logprobs.token_logprobs[1:]))
        self.assertEqual(logprobs.text_offset[0], 0)
        self.assertEqual(logprobs.text_offset, sorted(logprobs.text_offset))
        if choice.text.isascii():
            self.assertEqual("".join(logprobs.tokens), choice.text)
        alone = complete(self.prompt, logprobs=2, max_tokens=4, extra_body={"ignore_eos": True}).choices[0].logprobs
        self.assertEqual(alone.tokens, logprobs.tokens[len(ids) :])
        for a, b in zip(alone.token_logprobs, logprobs.token_logprobs[len(ids) :], strict=True):
            self.assertAlmostEqual(a, b, delta=2e-3)

    def test_golden_texts(self):
        if Setup.oracle():
            return self.skipTest("the oracle's answers are checked everywhere else")
        for entry in golden("raw")[:4]:
            with self.subTest(entry["prompt"]):
                self.check_golden(entry, complete(entry["prompt"], max_tokens=GREEDY["tokens"]).choices[0].text)


class Errors(Case):
    messages = user("Hello")

    def refused(self, param: str, code: str | None = None, **options) -> None:
        with self.subTest(param=param, options={k: v for k, v in options.items() if k != "messages"}):
            call = {"messages": self.messages} | options
            with self.assertRaises(BadRequestError) as caught:
                Setup.client.chat.completions.create(model=Setup.model, **call)
            error = caught.exception
            self.assertEqual(error.status_code, 400)
            self.assertEqual(error.param, param)
            self.assertEqual(error.type, "invalid_request_error")
            self.assertTrue(error.body["message"])
            self.assertEqual(error.response.headers.get("x-should-retry"), "false")
            if code:
                self.assertEqual(error.code, code)

    def test_bad_requests(self):
        self.refused("temperature", temperature=-1)
        self.refused("temperature", temperature=2.5)
        self.refused("top_p", top_p=1.5)
        self.refused("n", n=0)
        self.refused("max_tokens", max_tokens=0)
        self.refused("messages", messages=[])
        self.refused("top_logprobs", logprobs=True, top_logprobs=21)
        self.refused("top_logprobs", top_logprobs=3)
        self.refused("presence_penalty", presence_penalty=3)
        self.refused("logit_bias", logit_bias={"not a number": 1})
        self.refused("stop", stop=[""])
        self.refused("response_format", response_format={"type": "json_object"})
        self.refused(
            "tool_choice",
            tool_choice="required",
            tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        )
        self.refused("stream_options", stream_options={"include_usage": True})

    def test_errors_of_a_stream_come_as_a_status(self):
        with self.assertRaises(BadRequestError) as caught:
            chat(self.messages, stream=True, temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")

    def test_prompt_beyond_the_context(self):
        with self.assertRaises(BadRequestError) as caught:
            chat(user("word " * 60_000))
        self.assertEqual(caught.exception.param, "messages")
        self.assertEqual(caught.exception.code, "context_length_exceeded")

    def test_unknown_model(self):
        with self.assertRaises(NotFoundError) as caught:
            Setup.client.chat.completions.create(model="no-such-model", messages=self.messages)
        self.assertEqual(caught.exception.code, "model_not_found")
        self.assertEqual(caught.exception.param, "model")

    def test_unknown_path(self):
        with self.assertRaises(NotFoundError):
            post("/no/such/path", {})

    def test_embeddings_are_not_there_yet(self):
        with self.assertRaises(APIStatusError) as caught:
            Setup.client.embeddings.create(model=Setup.model, input="hello")
        self.assertEqual(caught.exception.status_code, 501)

    def test_server_still_answers(self):
        self.assertTrue(chat(self.messages).choices[0].message.content)


async def read_stream(client: AsyncOpenAI, kind: str, prompt, count: int) -> tuple[str, str]:
    options = {"model": Setup.model, "temperature": 0, "max_tokens": count, "stream": True}
    if kind == "chat":
        stream = await client.chat.completions.create(messages=prompt, **options)
    else:
        stream = await client.completions.create(prompt=prompt, **options)
    chunks = [chunk async for chunk in stream]
    finish = reasons(chunks)
    assert len(finish) == 1, finish
    return joined(chunks), finish[0]


async def read_all(jobs: list[tuple]) -> list[tuple[str, str]]:
    async with AsyncOpenAI(**client_options(), http_client=recorded.async_client()) as client:
        return await asyncio.gather(*(read_stream(client, *job) for job in jobs))


class AsyncStreams(Case):
    def test_32_streams(self):
        if Setup.oracle():
            jobs = [("raw", f"stream number {i}, length {40 + 5 * i}", 40 + 5 * i) for i in range(STREAMS)]
            answers = asyncio.run(read_all(jobs))
            for (_, prompt, count), (text, finish) in zip(jobs, answers, strict=True):
                self.check_answer(oracle_model.encode(prompt), count, text, finish)
            return
        entries = (GREEDY["prompts"] * 2)[:STREAMS]
        jobs = [(e["kind"], e.get("messages", e["prompt"]), GREEDY["tokens"]) for e in entries]
        for entry, (text, finish) in zip(entries, asyncio.run(read_all(jobs)), strict=True):
            with self.subTest(entry["prompt"]):
                self.assertIn(finish, ("stop", "length"))
                self.check_golden(entry, text)

    def test_32_chats_get_their_own_answer(self):
        questions = [user(f"What is {i} plus {i}?") for i in range(STREAMS)]
        answers = asyncio.run(read_all([("chat", q, 16) for q in questions]))
        for question, (text, finish) in zip(questions, answers, strict=True):
            self.check_answer(chat_ids(question), 16, text, finish)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default=os.environ.get("TROUPE_BASE_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--backend", choices=("oracle", "real"), default=os.environ.get("TROUPE_BACKEND", "real"))
    parser.add_argument("--model", default=os.environ.get("TROUPE_MODEL", ""))
    parser.add_argument("tests", nargs="*", help="unittest names, such as Chat or Stop.test_stop_string")
    arguments = parser.parse_args()
    Setup.base_url, Setup.backend = arguments.base_url, arguments.backend
    Setup.client = OpenAI(**client_options(), http_client=recorded.client())
    Setup.model = arguments.model or Setup.client.models.list().data[0].id
    loader = unittest.defaultTestLoader
    module = sys.modules[__name__]
    suite = loader.loadTestsFromNames(arguments.tests, module) if arguments.tests else loader.loadTestsFromModule(module)
    suite.addTests(loader.loadTestsFromTestCase(openapi_case.OpenApi))  # last: it looks at what the others did
    total = suite.countTestCases()
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    # A test with several failed subtests counts once.
    failed = len({str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors})
    print(f"{total - failed - len(result.skipped)} passed, {failed} failed, {len(result.skipped)} skipped")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
