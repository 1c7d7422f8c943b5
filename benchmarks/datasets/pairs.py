"""Labelled pairs of texts: QQP, MRPC, and files of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragopt.benchmarks.datasets.source import Source, at
from ragopt.benchmarks.datasets.types import LabelledPair, PairSet
from ragopt.benchmarks.datasets.vectors import read_texts, read_vectors
from ragopt.errors import InputError

__all__ = ["COLUMNS", "pair_columns", "read_pair_rows", "read_pair_table"]

# Names of the two texts and of the label, lower case: ours, QQP's, GLUE's, MRPC's as published.
COLUMNS = (
    ("text_a", "text_b", "label"),
    ("question1", "question2", "is_duplicate"),
    ("question1", "question2", "label"),
    ("sentence1", "sentence2", "label"),
    ("#1 string", "#2 string", "quality"),
)
_LABELS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}


def pair_columns(names: Iterable[str]) -> tuple[str, str, str] | None:
    """Which of the fields are the texts and the label; None where they are not those of pairs."""
    known = {name.strip().lower(): name for name in names}
    for columns in COLUMNS:
        if all(column in known for column in columns):
            first, second, label = (known[column] for column in columns)
            return first, second, label
    return None


def read_pair_rows(
    path: Path, source: Source, *, vectors: Path | None = None, texts: Path | None = None
) -> PairSet:
    """Pairs of JSON lines or a JSON list: ``text_a``, ``text_b``, ``label``.

    Args:
        path: the file.
        source: counts the files read.
        vectors: of the distinct texts; left out where the file is not there.
        texts: the texts that the vectors are of, in order.

    Raises:
        InputError: a row is not of this form, or a text has no vector.
    """
    pairs = _distinct(source.rows(path))
    return PairSet(
        name=source.name,
        pairs=pairs,
        vectors=_vectors(pairs, vectors, texts, source),
        data_hash=source.data_hash,
    )


def read_pair_table(path: Path, source: Source) -> PairSet:
    """Pairs of a CSV or TSV file with a header, such as those of QQP and MRPC.

    MRPC's TSV has quotation marks that enclose nothing: there they are characters like others.

    Raises:
        InputError: no header of pairs, or a row is not of this form; the message names it.
    """
    delimiter = "," if ".csv" in path.suffixes else "\t"
    rows = list(source.table(path, delimiter=delimiter, quoted=_quoted(path, delimiter, source)))
    where, header = rows[0]
    with at(where):
        if pair_columns(header) is None:
            raise InputError(f"columns {header}; expected such as {' or '.join(map(str, COLUMNS))}")
    return PairSet(
        name=source.name,
        pairs=_distinct(_as_objects(header, rows[1:])),
        data_hash=source.data_hash,
    )


def _quoted(path: Path, delimiter: str, source: Source) -> bool:
    """Whether quotation marks enclose cells; in MRPC's own file they do not."""
    for _, header in source.table(path, delimiter=delimiter, quoted=False):
        return "#1 String" not in header
    return True


def _as_objects(
    header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, cells in rows:
        if len(cells) != len(header):
            raise InputError(f"{where}: {len(cells)} cells, the header has {len(header)}")
        yield where, dict(zip(header, cells, strict=True))


def _distinct(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[LabelledPair, ...]:
    """The pairs; the same two texts must not have two labels."""
    pairs: list[LabelledPair] = []
    labels: dict[frozenset[str], bool] = {}
    for where, row in rows:
        with at(where):
            pair = _pair(row)
            key = frozenset((pair.text_a, pair.text_b))
            if labels.setdefault(key, pair.same) != pair.same:
                raise InputError(
                    f"{pair.text_a!r} and {pair.text_b!r} stood before with the other label; "
                    "leave one of the two rows out"
                )
            pairs.append(pair)
    if not pairs:
        raise InputError("no pair below the header; expected at least one")
    return tuple(pairs)


def _pair(row: Mapping[str, Any]) -> LabelledPair:
    columns = pair_columns(row)
    if columns is None:
        raise InputError(f"fields {sorted(row)}; expected text_a, text_b and label")
    first, second, label = (row[column] for column in columns)
    for name, text in zip(columns, (first, second), strict=False):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"field {name!r}: expected text, got {text!r}")
    same = _LABELS.get(str(label).strip().lower())
    if same is None:
        raise InputError(f"field {columns[2]!r}: expected 0 or 1, got {label!r}")
    return LabelledPair(first, second, same)


def _vectors(
    pairs: Sequence[LabelledPair], vectors: Path | None, texts: Path | None, source: Source
) -> tuple[dict[str, int], Any] | None:
    if vectors is None or texts is None or not (vectors.is_file() and texts.is_file()):
        return None
    matrix = read_vectors(vectors, source)
    places = {text: row for row, text in enumerate(read_texts(texts, source, len(matrix)))}
    for pair in pairs:
        for text in (pair.text_a, pair.text_b):
            if text not in places:
                raise InputError(f"{texts}: no vector of {text!r}; expected one of every text")
    return places, matrix
