"""The embedded corpus: the reference texts that ship with every Python.

Two sources, no download: the language reference of ``pydoc_data.topics`` and the docstrings
of the standard library. Docstrings of Python modules are read from their source with `ast`,
so nothing with side effects is imported; those of C modules come from the imported module.

Texts differ between Python versions. Questions therefore name a document and quote its words
(see `ragopt.benchmarks.embedded.questions`), never a position.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ragopt.chunk import Document
from ragopt.errors import InputError

__all__ = ["CHUNK_CHARS", "reference_documents"]

CHUNK_CHARS = 800
"""Chunk size of the embedded corpus, in characters; about 200 tokens."""

_MIN_DOCSTRING_CHARS = 60  # shorter ones restate the name and answer no question
_FEWEST_DOCUMENTS = 2_000  # without sources some 1,100 are left: the topics and the C modules
_SKIPPED_PARTS = frozenset(
    {"__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test",
     "tests", "turtledemo"}
)  # fmt: skip
# Only modules written in C: their docstrings stand in no source file.
_C_MODULES = (
    "array", "atexit", "binascii", "builtins", "cmath", "errno", "fcntl", "gc", "itertools",
    "marshal", "math", "mmap", "posix", "resource", "select", "sys", "time", "unicodedata", "zlib",
    "_bisect", "_codecs", "_collections", "_csv", "_datetime", "_decimal", "_functools",
    "_hashlib", "_heapq", "_io", "_json", "_locale", "_lzma", "_bz2", "_operator",
    "_pickle", "_queue", "_random",
    "_signal", "_socket", "_sqlite3", "_sre", "_ssl", "_struct", "_thread", "_tracemalloc",
    "_warnings", "_weakref",
)  # fmt: skip


@lru_cache(maxsize=1)
def reference_documents() -> tuple[Document, ...]:
    """All documents of the embedded corpus, in a fixed order for one Python version.

    A topic of the language reference is called ``topic:NAME`` (``topic:with``); a docstring by
    its dotted name (``textwrap.dedent``), its text led by its signature.

    Returns:
        Some 5,000 documents, ids unique. Read once, then kept in memory; takes some seconds.

    Raises:
        InputError: this Python carries no standard-library sources to read.
    """
    documents: dict[str, Document] = {}
    for document in (*_topics(), *_python_docstrings(), *_c_docstrings()):
        documents.setdefault(document.id, document)
    if len(documents) < _FEWEST_DOCUMENTS:
        raise InputError(
            f"only {len(documents)} reference texts were found under {_stdlib()}; the embedded "
            "corpus needs a Python installed with its standard-library sources (not zipped)"
        )
    return tuple(documents.values())


def _stdlib() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _document(name: str, header: str, body: str, title: str) -> Document:
    return Document(id=name, text=f"{header}\n\n{body}\n", title=title, source=f"python:{name}")


def _topics() -> Iterator[Document]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        yield Document(
            id=f"topic:{name}",
            text=inspect.cleandoc(topics[name]) + "\n",
            title=_first_line(topics[name]),
            source=f"python:topic:{name}",
        )


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _python_docstrings() -> Iterator[Document]:
    root = _stdlib()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED_PARTS.intersection(parts) or parts[0].startswith(("config-", "_sysconfig")):
            continue
        if parts[0] not in sys.stdlib_module_names or _private(parts):
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # templates that ship beside the modules, not Python themselves
            continue
        yield from _docstrings_below(tree, module)


def _private(parts: tuple[str, ...]) -> bool:
    """Private modules repeat, in Python, what a public or a C module documents."""
    return any(part.startswith("_") and not part.startswith("__") for part in parts)


def _docstrings_below(node: ast.AST, name: str) -> Iterator[Document]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        text = ast.get_docstring(node)
        if text and len(text) >= _MIN_DOCSTRING_CHARS:
            yield _document(name, f"{name}{_signature(node)}", text, title=name)
    for child in ast.iter_child_nodes(node):
        inner = getattr(child, "name", "")
        named = isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if named and (not inner.startswith("_") or inner.startswith("__")):
            yield from _docstrings_below(child, f"{name}.{inner}")
        elif isinstance(child, (ast.If, ast.Try)):  # definitions that depend on the platform
            yield from _docstrings_below(child, name)


def _signature(node: ast.AST) -> str:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return f"({ast.unparse(node.args)})"
    return ""


def _c_docstrings() -> Iterator[Document]:
    for module_name in _C_MODULES:
        try:
            module = importlib.import_module(module_name)
        except ImportError:  # not built on this platform
            continue
        public = module_name.removeprefix("_")
        yield from _runtime_docstring(module, public)
        for name, value in sorted(_own_callables(module)):
            yield from _runtime_docstring(value, f"{public}.{name}")
            if isinstance(value, type):
                for inner, member in sorted(vars(value).items()):
                    if not inner.startswith("_"):
                        yield from _runtime_docstring(member, f"{public}.{name}.{inner}")


def _own_callables(module: types.ModuleType) -> Iterator[tuple[str, object]]:
    """Public functions and types that the module was built with, whatever a program put there.

    Test runners and notebooks replace the hooks of ``sys``, which keeps the originals, and add
    to ``builtins``.
    """
    for name, value in vars(module).items():
        original = vars(module).get(f"__{name}__", value)
        if not name.startswith("_") and isinstance(original, (types.BuiltinFunctionType, type)):
            yield name, original


def _runtime_docstring(value: object, name: str) -> Iterator[Document]:
    text = getattr(value, "__doc__", None)
    if isinstance(text, str) and len(text) >= _MIN_DOCSTRING_CHARS:
        signature = getattr(value, "__text_signature__", None) or ""
        yield _document(name, f"{name}{signature}", inspect.cleandoc(text), title=name)
