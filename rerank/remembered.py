"""What was worked out of texts before: popular chunks come back for other questions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Remembered"]

_Value = TypeVar("_Value")
_TEXTS = 8_192
_LONGEST = 20_000  # characters; what is longer is worked out again, so that memory stays bounded


class Remembered(Generic[_Value]):
    """A function of a text that keeps its last results, not the texts.

    Args:
        function: the same for the same text.
    """

    def __init__(self, function: Callable[[str], _Value]) -> None:
        self._function = function
        self._values: OrderedDict[int, _Value] = OrderedDict()

    def __call__(self, text: str) -> _Value:
        if len(text) > _LONGEST:
            return self._function(text)
        key = hash(text)
        try:
            value = self._values.pop(key)  # one step, whatever other threads do
        except KeyError:
            value = self._function(text)
        self._values[key] = value
        if len(self._values) > _TEXTS:
            self._values.popitem(last=False)
        return value
