"""Guards: what a cached question must share with the asked one, whatever its similarity.

A similarity says that two questions speak of the same matter; it does not say that they ask the
same. "Does height increase after 18 years" and "... after 16 years" have a cosine of .97, and an
embedder that forgets word order gives a reversed question 1.0. Each guard reads both texts and
refuses what its kind of difference makes another question. They err on the side of a miss.
"""

from ragopt.cache.guards.asking import Asking
from ragopt.cache.guards.base import Guard
from ragopt.cache.guards.entities import ContentWords, Entities
from ragopt.cache.guards.numbers import Numbers
from ragopt.cache.guards.order import Reversal
from ragopt.cache.guards.polarity import Polarity

__all__ = [
    "DEFAULT_GUARDS",
    "SAFETY_GUARDS",
    "Asking",
    "ContentWords",
    "Entities",
    "Guard",
    "Numbers",
    "Polarity",
    "Reversal",
]

SAFETY_GUARDS: tuple[Guard, ...] = (Numbers(), Polarity(), Entities(), Reversal())
"""What no similarity and no verifier may overrule."""

DEFAULT_GUARDS: tuple[Guard, ...] = (*SAFETY_GUARDS, Asking(), ContentWords())
"""The same, and what a plain similarity needs beside it: what a verifier has among its features."""
