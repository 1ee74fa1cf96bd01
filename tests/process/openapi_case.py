"""/openapi.json against what was really sent and heard: every exchange of the other tests (recorded.py), a few of its
own for the routes the openai client does not know, and bodies at the bounds, which schema and server must judge alike."""

import json
import re

import jsonschema
import recorded
from openai_client_case import Case, Setup, user

SERVER = ("/health", "/livez", "/readyz", "/openapi.json", "/metrics", "/no/such/path")
HELLO = user("Hello")


def url(path: str) -> str:
    return Setup.base_url.rstrip("/") + path


class OpenApi(Case):
    @classmethod
    def setUpClass(cls):
        headers = {"Authorization": f"Bearer {Setup.client.api_key}"}
        cls.http = recorded.client()
        cls.http.headers.update(headers)
        cls.document = cls.http.get(url("/openapi.json")).json()
        for path in (*SERVER, "/v1/models", f"/v1/models/{Setup.model}"):
            cls.http.get(url(path))
        for path, body in (
            ("/v1/chat/completions", {"messages": HELLO}),
            ("/v1/chat/completions", {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}),
            ("/v1/chat/completions", {"messages": HELLO, "logprobs": True, "top_logprobs": 2, "seed": None}),
            ("/v1/chat/completions", {"messages": HELLO, "logprobs": True, "stream": True}),
            ("/v1/completions", {"prompt": ["Hello", "Good"], "n": 2, "echo": True, "logprobs": 1}),
            ("/v1/completions", {"prompt": [[65, 66], "Good"], "n": 2, "echo": True, "logprobs": 1, "stream": True}),
            ("/v1/inference", {"input_text": "Hello"}),
            ("/v1/tokenize", {"prompt": "Hello"}),
            ("/v1/tokenize", {"messages": HELLO}),
            ("/v1/detokenize", {"tokens": [65, 66]}),
            ("/v1/embeddings", {"input": "Hello"}),
        ):
            cls.post(path, {"model": Setup.model, "max_tokens": 4, "max_length": 4} | body)

    @classmethod
    def tearDownClass(cls):
        cls.http.close()

    @classmethod
    def post(cls, path: str, body: dict):
        return cls.http.post(url(path), json=body, timeout=300)

    def route(self, exchange: recorded.Exchange) -> dict | None:
        for path, methods in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path)), exchange.path):
                return methods.get(exchange.method.lower())
        return None

    def problems(self, schema: dict, value) -> list[str]:
        whole = {"components": self.document["components"], **schema}
        return [e.message for e in jsonschema.Draft202012Validator(whole).iter_errors(value)]

    def request_problems(self, path: str, body: dict) -> list[str]:
        content = self.document["paths"][path]["post"]["requestBody"]["content"]
        return self.problems(content["application/json"]["schema"], body)

    def check(self, exchange: recorded.Exchange) -> None:
        route = self.route(exchange)
        if route is None:  # no such path or method
            self.assertGreaterEqual(exchange.status, 400)
            self.assertEqual(self.problems({"$ref": "#/components/schemas/Error"}, json.loads(exchange.body)), [])
            return
        if exchange.status < 300 and "requestBody" in route:
            schema = route["requestBody"]["content"]["application/json"]["schema"]
            self.assertEqual(self.problems(schema, json.loads(exchange.request)), [], "an accepted request")
        answers = route["responses"]
        content = answers.get(str(exchange.status), answers["default"])["content"]
        self.assertIn(exchange.content_type, content)
        schema = content[exchange.content_type]["schema"]
        if exchange.content_type == "application/json":
            self.assertEqual(self.problems(schema, json.loads(exchange.body)), [])
        elif exchange.content_type == "text/event-stream":
            for event in bytes(exchange.body).split(b"\n\n")[:-1]:
                if event.startswith(b"data: ") and event != b"data: [DONE]":
                    self.assertEqual(self.problems(schema, json.loads(event[6:])), [])

    def test_the_document_is_made_of_schemas(self):
        for name, schema in self.document["components"]["schemas"].items():
            with self.subTest(name):
                jsonschema.Draft202012Validator.check_schema(schema)
        named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(self.document)))
        self.assertEqual(named, set(self.document["components"]["schemas"]))

    def test_every_exchange_is_as_described(self):
        seen = set()
        for exchange in list(recorded.EXCHANGES):
            with self.subTest(str(exchange)):
                self.check(exchange)
            seen.add((exchange.path, exchange.status, exchange.content_type))
        paths = [path for path in self.document["paths"] if "{" not in path]
        for path in paths:
            methods = self.document["paths"][path]
            for route in methods.values():
                for kind in route["responses"].get("200", {"content": {}})["content"]:
                    self.assertIn((path, 200, kind), seen, "described, but never seen")

    def test_a_schema_can_refuse(self):
        """Answers with a field more, a field less or another type are not as described."""
        schema = {"$ref": "#/components/schemas/TokenizeAnswer"}
        good = {"tokens": [1], "count": 1, "max_model_len": 5}
        self.assertEqual(self.problems(schema, good), [])
        self.assertTrue(self.problems(schema, good | {"more": 1}))
        self.assertTrue(self.problems(schema, {"tokens": [1], "count": 1}))
        self.assertTrue(self.problems(schema, good | {"count": "1"}))

    def test_schema_and_server_agree_at_the_bounds(self):
        chat, text = {"messages": HELLO}, {"prompt": "a"}
        for path, base, good, bad in (
            ("/v1/chat/completions", chat, {"temperature": 2}, {"temperature": 2.01}),
            ("/v1/chat/completions", chat, {"top_p": 0.1}, {"top_p": 0}),
            ("/v1/chat/completions", chat, {"n": 16}, {"n": 17}),
            ("/v1/chat/completions", chat, {"n": None}, {"n": "1"}),
            ("/v1/chat/completions", chat, {"logprobs": True, "top_logprobs": 20}, {"logprobs": True, "top_logprobs": 21}),
            ("/v1/chat/completions", chat, {"stop": ["x"] * 16}, {"stop": ["x"] * 17}),
            ("/v1/chat/completions", chat, {"stop": "x"}, {"stop": [""]}),
            ("/v1/chat/completions", chat, {"presence_penalty": -2}, {"presence_penalty": -2.1}),
            ("/v1/chat/completions", chat, {"logit_bias": {"5": 100}}, {"logit_bias": {"5": 101}}),
            ("/v1/chat/completions", chat, {"response_format": {"type": "text"}}, {"response_format": {"type": "json_object"}}),
            ("/v1/chat/completions", chat, {"max_tokens": 1}, {"max_tokens": 0}),
            ("/v1/chat/completions", {}, {"messages": HELLO}, {"messages": []}),
            ("/v1/chat/completions", {}, {"messages": HELLO}, {"messages": [{"role": "robot", "content": "x"}]}),
            ("/v1/completions", {}, {"prompt": ["a"] * 128}, {"prompt": ["a"] * 129}),
            ("/v1/completions", {}, {"prompt": [[5], "a"]}, {"prompt": [[5], ""]}),
            ("/v1/completions", {}, {"prompt": [5]}, {"prompt": [-5]}),
            ("/v1/completions", text, {"logprobs": 20}, {"logprobs": 21}),
            ("/v1/completions", text, {"echo": True, "max_tokens": 0}, {"echo": True, "max_tokens": -1}),
            ("/v1/inference", {}, {"input_text": "a", "max_length": 1}, {"input_text": "a", "max_length": 0}),
            ("/v1/tokenize", {}, {"prompt": ""}, {"prompt": 5}),
            ("/v1/tokenize", {}, {"messages": HELLO}, {}),
            ("/v1/detokenize", {}, {"tokens": []}, {"tokens": ["a"]}),
        ):
            for body, wanted in ((good, 200), (bad, 400)):
                whole = {"model": Setup.model, "max_tokens": 1, "max_length": 1} | base | body
                with self.subTest(path=path, body=str(body)[:200]):
                    self.assertEqual(self.post(path, whole).status_code, wanted)
                    self.assertEqual(bool(self.request_problems(path, whole)), wanted == 400)
