"""Utterances by intent: CLINC150 and BANKING77."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ragopt.benchmarks.datasets.source import Source, at, string
from ragopt.benchmarks.datasets.types import IntentSet
from ragopt.errors import InputError

__all__ = ["intent_columns", "read_clinc", "read_intent_rows", "read_intent_table"]

_TEXT = ("text", "utterance", "query")
_INTENT = ("category", "intent", "label")
_OUT_OF_SCOPE = "oos"


def intent_columns(names: Iterable[str]) -> tuple[str, str] | None:
    """Which of the fields are the text and the intent; None where they are not those."""
    known = {name.strip().lower(): name for name in names}
    text = next((known[name] for name in _TEXT if name in known), None)
    intent = next((known[name] for name in _INTENT if name in known), None)
    return (text, intent) if text is not None and intent is not None else None


def read_clinc(path: Path, source: Source) -> IntentSet:
    """CLINC150: an object of splits, each a list of ``[text, intent]``.

    Larson et al. (2019), "An Evaluation Dataset for Intent Classification" (arXiv 1909.02027).
    Utterances out of scope (``oos``) share no answer and are left out.

    Raises:
        InputError: not of this form.
    """
    content = source.json(path)
    found = []
    for name, rows in content.items():
        for number, row in enumerate(rows):
            with at(f"{path}, {name!r}, item {number}"):
                if not isinstance(row, list) or len(row) != 2:
                    raise InputError(f"expected [text, intent], got {str(row)[:80]}")
                found.append((row[0], row[1]))
    return _set(source, path, [pair for pair in found if pair[1] != _OUT_OF_SCOPE])


def read_intent_table(path: Path, source: Source) -> IntentSet:
    """A CSV or TSV file with a header: text and category (BANKING77).

    Casanueva et al. (2020), "Efficient Intent Detection with Dual Sentence Encoders"
    (arXiv 2003.04807).

    Raises:
        InputError: no such header, or a row is not of this form; the message names it.
    """
    delimiter = "," if ".csv" in path.suffixes else "\t"
    rows = list(source.table(path, delimiter=delimiter))
    where, header = rows[0]
    columns = intent_columns(header)
    if columns is None:
        raise InputError(f"{where}: columns {header}; expected text and category (or intent)")
    text, intent = (header.index(column) for column in columns)
    found = []
    for where, cells in rows[1:]:
        if len(cells) != len(header):
            raise InputError(f"{where}: {len(cells)} cells, the header has {len(header)}")
        found.append((cells[text], cells[intent]))
    return _set(source, path, found)


def read_intent_rows(path: Path, source: Source) -> IntentSet:
    """JSON lines or a JSON list: text and intent (or category).

    Raises:
        InputError: a row is not of this form; the message names it.
    """
    found = []
    for where, row in source.rows(path):
        with at(where):
            columns = intent_columns(row)
            if columns is None:
                raise InputError(f"fields {sorted(row)}; expected text and intent")
            found.append((string(row, columns[0]), string(row, columns[1])))
    return _set(source, path, found)


def _set(source: Source, path: Path, found: Sequence[tuple[str, str]]) -> IntentSet:
    """The set; blanks around texts go."""
    for number, (text, intent) in enumerate(found):
        if not all(isinstance(part, str) and part.strip() for part in (text, intent)):
            raise InputError(f"{path}, utterance {number}: expected a text and its intent")
    if len({intent for _, intent in found}) < 2:
        raise InputError(f"{path}: fewer than two intents; expected several to tell apart")
    return IntentSet(
        name=source.name,
        texts=tuple(text.strip() for text, _ in found),
        intents=tuple(intent.strip() for _, intent in found),
        data_hash=source.data_hash,
    )
