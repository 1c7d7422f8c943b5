"""What a guard is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Guard"]


class Guard(Protocol):
    """Anything with a name and an opinion on two questions."""

    @property
    def name(self) -> str:
        """Under which refusals are counted."""
        ...

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether nothing this guard looks at speaks against serving the cached answer."""
        ...
