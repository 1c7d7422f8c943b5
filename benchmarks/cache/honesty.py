"""Answers that can be told apart: every one that is stored carries a token of its own."""

from __future__ import annotations

import secrets

from ragopt.benchmarks.cache.policies import Policy
from ragopt.errors import RagoptError

__all__ = ["Refused", "Tokens", "after_update"]


class Refused(RagoptError):
    """A policy did what no cache may; none of its figures is reported."""


class Tokens:
    """Answers made up by the harness, and what each was stored for.

    They cannot be guessed, so that an answer that comes back was stored in this very run.
    """

    def __init__(self) -> None:
        self._run = secrets.token_hex(8)
        self._places: dict[str, int] = {}
        self._latest: dict[str, str] = {}

    def new(self, question: str, place: int) -> str:
        """An answer to be stored for this question, the request at ``place``."""
        token = f"answer {len(self._places)} of {self._run}"
        self._places[token] = place
        self._latest[question] = token
        return token

    def stored_for(self, answer: str) -> int:
        """Which request an answer was made for.

        Raises:
            Refused: it was not made here.
        """
        place = self._places.get(answer)
        if place is None:
            raise Refused(
                f"stale or invented: it served {answer[:60]!r}, which was not stored since the "
                "cache was emptied"
            )
        return place

    def place(self, answer: str, questions: dict[int, str]) -> int:
        """Which request an answer was stored for.

        Args:
            answer: as served.
            questions: of the requests, by place.

        Raises:
            Refused: it was never stored since the cache was emptied, or was replaced since.
        """
        place = self.stored_for(answer)
        if self._latest[questions[place]] != answer:
            raise Refused(f"stale: it served an answer to {questions[place]!r} that was replaced")
        return place


def after_update(policy: Policy, question: str) -> str:
    """What a policy serves once the answer to a question was replaced.

    Returns:
        ``"the new answer"``, ``"the replaced answer"``, ``"another answer"`` or ``"nothing"``.

    Raises:
        Refused: it still serves an answer after it was emptied.
    """
    tokens = Tokens()
    old, new = tokens.new(question, 0), tokens.new(question, 1)
    policy.clear()
    policy.put(question, old)
    policy.put(question, new)
    served = policy.get(question)
    policy.clear()
    if policy.get(question) is not None:
        raise Refused(f"stale: emptied, it still served an answer to {question[:60]!r}")
    if served is None:
        return "nothing"
    known = {new: "the new answer", old: "the replaced answer"}
    return known.get(served.answer, "another answer")
