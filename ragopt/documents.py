"""Documents from a folder of text, Markdown, reStructuredText, HTML, JSON lines and PDF.

A file that cannot be read never stops the others: it is listed with a reason. Only when nothing
at all could be read is that an error.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ragopt.chunk import Document
from ragopt.errors import BackendMissing, InputError
from ragopt.headings import markdown_heading, rst_heading
from ragopt.html_text import declared_encoding, html_text
from ragopt.textfile import decode, json_lines, json_object, optional_string, read_bytes

__all__ = ["MAX_FILE_BYTES", "SUFFIXES", "Loaded", "Skipped", "load_documents"]

SUFFIXES = (".txt", ".md", ".rst", ".html", ".htm", ".jsonl", ".pdf")
MAX_FILE_BYTES = 50 * 2**20

_TEXT_FIELDS = ("text", "contents", "body")
_ID_FIELDS = ("id", "_id")
_HEADINGS = {".md": markdown_heading, ".rst": rst_heading}
_TITLE_CHARS = 200  # a title goes into the prompt with each chunk
_REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not read, and why.

    Args:
        path: relative to the folder, ``/`` between its parts; with ``:LINE`` for a line of JSON.
        reason: one sentence for the person whose file it is.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load_documents` read.

    Args:
        documents: at least one, in the sorted order of their paths.
        skipped: supported files and lines that could not be read.
        unsupported: how many files of which other suffix were passed over.
    """

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()
    unsupported: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)


def load_documents(
    folder: str | os.PathLike[str],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    on_skip: Callable[[Skipped], object] | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Loaded:
    """Read every supported file below a folder, or one file.

    Text, Markdown and reStructuredText stay as they are; HTML becomes readable text; a line of
    JSON lines becomes a document of its own, with its text in ``text``, ``contents`` or ``body``,
    an optional ``title`` and ``id`` or ``_id``, and every other field in ``metadata``; the pages
    of a PDF are joined (``pip install 'ragopt[pdf]'``). Text is UTF-8, or UTF-16 with its mark; a
    page of HTML may name another encoding.

    A document's id is its path below the folder (``guide/start.md``), for a line of JSON its own
    id or ``path:LINE``. Its title is the first heading or HTML title, else the file's stem.
    Hidden files and folders are left out; links are followed, each folder is read once.

    Args:
        folder: a folder, read with all below it in sorted order, or a single file.
        max_file_bytes: a larger file is skipped by its size alone, without being read.
        on_skip: called with each `Skipped` as it happens.
        on_progress: called with (files done, files in all) after each supported file.

    Raises:
        InputError: no such folder, or nothing in it could be read; the message says what was
            found. A later document that takes an earlier one's id is skipped, not an error.

    Cost: one read of each file; memory for all text, plus one file.
    """
    if max_file_bytes < 1:
        raise InputError(f"max_file_bytes={max_file_bytes}: expected at least 1 byte")
    root = _existing(folder)
    loader = _Loader(root, max_file_bytes, on_skip)
    paths = list(loader.supported())
    for done, path in enumerate(paths, start=1):
        loader.load(path)
        if on_progress is not None:
            on_progress(done, len(paths))
    if not loader.documents:
        raise InputError(_nothing_read(root, len(paths), loader))
    return Loaded(
        documents=tuple(loader.documents),
        skipped=tuple(loader.skipped),
        unsupported=MappingProxyType(dict(sorted(loader.unsupported.items()))),
    )


class _Loader:
    def __init__(
        self, root: Path, max_file_bytes: int, on_skip: Callable[[Skipped], object] | None
    ) -> None:
        self.documents: list[Document] = []
        self.skipped: list[Skipped] = []
        self.unsupported: Counter[str] = Counter()
        self._root = root
        self._is_folder = root.is_dir()
        self._max_file_bytes = max_file_bytes
        self._on_skip = on_skip
        self._taken: dict[str, str] = {}

    def supported(self) -> Iterator[Path]:
        """Files to load; the others are counted."""
        for path in self._walk():
            suffix = path.suffix.lower()
            if suffix in SUFFIXES:
                yield path
            else:
                self.unsupported[_printable(suffix) or "no suffix"] += 1

    def load(self, path: Path) -> None:
        name = self._name(path)
        try:
            data = read_bytes(path, self._max_file_bytes)
            if path.suffix.lower() == ".jsonl":
                self._load_lines(path, name, data)
            else:
                self._add(name, _read_file(path, name, data))
        except InputError as error:
            self._skip(name, str(error))

    def _walk(self) -> Iterator[Path]:
        """Files in sorted order; a folder that links lead to twice, or in a circle, comes once."""
        seen: dict[tuple[int, int], str] = {}
        ahead = [self._root]
        while ahead:
            path = ahead.pop()
            if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on some errors
                yield path
                continue
            name = self._name(path)
            try:
                status = path.stat()
                entries = sorted(path.iterdir(), reverse=True)
            except OSError as error:
                self._skip(name, f"cannot be opened: {error.strerror or error}")
                continue
            first = seen.setdefault((status.st_dev, status.st_ino), name)
            if first == name:
                ahead.extend(entry for entry in entries if not entry.name.startswith("."))
            else:
                self._skip(name, f"the same folder as {first!r}, which is read already")

    def _load_lines(self, path: Path, name: str, data: bytes) -> None:
        empty = True
        for number, line in json_lines(data):
            empty = False
            where = f"{name}:{number}"
            try:
                document = _line_document(json_object(line), where, f"{_printable(path)}:{number}")
                self._add(where, document)
            except InputError as error:
                self._skip(where, str(error))
        if empty:
            raise InputError("empty")

    def _add(self, where: str, document: Document) -> None:
        first = self._taken.setdefault(document.id, where)
        if first != where:
            raise InputError(
                f"its id {document.id!r} is taken by {first}; ids must be unique within a folder"
            )
        self.documents.append(document)

    def _skip(self, name: str, reason: str) -> None:
        skipped = Skipped(name, reason)
        self.skipped.append(skipped)
        if self._on_skip is not None:
            self._on_skip(skipped)

    def _name(self, path: Path) -> str:
        if path != self._root:
            return _printable(path.relative_to(self._root).as_posix())
        return "." if self._is_folder else _printable(path.name)


def _existing(folder: str | os.PathLike[str]) -> Path:
    expected = f"expected a folder of documents ({', '.join(SUFFIXES)}) or one such file"
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise InputError(f"folder={folder!r}: {expected}")
    if not os.path.lexists(folder):  # False, too, for names that no file can have
        raise InputError(f"{os.fspath(folder)!r}: no such file or folder; {expected}")
    return Path(folder)


def _nothing_read(root: Path, supported: int, loader: _Loader) -> str:
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(loader.unsupported.items()))
    found = [f"{supported} supported" if supported else "no supported file"]
    if kinds:
        found.append(f"others: {kinds}")
    reasons = [str(skipped) for skipped in loader.skipped[:_REASONS_SHOWN]]
    if len(loader.skipped) > _REASONS_SHOWN:
        reasons.append(f"and {len(loader.skipped) - _REASONS_SHOWN:,} more")
    if not supported and not kinds:
        found = ["nothing, hidden files aside"]
    skipped = f"; could not be read: {'; '.join(reasons)}" if reasons else ""
    return (
        f"{_printable(root)}: no document could be read; found {', '.join(found)}{skipped}. "
        f"Supported are {', '.join(SUFFIXES)}"
    )


def _read_file(path: Path, name: str, data: bytes) -> Document:
    suffix = path.suffix.lower()
    title = ""
    metadata: Mapping[str, Any] = MappingProxyType({})
    if suffix == ".pdf":
        text, metadata = _read_pdf(data)
    elif suffix in {".html", ".htm"}:
        title, text = html_text(decode(data, declared=declared_encoding(data)))
    else:
        text = decode(data)
        title = _HEADINGS[suffix](text) if suffix in _HEADINGS else ""
    if not text.strip():
        raise InputError("holds no readable text" if data.strip() else "empty")
    return Document(
        id=name,
        text=text,
        title=_short(title) or _printable(path.stem),
        source=_printable(path),
        metadata=metadata,
    )


def _line_document(fields: dict[str, Any], where: str, source: str) -> Document:
    text_field = next((name for name in _TEXT_FIELDS if fields.get(name) is not None), None)
    if text_field is None:
        raise InputError(
            f"no text; expected it in the field 'text' (or 'contents', 'body'), "
            f"got the fields {', '.join(map(repr, list(fields)[:10])) or 'of an empty object'}"
        )
    if not optional_string(fields, text_field):
        raise InputError(f"field {text_field!r} is empty")
    title = optional_string(fields, "title")
    id_field = next((name for name in _ID_FIELDS if fields.get(name) is not None), None)
    used = {text_field, id_field, "title"}
    return Document(
        id=_line_id(fields, id_field) or where,
        text=fields[text_field],
        title=_short(title),
        source=source,
        metadata=MappingProxyType({key: fields[key] for key in fields if key not in used}),
    )


def _line_id(fields: dict[str, Any], name: str | None) -> str:
    if name is None:
        return ""
    value = fields[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"field {name!r}: expected a string or a whole number, got {value!r:.50}")
    return value


def _read_pdf(data: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        import pypdf
    except ImportError as error:
        raise InputError(str(BackendMissing("pypdf", "pdf", "reading PDF"))) from error
    try:
        with _without_stderr("pypdf"):
            reader = pypdf.PdfReader(io.BytesIO(data))
            # Many a PDF is encrypted with no password, only to forbid printing.
            locked = reader.is_encrypted and not reader.decrypt("")
            pages = [] if locked else [page.extract_text() for page in reader.pages]
    except pypdf.errors.DependencyError as error:
        raise InputError(f"encrypted: {error}; or save a copy without encryption") from error
    except Exception as error:  # damage surfaces as anything, from KeyError to RecursionError
        raise InputError(
            f"a damaged PDF ({type(error).__name__}: {str(error)[:200]}); print it to a new PDF"
        ) from error
    if locked:
        raise InputError("encrypted with a password; save a copy without one")
    shown = [page.strip() for page in pages if page.strip()]
    if not shown:
        raise InputError(f"no text on its {len(pages)} pages (a scan?); run OCR on it first")
    # Fonts without a proper map yield characters that cannot be stored.
    text = "\n\n".join(shown).replace("\x00", "").encode(errors="replace").decode()
    return text, MappingProxyType(
        {"pages": len(pages), "pages_without_text": len(pages) - len(shown)}
    )


@contextlib.contextmanager
def _without_stderr(logger_name: str) -> Iterator[None]:
    """Keep Python's handler of last resort from printing; handlers of the user's see it all."""
    logger = logging.getLogger(logger_name)
    handler = logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _short(title: str) -> str:
    words = " ".join(title.split())
    return words if len(words) <= _TITLE_CHARS else words[: _TITLE_CHARS - 1] + "…"


def _printable(path: str | Path) -> str:
    """A path as text; bytes that are no UTF-8 in a file's name are spelt out."""
    return str(path).encode(errors="backslashreplace").decode()
