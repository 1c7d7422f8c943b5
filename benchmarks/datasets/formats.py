"""Which format a file or folder is of: by its suffix, its layout, and its first row."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragopt.benchmarks.datasets.beir import is_beir, read_beir
from ragopt.benchmarks.datasets.contexts import (
    read_clapnq,
    read_nq,
    read_pubmedqa,
    read_squad,
    read_squad_rows,
)
from ragopt.benchmarks.datasets.intents import (
    intent_columns,
    read_clinc,
    read_intent_rows,
    read_intent_table,
)
from ragopt.benchmarks.datasets.logs import (
    read_azure,
    read_chat_log,
    read_chat_trace,
    read_lines,
    read_mooncake,
    read_prompts,
)
from ragopt.benchmarks.datasets.long_documents import is_chunking, read_chunking, read_qmsum
from ragopt.benchmarks.datasets.multihop import read_hotpotqa, read_musique
from ragopt.benchmarks.datasets.pairs import pair_columns, read_pair_rows, read_pair_table
from ragopt.benchmarks.datasets.source import Source, at, opened
from ragopt.benchmarks.datasets.types import Dataset, VectorSet
from ragopt.benchmarks.datasets.vectors import SUFFIXES as VECTOR_SUFFIXES
from ragopt.benchmarks.datasets.vectors import load_vectors, read_vector_rows
from ragopt.errors import InputError
from ragopt.textfile import json_lines, json_object

__all__ = ["KINDS", "Format", "format_of"]

KINDS = ("vectors", "retrieval", "contexts", "pairs", "intents", "queries", "trace")
_TEXT_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt")
_HEAD_BYTES = 1 << 23
_FOLDERS = (
    "corpus.jsonl and queries.jsonl with qrels (BEIR), or questions.jsonl and *.md (long documents)"
)

Read = Callable[[Path, Source], Dataset]


@dataclass(frozen=True, slots=True)
class Format:
    """How a kind of file is told and read.

    Args:
        name: for messages.
        kind: of what it holds, one of `KINDS`.
        read: reads it.
        on_demand: only taken when its kind is asked for.
    """

    name: str
    kind: str
    read: Read
    on_demand: bool = False


def _vectors(path: Path, source: Source) -> VectorSet:
    return load_vectors(path, source=source)


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda row: all(name in row for name in names)


def _is_chat(row: Mapping[str, Any]) -> bool:
    body = row.get("body")
    return "messages" in row or (isinstance(body, dict) and "messages" in body)


def _is_timed(row: Mapping[str, Any]) -> bool:
    return "usage" in row or isinstance(row.get("response"), dict)


_ROWS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Format], ...] = (
    (_has("context", "supporting_facts"), Format("HotpotQA", "contexts", read_hotpotqa)),
    (_has("paragraphs", "question"), Format("MuSiQue", "contexts", read_musique)),
    (_has("context", "question", "answers"), Format("flat SQuAD", "contexts", read_squad_rows)),
    (_has("question", "answers", "text"), Format("NQ with passages", "contexts", read_nq)),
    (_has("input", "passages", "output"), Format("CLAPNQ", "contexts", read_clapnq)),
    (_has("QUESTION", "CONTEXTS"), Format("PubMedQA", "contexts", read_pubmedqa)),
    (_has("meeting_transcripts"), Format("QMSum", "contexts", read_qmsum)),
    (lambda row: pair_columns(row) is not None, Format("pairs", "pairs", read_pair_rows)),
    (lambda row: intent_columns(row) is not None, Format("intents", "intents", read_intent_rows)),
    (_is_chat, Format("OpenAI-style log", "queries", read_chat_log)),
    (_is_timed, Format("OpenAI-style log", "trace", read_chat_trace, on_demand=True)),
    (_has("timestamp", "input_length"), Format("Mooncake", "trace", read_mooncake)),
    (_has("vector"), Format("rows of vectors", "vectors", read_vector_rows)),
    (_has("embedding"), Format("rows of vectors", "vectors", read_vector_rows)),
    (_has("prompt"), Format("prompts", "queries", read_prompts)),
    (_has("query"), Format("queries", "queries", read_prompts)),
    (_has("question"), Format("questions", "queries", read_prompts, on_demand=True)),
)
_TABLES: tuple[tuple[Callable[[Sequence[str]], bool], Format], ...] = (
    (lambda header: pair_columns(header) is not None, Format("pairs", "pairs", read_pair_table)),
    (
        lambda header: intent_columns(header) is not None,
        Format("intents", "intents", read_intent_table),
    ),
    (
        lambda header: "contexttokens" in [name.strip().lower() for name in header],
        Format("Azure trace", "trace", read_azure),
    ),
)
_LINES = Format("one query a line", "queries", read_lines)


def format_of(path: Path, source: Source, kind: str | None) -> Format:
    """The format to read a path with.

    Args:
        path: a file or folder.
        source: reads JSON files whole, and keeps what it read.
        kind: the kind of dataset wanted; told from the content by default.

    Raises:
        InputError: an unknown kind, nothing there, no format known, or several kinds possible.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    with at(str(path)):
        found = _candidates(path, source)
        wanted = [one for one in found if kind == one.kind or not (kind or one.on_demand)]
        kinds = sorted({one.kind for one in wanted})
        if len(kinds) == 1:
            return wanted[0]
        if not wanted:
            raise InputError(_nothing(found, kind))
        raise InputError(
            f"could be read as {' or '.join(kinds)}; say which: load({path.name!r}, "
            f"kind={kinds[0]!r}), or --kind {kinds[0]}"
        )


def _candidates(path: Path, source: Source) -> list[Format]:
    if _is_folder(path):
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix == ".gz":
        suffix = Path(path.stem).suffix.lower()
    elif suffix in VECTOR_SUFFIXES:
        return [Format("vectors", "vectors", _vectors)]
    if suffix == ".jsonl":
        return _row_formats(_first_row(path))
    if suffix == ".json":
        return _json(path, source)
    if suffix in (".csv", ".tsv"):
        return _table(path, "," if suffix == ".csv" else "\t")
    if suffix == ".txt":
        return [_LINES]
    raise InputError(
        f"no format is known by {suffix or 'a name without suffix'!r}; expected "
        f"{' '.join((*VECTOR_SUFFIXES, *_TEXT_SUFFIXES))} or a folder with {_FOLDERS}"
    )


def _is_folder(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}") from error
    if not exists:
        raise InputError("no such file or folder, and no dataset of this name")
    return False


def _folder(path: Path) -> list[Format]:
    found = []
    if is_beir(path):
        found.append(Format("BEIR", "retrieval", read_beir))
    if is_chunking(path):
        found.append(Format("long documents", "contexts", read_chunking))
    if not found:
        raise InputError(f"the folder is of no known layout; expected {_FOLDERS}, or name a file")
    return found


def _first_row(path: Path) -> dict[str, Any]:
    """The first object of a JSON-lines file."""
    for number, line in json_lines(_head(path)):
        with at(f"line {number}"):
            return json_object(line)
    raise InputError("is empty; expected one JSON object a line")


def _head(path: Path) -> bytes:
    with opened(path) as file:
        if path.suffix != ".gz":
            return file.read(_HEAD_BYTES)
        try:
            with gzip.open(file) as unpacked:
                return unpacked.read(_HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"damaged gzip data ({error}); fetch it again") from error


def _row_formats(row: Mapping[str, Any]) -> list[Format]:
    return [known for fits, known in _ROWS if fits(row)]


def _json(path: Path, source: Source) -> list[Format]:
    content = source.json(path)
    if isinstance(content, list):
        return _row_formats(content[0]) if content and isinstance(content[0], dict) else []
    if not isinstance(content, dict) or not content:
        return []
    if isinstance(content.get("data"), list):
        return [Format("SQuAD", "contexts", read_squad)]
    values = list(content.values())
    if all(isinstance(value, list) for value in values):
        return [Format("CLINC150", "intents", read_clinc)]
    if isinstance(values[0], dict) and "CONTEXTS" in values[0]:
        return [Format("PubMedQA", "contexts", read_pubmedqa)]
    return []


def _table(path: Path, delimiter: str) -> list[Format]:
    """Formats that the header fits; without one of them, a .tsv may be a query log."""
    head = _head(path).decode("utf-8-sig", "replace").lstrip()
    header = [cell.strip().strip('"') for cell in head.split("\n", 1)[0].split(delimiter)]
    found = [known for fits, known in _TABLES if fits(header)]
    if not found and delimiter == "\t" and head:
        found.append(Format(_LINES.name, "queries", read_lines, on_demand=True))
    return found


def _nothing(found: Sequence[Format], kind: str | None) -> str:
    if not found:
        return (
            "its content is of no known form; expected fields or columns such as those in "
            "ragopt.benchmarks.datasets.formats, for instance text_a, text_b, label (pairs) or "
            "question, context, answers (contexts)"
        )
    held = " or ".join(sorted({one.kind for one in found}))
    if kind is None:
        return f"may hold {held}; say so: load(path, kind={found[0].kind!r}), or --kind {held}"
    return (
        f"holds {held}, not {kind}; load it without kind={kind!r}, and see "
        "ragopt.benchmarks.datasets.convert for what it can be turned into"
    )
