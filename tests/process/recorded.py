"""Clients for the official `openai` package that keep what they send and hear, byte by byte."""

from dataclasses import dataclass, field

import httpx2
from openai import DefaultAsyncHttpxClient, DefaultHttpxClient


@dataclass
class Exchange:
    method: str
    path: str
    request: bytes
    status: int
    content_type: str
    body: bytearray = field(default_factory=bytearray)  # as far as it was read

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status}: sent {self.request[:300]!r}, heard {bytes(self.body[:300])!r}"


EXCHANGES: list[Exchange] = []


class _Kept(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The stream of an answer; what passes is kept."""

    def __init__(self, stream, exchange: Exchange):
        self._stream, self._exchange = stream, exchange

    def __iter__(self):
        for part in self._stream:
            self._exchange.body += part
            yield part

    async def __aiter__(self):
        async for part in self._stream:
            self._exchange.body += part
            yield part

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _keep(request, response):
    kind = response.headers.get("content-type", "").partition(";")[0]
    exchange = Exchange(request.method, request.url.path, request.content, response.status_code, kind)
    EXCHANGES.append(exchange)
    response.stream = _Kept(response.stream, exchange)
    return response


class _Transport(httpx2.HTTPTransport):
    def handle_request(self, request):
        return _keep(request, super().handle_request(request))


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request):
        return _keep(request, await super().handle_async_request(request))


def client() -> DefaultHttpxClient:
    return DefaultHttpxClient(transport=_Transport())


def async_client() -> DefaultAsyncHttpxClient:
    return DefaultAsyncHttpxClient(transport=_AsyncTransport())
