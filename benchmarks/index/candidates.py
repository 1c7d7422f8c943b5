"""Who is measured: peers by name, ragopt's own indexes by spec, anyone's class by its path."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragopt.benchmarks.index.peers.base import Peer
from ragopt.errors import InputError

__all__ = ["Candidate", "candidates", "known_names", "peer_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of those to be measured.

    Args:
        name: family, as in rows.
        target: from which a worker makes the peer again; see `peer_of`.
        package: distribution it comes from.
        version: of that.
        knob: swept.
        values: of the knob, cheapest first.
        settings: these in words.
        disk_backed: as `Peer.disk_backed`.
        build_options: as `Peer.build_options`.
        source: digest of the code that drives it.
        unavailable: why it cannot run here; empty where it can.
    """

    name: str
    target: str
    package: str = ""
    version: str = ""
    knob: str = ""
    values: tuple[int, ...] = (0,)
    settings: tuple[str, ...] = ("no knob",)
    disk_backed: bool = False
    build_options: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    unavailable: str = ""

    def setting(self, value: int) -> str:
        """A knob value in words."""
        return self.settings[self.values.index(value)]


def known_names() -> list[str]:
    """Names of the peers that come with ragopt."""
    from ragopt.benchmarks.index.peers import peers

    return list(peers())


def candidates(only: Sequence[str]) -> list[Candidate]:
    """Those named, or all peers; each with the reason why it cannot run, where it cannot.

    Args:
        only: names, specs or ``"module:Class"``.

    Raises:
        InputError: none of the three, or two of one name.
    """
    found = [_candidate(name) for name in only or known_names()]
    names = [candidate.name for candidate in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: named twice; expected every candidate once")
    return found


def peer_of(target: str) -> Peer:
    """The peer that a target names: ``peer:NAME``, ``spec:SPEC`` or ``class:MODULE:CLASS``.

    Raises:
        InputError: there is none.
    """
    kind, _, rest = target.partition(":")
    if kind == "peer":
        from ragopt.benchmarks.index.peers import peers

        return peers()[rest]()
    if kind == "spec":
        from ragopt.benchmarks.index.peers import SpecPeer

        return SpecPeer(rest)
    module, _, name = rest.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"{rest}: no peer can be made of it ({error})") from error
    if not isinstance(made, Peer):
        raise InputError(f"{rest}: a {type(made).__name__} is no Peer; derive it from Peer")
    return made


def _candidate(name: str) -> Candidate:
    if ":" in name and "(" not in name:
        return _described(peer_of(f"class:{name}").name, f"class:{name}", "")
    known = known_names()
    if name in known:
        from ragopt.benchmarks.index.peers import unavailable

        reason = unavailable(name) or ""
        return _described(name, f"peer:{name}", reason)
    from ragopt.indexes.registry import parse_spec

    try:
        parse_spec(name)
    except InputError as error:
        raise InputError(
            f"--only {name}: expected some of {', '.join(known)}, a spec such as 'hnsw(m=32)', or "
            f"module:Class ({error})"
        ) from error
    return _described(name, f"spec:{name}", "")


def _described(name: str, target: str, reason: str) -> Candidate:
    peer = peer_of(target)
    return Candidate(
        name=name,
        target=target,
        package=peer.package,
        version=_version(peer.package),
        knob=peer.knob,
        values=tuple(int(value) for value in peer.values),
        settings=tuple(peer.setting(value) for value in peer.values),
        disk_backed=peer.disk_backed,
        build_options=dict(peer.build_options),
        source=_source(peer),
        unavailable=reason,
    )


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _source(peer: Peer) -> str:
    """Digest of the adapter, of this harness, and of ragopt's indexes where those are measured."""
    from ragopt import indexes
    from ragopt.benchmarks import measure
    from ragopt.benchmarks.index.peers import threads

    homes = [Path(__file__).parent, Path(measure.__file__).parent]
    if peer.package == "ragopt":
        homes.append(Path(indexes.__file__).parent)
    files = {file for home in homes for file in home.glob("*.py")}
    adapter = Path(inspect.getfile(type(peer)))
    files |= {adapter, Path(inspect.getfile(Peer)), Path(threads.__file__)}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
