"""Spec strings to index families: ``"hnsw(m=32)+sq8"``, ``"rabitq(bits=1)+rescore(f16)"``.

Families of third parties register through the entry-point group ``ragopt.indexes``; each entry
names a `Family`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from ragopt.errors import InputError
from ragopt.indexes.base import PositionIndex, load_saved
from ragopt.indexes.checks import as_rows
from ragopt.indexes.scoring import Metric

__all__ = ["Family", "build", "families", "open"]

_CALL = re.compile(r"(?P<name>[a-z][a-z0-9_-]*)(?:\((?P<arguments>[^()]*)\))?")
_SYNTAX = "expected FAMILY(option=value, …) with modifiers after '+', such as 'hnsw(m=32)'"


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of index.

    Args:
        name: as in a spec string.
        index: the class, imported on first use.
        modifiers: allowed after ``+``: name to the option that its value sets, or, for one that
            takes no value, to ``option=value``.
        summary: one line for listings.
    """

    name: str
    index: Callable[[], type[PositionIndex]]
    modifiers: Mapping[str, str]
    summary: str


def _class(module: str, name: str) -> Callable[[], type[PositionIndex]]:
    """A class of ours, imported when it is called for."""

    def load() -> type[PositionIndex]:
        found: type[PositionIndex] = getattr(import_module(f"ragopt.indexes.{module}"), name)
        return found

    return load


_FAMILIES = (
    Family("flat", _class("flat", "FlatIndex"), {}, "exact scan, f32 or f16 rows in RAM"),
    Family(
        "hnsw",
        _class("hnsw", "FaissHnswIndex"),
        {"sq8": "rows=sq8"},
        "graph over f32 or 8-bit rows in RAM (faiss)",
    ),
    Family(
        "hnswlib", _class("hnswlib", "HnswlibIndex"), {}, "graph over f32 rows in RAM (hnswlib)"
    ),
    Family(
        "ivf", _class("ivf", "IvfIndex"), {"sq8": "rows=sq8"}, "lists of 8-bit rows in RAM (faiss)"
    ),
    Family(
        "ivfpq",
        _class("ivfpq", "IvfPqIndex"),
        {"opq": "opq=True", "rescore": "rows"},
        "lists of product-quantization codes in RAM, rows on disk (faiss)",
    ),
    Family(
        "diskann",
        _class("diskann", "DiskannIndex"),
        {},
        "graph and rows on disk, codes in RAM (diskannpy)",
    ),
    Family(
        "rabitq",
        _class("rabitq", "RabitqIndex"),
        {"rescore": "rows"},
        "codes of 1 to 8 bits in RAM, rows on disk (faiss)",
    ),
    Family(
        "tiered",
        _class("tiered.index", "TieredIndex"),
        {"rescore": "rows"},
        "lists of codes in RAM, rows on disk (numba)",
    ),
)
_BUILT_IN = {family.name: family for family in _FAMILIES}


@lru_cache(maxsize=1)
def families() -> Mapping[str, Family]:
    """Every known family by name, those of installed third parties included."""
    known = dict(_BUILT_IN)
    for entry in entry_points(group="ragopt.indexes"):
        family = entry.load()
        known.setdefault(family.name, family)
    return known


def build(
    spec: str,
    vectors: ArrayLike | Iterable[ArrayLike],
    ids: Iterable[int] | None = None,
    *,
    path: Path | str | None = None,
    metric: Metric = "cosine",
    seed: int = 0,
    progress: Callable[[str, int, int], object] | None = None,
) -> PositionIndex:
    """Build an index.

    ``"tiered"`` with a path streams: the vectors may be a memory map of any size, or an iterator
    over blocks, and never stand in RAM together; a build that was killed goes on where it was when
    it is called again with the same arguments.

    Args:
        spec: such as ``"tiered"``, ``"flat"``, ``"hnsw(m=32)"`` or
            ``"rabitq(bits=1)+rescore(f16)"``.
        vectors: (n, dim); or an iterator over arrays (m, dim).
        ids: (n,) unique integers >= 0; 0, 1, 2, … by default.
        path: folder to save it in; what lives on disk is then read from there. Without it,
            rows on disk stand in an unnamed temporary file.
        metric: ``"cosine"``, ``"ip"`` or ``"l2"``.
        seed: of whatever the family draws at random.
        progress: called with the step, how many rows of it are done, and how many there are; by
            families whose builds are long.

    Raises:
        InputError: an unknown family or option, or unusable vectors.
        BackendMissing: the family's package is not installed.
        StorageError: the folder cannot be written.

    Example:
        >>> import numpy as np
        >>> index = build("flat", np.eye(4, dtype="float32"))
        >>> index.search([0, 0, 1, 0], 1).ids
        array([[2]])
    """
    index_type, options = parse_spec(spec)
    if path is not None:
        return index_type.create(
            options, vectors, ids, path=Path(path), metric=metric, seed=seed, progress=progress
        )
    rows = as_rows(vectors)
    index = index_type(options, rows.shape[1], metric, seed=seed)
    index.add(rows, ids)
    return index


def open(path: Path | str, *, verify: bool = True) -> PositionIndex:  # noqa: A001
    """Open a saved index.

    Args:
        path: the folder given to `build` or ``save``.
        verify: check every file's checksum, which reads them whole (some 1 GB/s); sizes and the
            manifest are always checked.

    Raises:
        InputError: nothing was saved there.
        IndexCorrupt: a file is damaged; the message names it.
        BackendMissing: the family's package is not installed.
    """
    return load_saved(
        Path(path),
        lambda about, parts: _family(about["family"]).index().restore(about, parts),
        verify=verify,
    )


def parse_spec(spec: str) -> tuple[type[PositionIndex], Any]:
    """The class and the options that a spec string names.

    Raises:
        InputError: the string is not a spec, or names an unknown family, modifier or option.
    """
    if not isinstance(spec, str):
        raise InputError(f"index spec {spec!r}: {_SYNTAX}")
    head, *tail = [part.strip() for part in spec.split("+")]
    name, options = _call(head, spec)
    family = _family(name)
    for part in tail:
        modifier, given = _call(part, spec)
        if modifier not in family.modifiers:
            raise InputError(
                f"{spec!r}: {name} takes no '+{modifier}'; it takes {sorted(family.modifiers)}"
            )
        option, fixed, value = family.modifiers[modifier].partition("=")
        if fixed and given:
            raise InputError(f"{spec!r}: expected '+{modifier}' without a value")
        if not fixed and set(given) != {""}:
            raise InputError(f"{spec!r}: expected one value, as in '+{modifier}(f16)'")
        if option in options:
            raise InputError(f"{spec!r}: {option} is given twice")
        options[option] = _value(value) if fixed else given[""]
    index_type = family.index()
    try:
        return index_type, index_type.options_type(**options)
    except TypeError as error:
        known = sorted(index_type.options_type.__dataclass_fields__)
        raise InputError(f"{spec!r}: {error}; options of {name}: {known}") from error


def _family(name: str) -> Family:
    if name in _BUILT_IN:  # a broken package of a third party breaks its own families only
        return _BUILT_IN[name]
    known = families()
    if name not in known:
        raise InputError(f"index family {name!r}: expected one of {sorted(known)}")
    return known[name]


def _call(text: str, spec: str) -> tuple[str, dict[str, Any]]:
    """``name(a=1, b=f16)`` to its name and arguments; a lone value stands under ``""``."""
    match = _CALL.fullmatch(text)
    if match is None:
        raise InputError(f"index spec {spec!r}: {text!r} is not understood; {_SYNTAX}")
    arguments: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in (match["arguments"] or "").split(","))):
        key, separator, value = item.rpartition("=")
        if separator and not key.strip().isidentifier():
            raise InputError(f"index spec {spec!r}: {item!r} is not understood; {_SYNTAX}")
        if key.strip() in arguments:
            raise InputError(f"index spec {spec!r}: {item!r} is given twice")
        arguments[key.strip()] = _value(value.strip())
    return match["name"], arguments


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
