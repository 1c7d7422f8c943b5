"""Datasets by name or path."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ragopt.benchmarks.datasets.catalogue import CATALOGUE, Entry
from ragopt.benchmarks.datasets.embedded import NAME as EMBEDDED
from ragopt.benchmarks.datasets.formats import KINDS, format_of
from ragopt.benchmarks.datasets.source import Source
from ragopt.benchmarks.datasets.types import (
    ContextSet,
    Dataset,
    IntentSet,
    PairSet,
    QueryLog,
    RetrievalSet,
    TraceSet,
    VectorSet,
)
from ragopt.errors import InputError

__all__ = ["data_folder", "describe", "here", "kind_of", "load", "names", "names_with_vectors"]

_VARIABLE = "RAGOPT_DATA"
_KIND_OF: dict[type, str] = {
    VectorSet: "vectors",
    RetrievalSet: "retrieval",
    ContextSet: "contexts",
    PairSet: "pairs",
    IntentSet: "intents",
    QueryLog: "queries",
    TraceSet: "trace",
}


def load(
    name_or_path: str | os.PathLike[str], *, kind: str | None = None, folder: Path | None = None
) -> Dataset:
    """A dataset by its name, or from a file or folder of a known format.

    Files are read as they are, vectors mapped into memory where their format allows; everything
    is checked first. The format of a path is told by its suffix, its layout and its first row.

    Args:
        name_or_path: one of `names`, or a path; a `pathlib.Path` is never taken for a name.
        kind: what is expected: vectors, retrieval, contexts, pairs, intents, queries or trace.
            Needed only where a file could be several, and checked otherwise.
        folder: of the named datasets; the one that RAGOPT_DATA names by default.

    Raises:
        InputError: no such name or path, no known format, another kind, or a damaged file; the
            message names file, row and way out.
        BackendMissing: the format needs a package that is not installed.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    asked = os.fspath(name_or_path)
    if not isinstance(asked, str):
        raise InputError(f"got {asked!r}; expected a name or a path as text")
    if isinstance(name_or_path, str) and asked in CATALOGUE:
        return _named(asked, CATALOGUE[asked], kind, folder)
    path = Path(asked)
    if isinstance(name_or_path, str) and not _there(path):
        raise InputError(_unknown(asked))
    source = Source(asked)
    return format_of(path, source, kind).read(path, source)


def names(kind: str | None = None) -> list[str]:
    """Names of the datasets, all or those of a kind.

    Raises:
        InputError: an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    return [name for name, entry in CATALOGUE.items() if kind in (None, entry.kind)]


def names_with_vectors() -> list[str]:
    """Names of the datasets that bring vectors of their own."""
    return [name for name, entry in CATALOGUE.items() if entry.vectors]


def data_folder() -> Path | None:
    """The folder of the named datasets: what RAGOPT_DATA names; None where it is not set.

    Raises:
        InputError: it names no folder.
    """
    named = os.environ.get(_VARIABLE, "").strip()
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise InputError(f"{_VARIABLE}={named}: no such folder; expected the evaluation data")
    return folder


def kind_of(dataset: Dataset) -> str:
    """The kind of a loaded dataset."""
    return _KIND_OF[type(dataset)]


def describe(what: str | Dataset) -> str:
    """One line on a named dataset (unread), or on a loaded one with its counts.

    Raises:
        InputError: no dataset of this name.
    """
    if not isinstance(what, str):
        return f"{what.name}: {_counts(what)} ({kind_of(what)}, data {what.data_hash})"
    if what not in CATALOGUE:
        raise InputError(_unknown(what))
    entry = CATALOGUE[what]
    place = f"${_VARIABLE}/{entry.files[0]}" if entry.files else "ships with ragopt"
    return f"{what}: {entry.about} ({entry.kind}, {place})"


def here(name: str) -> bool:
    """Whether the files of a named dataset are there.

    Raises:
        InputError: no dataset of this name.
    """
    if name not in CATALOGUE:
        raise InputError(_unknown(name))
    folder, files = data_folder(), CATALOGUE[name].files
    return not files or (folder is not None and all(_there(folder / file) for file in files))


def _named(name: str, entry: Entry, kind: str | None, folder: Path | None) -> Dataset:
    if kind is not None and kind != entry.kind:
        raise InputError(
            f"{name} holds {entry.kind}, not {kind}; expected one of {', '.join(names(kind))}, or "
            "see ragopt.benchmarks.datasets.convert for what it can be turned into"
        )
    if not entry.files:
        return entry.read(Path(), Source(name))
    folder = folder if folder is not None else data_folder()
    if folder is None:
        raise InputError(
            f"{name}: set {_VARIABLE} to the folder of the evaluation data, the one that holds "
            f"{entry.files[0]}; or give a path of your own, or {EMBEDDED!r}, which needs no "
            "download"
        )
    for file in entry.files:
        if not (folder / file).is_file():
            raise InputError(
                f"{name}: {folder / file} is missing; expected {file} below the folder that "
                f"{_VARIABLE} names"
            )
    return entry.read(folder, Source(name))


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _unknown(asked: str) -> str:
    near = difflib.get_close_matches(asked, CATALOGUE, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return (
        f"{asked!r}: no dataset of this name{hint} and no such file or folder; expected a path or "
        f"one of {', '.join(CATALOGUE)}"
    )


def _counts(dataset: Dataset) -> str:
    if isinstance(dataset, VectorSet):
        count, dim = dataset.vectors.shape
        queries = "no queries" if dataset.queries is None else f"{len(dataset.queries):,} queries"
        return f"{count:,} x {dim} {dataset.vectors.dtype}, {queries}"
    if isinstance(dataset, RetrievalSet):
        runs = f", runs {', '.join(dataset.runs)}" if dataset.runs else ""
        return f"{len(dataset.chunks):,} documents, {len(dataset.queries):,} queries{runs}"
    if isinstance(dataset, ContextSet):
        answered = sum(bool(context.evidence) for context in dataset.contexts)
        return f"{len(dataset.contexts):,} questions, {answered:,} with evidence"
    return _text_counts(dataset)


def _text_counts(dataset: PairSet | IntentSet | QueryLog | TraceSet) -> str:
    if isinstance(dataset, PairSet):
        same = sum(pair.same for pair in dataset.pairs)
        return f"{len(dataset.pairs):,} pairs, {same:,} of them the same"
    if isinstance(dataset, IntentSet):
        return f"{len(dataset.texts):,} utterances of {len(set(dataset.intents)):,} intents"
    if isinstance(dataset, QueryLog):
        return f"{len(dataset.queries):,} queries, {len(set(dataset.queries)):,} of them distinct"
    return f"{len(dataset.seconds):,} requests in {dataset.seconds[-1]:,.0f} s"
