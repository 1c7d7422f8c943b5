"""Servers on the loopback interface for scorers that call one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rerank_made import Endpoint


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Endpoint]]:
    """Starts endpoints that answer as told, and ends them."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    started: list[tuple[Endpoint, threading.Thread]] = []

    def start(answer: Any) -> Endpoint:
        server = Endpoint(answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
