"""Which libraries can be measured here: adapters by name, and why one cannot run."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from ragopt.benchmarks.index.peers.base import Peer
from ragopt.benchmarks.index.peers.spec_peer import SpecPeer, spec_unknown
from ragopt.errors import InputError

__all__ = ["peers", "unavailable"]


@dataclass(frozen=True, slots=True)
class _Need:
    """A package that an adapter imports.

    Args:
        module: that is imported.
        distributions: that provide it, the one to install first.
        at_least: version of the first that has all that is used.
        python: the oldest that it installs on.
    """

    module: str
    distributions: tuple[str, ...]
    at_least: tuple[int, ...] = (0,)
    python: tuple[int, int] = (3, 10)


_FAISS = _Need("faiss", ("faiss-cpu",), (1, 14))
_HNSWLIB = _Need("hnswlib", ("hnswlib",), (0, 8))
_DISKANN = _Need("diskannpy", ("diskannpy-rust", "diskannpy"), (0, 49))
_USEARCH = _Need("usearch", ("usearch",), (2, 20))
_LANCE = _Need("lancedb", ("lancedb",), (0, 37))
_RABITQ = _Need("rabitqlib", ("rabitqlib",), (0, 7), (3, 11))
_THREADS = _Need("threadpoolctl", ("threadpoolctl",), (3,))

_OWN_NEEDS = (_FAISS, _THREADS)
_OWN: Mapping[str, tuple[str, tuple[int, ...] | None]] = {
    "tiered": ("tiered", None),
    "tiered-2bit": ("tiered(bits=2,spill=1.25)", None),
    "tiered-small": ("tiered(spill=1.1)", None),
    "rabitq": ("rabitq(bits=1)+rescore(f16)", (10, 15, 20, 30, 40, 60, 80, 120)),
    "flat": ("flat", None),
}
"""Name to spec and to the values of its knob, where they are not the family's."""

_LIBRARIES: Mapping[str, tuple[str, str, _Need]] = {
    "hnswlib": ("hnswlib_peer", "Hnswlib", _HNSWLIB),
    "faiss-hnsw": ("faiss_peers", "FaissHnsw", _FAISS),
    "faiss-hnsw-sq8": ("faiss_peers", "FaissHnswSq8", _FAISS),
    "faiss-ivfpq-refine": ("faiss_peers", "FaissIvfPqRefine", _FAISS),
    "faiss-rabitq-refine-mmap": ("faiss_peers", "FaissRabitqRefineMmap", _FAISS),
    "faiss-ivf-rabitq-refine-mmap": ("faiss_peers", "FaissIvfRabitqRefineMmap", _FAISS),
    "diskannpy": ("diskannpy_peer", "Diskannpy", _DISKANN),
    "usearch": ("usearch_peer", "Usearch", _USEARCH),
    "usearch-view": ("usearch_peer", "UsearchView", _USEARCH),
    "lancedb": ("lancedb_peer", "LanceDb", _LANCE),
    "lancedb-ivf-rq": ("lancedb_peer", "LanceDbIvfRq", _LANCE),
    "rabitqlib": ("rabitqlib_peers", "RabitqlibIvf", _RABITQ),
    "rabitqlib-qg": ("rabitqlib_peers", "RabitqlibQg", _RABITQ),
}
"""Name to module, class and what it imports."""


def peers() -> Mapping[str, Callable[[], Peer]]:
    """Every adapter by name, ragopt's own first; nothing is imported before one is called.

    A peer can be made, and says what it is, whether or not its library is there.
    """
    own = {
        name: partial(SpecPeer, spec, name=name, values=values)
        for name, (spec, values) in _OWN.items()
    }
    others = {name: partial(_made, module, kind) for name, (module, kind, _) in _LIBRARIES.items()}
    return {**own, **others}


def unavailable(name: str) -> str | None:
    """Why an adapter cannot run here and what to do about it; None where it can.

    Raises:
        InputError: an unknown name.
    """
    if name in _OWN:
        spec, _ = _OWN[name]
        return spec_unknown(spec) or _first(_missing(need) for need in _OWN_NEEDS)
    if name not in _LIBRARIES:
        raise InputError(f"peer {name!r}: expected one of {', '.join(peers())}")
    return _missing(_LIBRARIES[name][2])


def _made(module: str, kind: str) -> Peer:
    home = importlib.import_module(f"ragopt.benchmarks.index.peers.{module}")
    made: Peer = getattr(home, kind)()
    return made


def _first(reasons: Iterable[str | None]) -> str | None:
    return next(filter(None, reasons), None)


def _missing(need: _Need) -> str | None:
    first = need.distributions[0]
    wanted = ".".join(map(str, need.at_least))
    way_out = f"run: pip install '{first}>={wanted}'"
    if importlib.util.find_spec(need.module) is None:
        if sys.version_info < need.python:
            oldest, this = _dotted(need.python), _dotted(sys.version_info[:2])
            return f"{first} needs Python {oldest} or newer, this is {this}; use a newer Python"
        return f"the package {first} is not installed; {way_out}"
    found = _installed(first)
    if found is not None and _numbers(found) < need.at_least:
        return f"{first} {found} is too old, {wanted} or newer is needed; {way_out}"
    return None


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:  # another distribution provides the module
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """``"1.15.1"`` as (1, 15, 1); what follows the numbers is left out."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _dotted(parts: tuple[int, ...]) -> str:
    return ".".join(map(str, parts))
