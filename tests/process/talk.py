"""A plain HTTP client for the tests: whole answers, one stream, or many streams at once. Standard library only."""

import http.client
import json
import selectors
import socket
import time
from typing import NamedTuple

TIMEOUT_S = 60


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self):
        return json.loads(self.body)

    def text(self) -> str:
        return self.json()["choices"][0]["text"]


def ask(address: tuple[str, int], method: str, path: str, body=None, headers=None, timeout: float = TIMEOUT_S) -> Answer:
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"} | (headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Event(NamedTuple):
    data: str
    at: float  # time.monotonic()

    def json(self):
        return json.loads(self.data)


class Stream:
    """One answer as server-sent events. Iterating gives events as they come, `[DONE]` included, until the server ends
    the answer; a connection that breaks raises."""

    def __init__(self, address: tuple[str, int], path: str, body: dict, timeout: float = TIMEOUT_S):
        self._connection = http.client.HTTPConnection(*address, timeout=timeout)
        self._connection.request("POST", path, json.dumps(body | {"stream": True}).encode(),
                                 {"Content-Type": "application/json"})
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self.headers = {k.lower(): v for k, v in self.response.getheaders()}
        self.events: list[Event] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Also ends an answer that still runs: the client is gone."""
        self.response.close()
        self._connection.close()

    def __iter__(self):
        return self

    def __next__(self) -> Event:
        while line := self.response.readline():
            if line.startswith(b"data: "):
                self.events.append(Event(line[6:].strip().decode(), time.monotonic()))
                return self.events[-1]
        raise StopIteration

    def read_tokens(self, count: int) -> None:
        """Reads on until `count` more events with text came."""
        while count > 0:
            count -= bool(text_of([next(self)]))

    def read_all(self) -> "Stream":
        for _ in self:
            pass
        return self

    def text(self) -> str:
        return text_of(self.events)

    def finish(self) -> str | None:
        return finish_of(self.events)

    def error(self) -> dict | None:
        return error_of(self.events)


def _choices(events):
    for event in events:
        if event.data != "[DONE]":
            yield from event.json().get("choices", [])


def text_of(events) -> str:
    return "".join(c["delta"].get("content") or "" if "delta" in c else c["text"] for c in _choices(events))


def finish_of(events) -> str | None:
    reasons = [c["finish_reason"] for c in _choices(events) if c.get("finish_reason")]
    return reasons[0] if len(reasons) == 1 else None if not reasons else f"several: {reasons}"


def error_of(events) -> dict | None:
    errors = [e.json()["error"] for e in events if e.data.startswith("{") and "error" in e.json()]
    if len(errors) > 1:
        raise AssertionError(f"more than one error in a stream: {errors}")
    return errors[0] if errors else None


def _parse_stream(raw: bytes) -> tuple[int, list[Event]]:
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    body = b""
    if any(line.lower().replace(" ", "") == "transfer-encoding:chunked" for line in lines):
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body += rest[:length]
            rest = rest[length + 2:]
    else:
        body = rest
    return status, [Event(line[6:].decode(), 0) for line in body.split(b"\n") if line.startswith(b"data: ")]


def many_streams(address: tuple[str, int], path: str, bodies: list[dict],
                 seconds: float) -> list[tuple[int, list[Event]]]:
    """All at once over a connection each, from one thread; (status, events) of each, in order."""
    received = [b""] * len(bodies)
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for index, body in enumerate(bodies):
            data = json.dumps(body | {"stream": True}).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
            connection = socket.create_connection(address, timeout=TIMEOUT_S)
            connection.sendall(head.encode() + data)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, index)
        while selector.get_map():
            ready = selector.select(max(0, end - time.monotonic()))
            if not ready and time.monotonic() > end:
                raise AssertionError(f"{len(selector.get_map())} of {len(bodies)} streams did not end in {seconds} s")
            for key, _ in ready:
                if got := key.fileobj.recv(1 << 16):
                    received[key.data] += got
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
    return [_parse_stream(raw) for raw in received]
