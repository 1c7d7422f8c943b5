"""What ``ragopt index`` reads: arrays, ids, options, folders and how an index in one stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragopt.errors import IndexCorrupt, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragopt.corpus import Progress
    from ragopt.indexes.base import PositionIndex, SearchResult
    from ragopt.indexes.tiered.index import TieredIndex

__all__ = [
    "array_of",
    "as_tiered",
    "budget_of",
    "check_replaceable",
    "cost_of",
    "describe",
    "files_of",
    "ids_of",
    "in_blocks",
    "is_unfinished",
    "knobs_of",
    "opened",
    "queries_of",
    "search_all",
    "standing",
]

_NUMBERS = re.compile(r"[\d\s,+-]*")
_BLOCK = 512  # queries between two steps of a progress bar
_WORK = "building"  # of a tiered index that is not whole yet


def array_of(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, mapped and not read.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from ragopt.indexes.checks import mapped_npy

    try:
        return mapped_npy(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def ids_of(option: str, text: str) -> NDArray[np.int64]:
    """Ids of a ``.npy`` file, or as they were typed.

    Args:
        option: for messages.
        text: a file, or ids with commas between them.

    Raises:
        InputError: no ids, or a file that cannot be used.
    """
    from ragopt.indexes.checks import id_array

    if _NUMBERS.fullmatch(text) is None:
        return id_array(f"{option} {text}", array_of(Path(text)))
    try:
        typed = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: expected ids such as 3,14,15; {error}") from error
    if not typed:
        raise InputError(f"{option}: got no id; expected a .npy file or ids such as 3,14,15")
    return id_array(option, typed)


def knobs_of(given: Sequence[str]) -> dict[str, int]:
    """Search knobs as they were typed, ``NAME=VALUE``.

    Raises:
        InputError: something else, or a name twice.
    """
    knobs: dict[str, int] = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not re.fullmatch(r"\d{1,18}", value):
            raise InputError(
                f"--knob {text!r}: expected NAME=VALUE with an integer, such as probes=24"
            )
        if name in knobs:
            raise InputError(f"--knob {text!r}: {name} is given twice")
        knobs[name] = int(value)
    return knobs


def budget_of(text: str) -> int | float | str:
    """A RAM budget as it was typed: bytes, a share of the raw rows, or a size such as 200MB.

    Raises:
        InputError: none of these.
    """
    from ragopt.indexes.tiered.options import budget_bytes

    budget: int | float | str = text.strip()
    for kind in (int, float):
        try:
            budget = kind(text)
            break
        except ValueError:
            continue
    budget_bytes(budget, 1)
    return budget


def is_unfinished(folder: Path) -> bool:
    """Whether a build was interrupted in this folder."""
    return (folder / _WORK).is_dir()


def check_replaceable(folder: Path, *, force: bool) -> None:
    """Refuse to build over what is there.

    Args:
        folder: to build in.
        force: an index may be replaced, and nothing else.

    Raises:
        InputError: an index stands there that may not be replaced, or something else.
    """
    from ragopt.indexes.base import KIND, VERSION
    from ragopt.storage import MANIFEST, read_folder

    if not (folder / MANIFEST).exists():
        return
    try:
        about, _ = read_folder(folder, kind=KIND, version=VERSION, verify=False)
        found = f"an index, {about.get('family')} with {about.get('rows', 0):,} rows"
    except IndexCorrupt:
        found = "an index that cannot be read"
    if not force:
        raise InputError(f"{folder} holds {found}; give --force to replace it, or another folder")


def opened(folder: Path) -> PositionIndex:
    """A saved index; its files' sizes are checked, not their content.

    Raises:
        InputError: there is none.
        IndexCorrupt: a file is damaged; it is named.
    """
    from ragopt.indexes import open as open_index
    from ragopt.storage import MANIFEST

    if not (folder / MANIFEST).exists():
        if is_unfinished(folder):
            raise InputError(
                f"{folder}: a build was interrupted here; give its command again to finish it"
            )
        raise InputError(f"{folder}: there is no index; ragopt index build makes one")
    return open_index(folder, verify=False)


def as_tiered(index: PositionIndex) -> TieredIndex | None:
    """The index where it is a tiered one; the engine of others is not imported for this."""
    if index.family != "tiered":
        return None
    from ragopt.indexes.tiered.index import TieredIndex

    return index if isinstance(index, TieredIndex) else None


def files_of(folder: Path) -> dict[str, int]:
    """Bytes of each file of an index, by name.

    Raises:
        IndexCorrupt: one is missing or has another size.
    """
    from ragopt.indexes.base import KIND, VERSION
    from ragopt.storage import load_folder

    def sizes(about: Mapping[str, Any], parts: Mapping[str, Path]) -> dict[str, int]:
        paths = [*parts.values(), *([folder / about["log"]] if about.get("log") else [])]
        return {path.name: path.stat().st_size for path in paths}

    return load_folder(folder, sizes, kind=KIND, version=VERSION, verify=False)


def standing(index: PositionIndex, folder: Path) -> dict[str, Any]:
    """What changes of an index: rows, files and, of a tiered one, segments and tiers."""
    files = files_of(folder)
    found: dict[str, Any] = {"rows": len(index), "files": len(files), "bytes": sum(files.values())}
    tiered = as_tiered(index)
    if tiered is not None:
        about = tiered.about()
        parts = ("fresh_rows", "tombstones", "tiers", "ram_budget", "ram_budget_bytes")
        found |= {"segments": len(about["segments"]), **{part: about[part] for part in parts}}
    return found


def describe(index: PositionIndex, folder: Path) -> dict[str, Any]:
    """All there is to say about an index; the codes of a tiered one are not brought into RAM."""
    from dataclasses import asdict

    tiered = as_tiered(index)
    found = {
        "folder": str(folder),
        "family": index.family,
        "options": asdict(index.options),
        "dim": index.dim,
        "metric": index.metric,
        **standing(index, folder),
    }
    if tiered is not None:
        about = tiered.about()
        found |= {"rows_by_segment": about["segments"], "lists": about["lists"]}
        ram, disk = about["ram"], about["disk"]
    else:
        parts = index.footprint().by_part
        ram = {part: size for part, size in parts.items() if not part.startswith("disk:")}
        disk = {part[5:]: size for part, size in parts.items() if part.startswith("disk:")}
    return {
        **found,
        "ram": dict(ram),
        "ram_bytes": sum(ram.values()),
        "ram_bytes_per_vector": sum(ram.values()) / len(index) if len(index) else None,
        "disk": dict(disk),
        "defaults": index.defaults,
        "certificate": index.certificate.to_dict() if index.certificate else None,
    }


def queries_of(path: Path) -> NDArray[Any]:
    """Queries (n, dim); one alone may stand in a file without rows."""
    found = array_of(path)
    rows = found[None] if found.ndim == 1 else found
    if not rows.size:
        raise InputError(f"{path}: no queries; got shape {found.shape}, expected (n, dim)")
    return rows


def search_all(
    found: PositionIndex, rows: NDArray[Any], k: int, progress: Progress, **more: Any
) -> SearchResult:
    """Results of all queries; what a first search loads or compiles is not in their time."""
    progress("load", 0, 1)
    found.search(rows[:1], k, **more)
    return in_blocks(rows, progress, lambda block: found.search(block, k, **more))


def in_blocks(rows: NDArray[Any], progress: Progress, run: Any) -> SearchResult:
    """All queries, some at a time; what they cost is summed."""
    import numpy as np

    from ragopt.indexes.base import SearchResult, SearchStats

    parts: list[SearchResult] = []
    for start in range(0, len(rows), _BLOCK):
        progress("search", start, len(rows))
        parts.append(run(rows[start : start + _BLOCK]))
    stats = [part.stats for part in parts]
    return SearchResult(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        SearchStats(
            codes_scanned=sum(part.codes_scanned for part in stats),
            pages_read=sum(part.pages_read for part in stats),
            bytes_read=sum(part.bytes_read for part in stats),
            read_rounds=max(part.read_rounds for part in stats),
            seconds=sum(part.seconds for part in stats),
        ),
    )


def cost_of(result: SearchResult) -> dict[str, float]:
    """Means of a query; ``read_rounds`` is the largest number of any."""
    stats, queries = result.stats, len(result.ids)
    return {
        "codes_per_query": stats.codes_scanned / queries,
        "pages_per_query": stats.pages_read / queries,
        "read_rounds": stats.read_rounds,
        "ms_per_query": 1000 * stats.seconds / queries,
    }
