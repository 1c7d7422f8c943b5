"""Checks of what callers hand to an index: vectors, ids, counts. A refusal changes nothing."""

from __future__ import annotations

import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError

__all__ = [
    "LARGEST_ID",
    "as_rows",
    "check_count",
    "check_range",
    "check_vectors",
    "id_array",
    "mapped_npy",
    "to_array",
]

# Beyond it squared distances between two rows would overflow float32.
_LARGEST_SQUARE = float(np.finfo(np.float32).max) / 8
LARGEST_ID = int(np.iinfo(np.int64).max)


def check_count(name: str, value: int) -> int:
    """An integer of at least 1.

    Raises:
        InputError: anything else, True included.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name}={value!r}: expected an integer of at least 1")
    return int(value)


def to_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """What numpy makes of ``values``.

    Raises:
        InputError: rows of different lengths.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: expected rows of one length; {error}") from error


def check_vectors(
    name: str, vectors: ArrayLike, *, dim: int | None = None, first_row: int = 0
) -> NDArray[np.float32]:
    """Vectors as C-contiguous float32 (n, dim), or a clear refusal.

    Args:
        name: of the argument, for messages.
        vectors: as they came.
        dim: that they must have.
        first_row: number of the first of them, for messages.

    Raises:
        InputError: not two-dimensional numbers, another dimension, NaN, infinite or huge values.
    """
    values = to_array(name, vectors)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise InputError(
            f"{name}: got shape {values.shape} of {values.dtype}, expected (n, "
            f"{dim or 'dim'}) real numbers"
        )
    if dim is None and values.shape[1] == 0:
        raise InputError(f"{name}: got shape {values.shape}, expected at least one dimension")
    if dim is not None and values.shape[1] != dim:
        raise InputError(
            f"{name}: {values.shape[1]} dimensions, the index has {dim}; embed with the model "
            "that the index was built with"
        )
    if values.dtype == np.float32:
        rows = np.ascontiguousarray(values)
        # The sum over all rows settles most cases in one pass; it tells nothing when it is large.
        if np.vdot(rows, rows) <= _LARGEST_SQUARE:
            return rows
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.ascontiguousarray(values, dtype=np.float32)
        usable = np.einsum("ij,ij->i", rows, rows) <= _LARGEST_SQUARE  # not so for NaN
    if not usable.all():
        raise InputError(
            f"{name}: {int((~usable).sum())} rows hold NaN, infinite or huge values (a length "
            f"beyond {_LARGEST_SQUARE**0.5:.1g}), the first is row "
            f"{first_row + int(np.flatnonzero(~usable)[0])}"
        )
    return rows


def as_rows(vectors: ArrayLike | Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Vectors (n, dim) of an array, or of an iterator over such blocks, by `check_vectors`.

    Raises:
        InputError: unusable vectors, or an iterator that gives none.
    """
    if not isinstance(vectors, Iterable) or hasattr(vectors, "__len__"):
        whole: Any = vectors
        return check_vectors("vectors", whole)
    given: Iterable[Any] = vectors
    blocks = [check_vectors("vectors", block) for block in given]
    if len({block.shape[1] for block in blocks}) != 1:
        widths = sorted({block.shape[1] for block in blocks})
        raise InputError(f"vectors: blocks of {widths} dimensions, expected some, of one width")
    return np.concatenate(blocks)


def mapped_npy(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, mapped and not read.

    Raises:
        InputError: there is none, or it is damaged; the message leaves the path to the caller.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        why = "it begins otherwise" if "pickle" in str(error) else error
        raise InputError(
            f"not a whole .npy file of numbers ({why}); numpy.save writes one"
        ) from error
    if not isinstance(found, np.memmap):
        raise InputError("an archive of several arrays; give a .npy file of one")
    surplus = path.stat().st_size - found.offset - found.nbytes
    if surplus:
        raise InputError(
            f"{surplus:,} bytes follow the {len(found):,} rows that its header states; the header "
            "is damaged or two files were joined"
        )
    return found


def check_range(rows: NDArray[np.float32], dtype: np.dtype[Any]) -> None:
    """Refuse rows that would turn infinite in the precision they are stored in.

    Raises:
        InputError: a value is too large for ``dtype``.
    """
    largest = float(np.abs(rows).max(initial=0))
    limit = float(np.finfo(dtype).max)
    if largest > limit:
        raise InputError(
            f"vectors: a value of {largest:g} is beyond what {dtype.name} rows hold "
            f"({limit:g}); store f32 rows or scale the vectors"
        )


def id_array(name: str, ids: Iterable[int]) -> NDArray[np.int64]:
    """Ids (n,) as int64.

    Raises:
        InputError: not a flat collection of 64-bit integers; masks are refused too.
    """
    if not isinstance(ids, Iterable) or isinstance(ids, (str, bytes)):
        raise InputError(f"{name}: got {ids!r}, expected integers")
    given = to_array(name, ids if isinstance(ids, np.ndarray) else list(ids))
    if given.shape == (0,):
        return np.empty(0, dtype=np.int64)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise InputError(
            f"{name}: got shape {given.shape} of {given.dtype}, expected a flat list of 64-bit "
            "integers"
        )
    if given.max() > LARGEST_ID:
        raise InputError(f"{name}: {given.max()} is too large; expected at most {LARGEST_ID}")
    return given.astype(np.int64)
