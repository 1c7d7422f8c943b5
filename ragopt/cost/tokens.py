"""Counting tokens, offline, with every count saying how it was made.

In order of trust: what the provider reported (`TokenCount.provider`); tiktoken with merge ranks
that the user already has on disk; tiktoken with the ranks inside an installed litellm; an estimate.
Nothing is ever downloaded: tiktoken's own loader would, so ranks are read here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragopt.cost.token_estimate import estimate_tokens
from ragopt.errors import InputError

__all__ = ["TokenCount", "TokenCounter", "token_counter"]

_log = logging.getLogger(__name__)

_WORD_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPERS, _LOWERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoding:
    """A public encoding of OpenAI: its cut pattern, and how its ranks are cached by tiktoken."""

    name: str
    file: str  # sha1 of the address it is published at
    sha256: str
    pattern: str


_ENCODINGS = {
    encoding.name: encoding
    for encoding in (
        _Encoding(
            name="o200k_base",
            file="fb374d419588a4632f3f557e76b4b70aebbca790",
            sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
            pattern="|".join(
                [
                    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPERS}*{_LOWERS}+{_WORD_END}",
                    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPERS}+{_LOWERS}*{_WORD_END}",
                    r"\p{N}{1,3}",
                    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                    r"\s*[\r\n]+",
                    r"\s+(?!\S)",
                    r"\s+",
                ]
            ),
        ),
        _Encoding(
            name="cl100k_base",
            file="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
            sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
            pattern=(
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"
                r" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
            ),
        ),
    )
}
# Models whose encoding tiktoken's own table states; newer ones may bring a new tokenizer.
_CL100K = re.compile(
    r"(?:ft:)?(gpt-4(?!o|\.\d)|gpt-3\.?5|text-embedding-(3-|ada-002)|davinci-002|babbage-002)"
)
_O200K = re.compile(r"(?:ft:)?(gpt-4o|gpt-4\.\d|gpt-5|gpt-oss|chatgpt-4o|o[134]\b)")


@dataclass(frozen=True, slots=True)
class TokenCount:
    """A number of tokens and how it was found.

    Args:
        tokens: the count.
        method: ``"provider"``, ``"tiktoken:o200k_base"``, ``"proxy:o200k_base"`` (another
            family's tokenizer stands in for the model's own), or ``"estimate"``.
    """

    tokens: int
    method: str

    def __post_init__(self) -> None:
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or self.tokens < 0:
            raise InputError(f"tokens={self.tokens!r}: expected a whole number, 0 or more")
        if not self.method:
            raise InputError("method='': expected how the count was made, such as 'provider'")

    @classmethod
    def provider(cls, tokens: int) -> TokenCount:
        """A count that the provider reported with its answer."""
        return cls(tokens, "provider")


class TokenCounter:
    """Counts tokens of texts by one method.

    Args:
        count: number of tokens of a text.
        method: how; carried by every `TokenCount`.
    """

    def __init__(self, count: Callable[[str], int], method: str) -> None:
        self._count = count
        self.method = method

    def __repr__(self) -> str:
        return f"TokenCounter({self.method!r})"

    def count(self, text: str) -> int:
        """Number of tokens of a text.

        Raises:
            InputError: ``text`` is no string.
        """
        if not isinstance(text, str):
            raise InputError(f"text of type {type(text).__name__}: expected a string")
        return self._count(text)

    def count_many(self, texts: Iterable[str]) -> list[int]:
        """Number of tokens of each text.

        Raises:
            InputError: a single string, which would be counted letter by letter.
        """
        if isinstance(texts, str):
            raise InputError("texts is one string: expected several; use count() for one")
        return [self.count(text) for text in texts]

    def measure(self, text: str) -> TokenCount:
        """The count together with its method."""
        return TokenCount(self.count(text), self.method)


def token_counter(model: str | None = None, *, cache_dir: Path | str | None = None) -> TokenCounter:
    """The best counter for a model that works offline on this machine.

    Args:
        model: as in the price sheet; ``None`` counts with o200k_base. Models with a tokenizer of
            their own are counted with o200k_base too, under the method ``"proxy:o200k_base"``.
        cache_dir: the folder to take tiktoken's ranks from, under the names tiktoken gives them.
            When left out: ``TIKTOKEN_CACHE_DIR``, ``DATA_GYM_CACHE_DIR``, tiktoken's temporary
            folder, an installed litellm; then the estimate.

    Raises:
        InputError: ``cache_dir`` was given and holds no intact ranks of the encoding, or
            ``model`` is empty.
    """
    if model is not None and not model.strip():
        raise InputError(f"model={model!r}: expected the name of a model, or None")
    name, known = _encoding_of(model)
    encoding = _ENCODINGS[name]
    path = _given_ranks(cache_dir, encoding) if cache_dir is not None else _find_ranks(encoding)
    encoder = None if path is None else _encoder(path, name)
    if encoder is None:
        return TokenCounter(estimate_tokens, "estimate")
    method = f"{'tiktoken' if known else 'proxy'}:{name}"
    return TokenCounter(functools.partial(_encoded_length, encoder), method)


def _encoding_of(model: str | None) -> tuple[str, bool]:
    """Name of the encoding to count with, and whether it is known to be the model's own."""
    if model is None:
        return "o200k_base", True
    bare = model.strip().casefold().rpartition("/")[2]
    if _CL100K.match(bare):
        return "cl100k_base", True
    return "o200k_base", _O200K.match(bare) is not None


def _encoded_length(encoder: Any, text: str) -> int:
    return len(encoder.encode_ordinary(text))


def _given_ranks(cache_dir: Path | str, encoding: _Encoding) -> Path:
    path = Path(cache_dir) / encoding.file
    if not _is_intact(path, encoding):
        state = "is damaged" if path.is_file() else "is missing"
        raise InputError(
            f"cache_dir={str(cache_dir)!r}: the ranks of {encoding.name}, file {encoding.file}, "
            f"{state}; give the folder that TIKTOKEN_CACHE_DIR named when tiktoken last loaded "
            "them, or leave cache_dir out"
        )
    return path


def _find_ranks(encoding: _Encoding) -> Path | None:
    named = [os.environ.get(name) for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")]
    folders = [Path(folder) for folder in named if folder]
    folders.append(Path(tempfile.gettempdir()) / "data-gym-cache")
    for folder in folders:
        path = folder / encoding.file
        if _is_intact(path, encoding):
            return path
        if path.is_file():
            _log.warning("%s: damaged ranks of %s are passed over", path, encoding.name)
    path = _litellm_folder() / encoding.file
    return path if _is_intact(path, encoding) else None


def _litellm_folder() -> Path:
    """Where litellm keeps ranks, found without importing it; need not exist."""
    import importlib.metadata

    found = next(iter(importlib.metadata.distributions(name="litellm")), None)
    inside = "litellm/litellm_core_utils/tokenizers"
    return Path(str(found.locate_file(inside))) if found else Path(inside) / "not-installed"


def _is_intact(path: Path, encoding: _Encoding) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    return _digest(path, stat.st_mtime_ns, stat.st_size) == encoding.sha256


@functools.lru_cache(maxsize=8)
def _digest(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - they key the cache
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


@functools.lru_cache(maxsize=4)
def _encoder(path: Path, name: str) -> Any:
    """Encoder of tiktoken over the ranks of a file (some 0.3 s), or ``None`` without tiktoken."""
    try:
        import tiktoken
    except ImportError:
        _log.warning("tiktoken cannot be imported; tokens are estimated")
        return None
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return tiktoken.Encoding(
        name,
        pat_str=_ENCODINGS[name].pattern,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={},  # text is counted as text, even where it spells <|endoftext|>
    )
