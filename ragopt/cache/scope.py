"""Who may read what: answers are shared inside one scope only."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ragopt.errors import InputError

__all__ = ["Scope"]

_ENCODING = 1  # written into every key: another encoding gives other keys, never the same by chance
_TEXTS = ("tenant", "model", "system_prompt", "embedder_id", "corpus_version")


def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Everything an answer depends on besides its question.

    Two scopes are equal when their fields are, however their dictionaries are ordered; an answer
    stored in one is never served in another.

    Args:
        tenant: whose answers these are.
        model: that gave them, with its revision.
        system_prompt: the model was given.
        tools: descriptions of the tools it could call, as JSON values.
        sampling: temperature and the like, as JSON values.
        embedder_id: model and revision of the vectors; `SemanticCache` fills it in.
        corpus_version: of the documents behind the answers.

    Raises:
        InputError: a field is no string, or ``tools`` or ``sampling`` are no JSON.
    """

    tenant: str = field(default="", compare=False)
    model: str = field(default="", compare=False)
    system_prompt: str = field(default="", compare=False, repr=False)
    tools: Sequence[Any] = field(default=(), compare=False, repr=False)
    sampling: Mapping[str, Any] = field(default_factory=_nothing, compare=False)
    embedder_id: str = field(default="", compare=False)
    corpus_version: str = field(default="", compare=False)
    _encoded: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in _TEXTS:
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputError(f"Scope {name} is {value!r}, expected a string")
        if isinstance(self.tools, str | bytes) or not isinstance(self.tools, Sequence):
            raise InputError(f"Scope tools is {self.tools!r}, expected a sequence of descriptions")
        if not isinstance(self.sampling, Mapping):
            raise InputError(f"Scope sampling is {self.sampling!r}, expected a mapping")
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        encoded = _canonical({**named, "tools": list(self.tools), "sampling": dict(self.sampling)})
        # what was encoded is what is kept: changing the caller's lists later changes nothing here
        kept = json.loads(encoded)
        object.__setattr__(self, "tools", tuple(kept["tools"]))
        object.__setattr__(self, "sampling", kept["sampling"])
        object.__setattr__(self, "_encoded", encoded)

    def key(self, secret: bytes = b"") -> bytes:
        """The 32 bytes under which entries of this scope are stored.

        HMAC-SHA256 over canonical JSON, in which every field is quoted and named: no two scopes
        share an encoding, as they could if fields were strung together.

        Args:
            secret: keeps who can read the store from telling which tenant or prompt a key is of.
        """
        return hmac.digest(secret, f"{_ENCODING}:{self._encoded}".encode(), "sha256")


def _canonical(value: dict[str, Any]) -> str:
    _check_keys(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"Scope tools and sampling must be JSON values ({error}); pass strings, numbers, "
            "lists and dictionaries"
        ) from error


def _check_keys(value: Any) -> None:
    """JSON turns the key 1 into "1": two dictionaries would share an encoding."""
    pending = [value]
    seen = 0
    while pending and (seen := seen + 1) < _MOST_VALUES:
        part = pending.pop()
        if isinstance(part, Mapping):
            for key in part:
                if not isinstance(key, str):
                    raise InputError(f"Scope holds the key {key!r}, expected a string")
            pending.extend(part.values())
        elif isinstance(part, list | tuple):
            pending.extend(part)
    if pending:
        raise InputError(f"Scope tools and sampling hold over {_MOST_VALUES:,} values")


_MOST_VALUES = 100_000  # also what stops at a list that contains itself
