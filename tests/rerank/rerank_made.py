"""Scorers of known behaviour, a price sheet, and a server that plays a script."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk
from ragopt.cost.model_prices import ModelPrice
from ragopt.cost.prices import PriceSheet
from ragopt.rerank import Scores, TellingReranker


def chunks_of(*texts: str) -> list[Chunk]:
    return [Chunk(str(place), text) for place, text in enumerate(texts)]


def order_of(values: NDArray[np.float32]) -> list[int]:
    return [int(place) for place in np.argsort(-values, kind="stable")]


@dataclass
class ByNumber:
    """Scores a chunk by the number that its text ends with."""

    seen: list[list[str]] = field(default_factory=list)

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self.seen.append([chunk.text for chunk in chunks])
        return np.array([float(chunk.text.split()[-1]) for chunk in chunks], dtype=np.float32)


@dataclass
class Priced(TellingReranker):
    """Turns the order of arrival round, at so many dollars a chunk."""

    usd_each: Decimal = Decimal("0.01")
    fail: str = ""
    seen: list[int] = field(default_factory=list)

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        self.seen.append(len(chunks))
        return Scores(
            values=np.arange(len(chunks), dtype=np.float32),
            read_in_part=(0,) if chunks else (),
            calls=1,
            usd=self.usd_each * len(chunks),
            failed=self.fail,
        )

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        return self.usd_each * len(chunks)


@dataclass
class Raises:
    """Fails."""

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        raise RuntimeError("out of cheese")


def sheet_of(*rows: dict[str, Any]) -> PriceSheet:
    about = {"provider": "us", "source": "made", "as_of": "2026-11-01"}
    return PriceSheet([ModelPrice(**{**about, **row}) for row in rows], source="made", date="2026")


Answer = Callable[[dict[str, Any]], Any]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, dict(self.headers.items()), request))
        status, headers = self.server.script.popleft() if self.server.script else (200, {})
        if status == 0:  # no answer before the client gives up
            self.server.ended.wait(10)
            self.close_connection = True
            return
        content = self.server.answer(request) if status == 200 else {"error": {"message": "busy"}}
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Endpoint(ThreadingHTTPServer):
    """Plays ``script``, statuses and headers, then answers with ``answer``."""

    daemon_threads = True  # clients keep connections open after a test

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.script: deque[tuple[int, dict[str, str]]] = deque()
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.ended = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def wait_until(true: Callable[[], bool]) -> None:
    """Until a thread has done its part; the time limit only ends a test that has failed."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
