"""Whether the answer that the cache would have served is as good as a fresh one."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ragopt.cache.guards.words import forms, study
from ragopt.errors import InputError
from ragopt.llm.base import LLM, Message, complete

__all__ = ["Judge", "JudgingThread", "LLMJudge", "same_words"]

Judge: TypeAlias = Callable[[str, str, str], bool]
"""Of the question, the cached answer and the fresh one: whether the cached one would have done."""

_ALIKE = 0.8
_MOST_WAITING = 1000

log = logging.getLogger(__name__)


def same_words(question: str, cached: str, fresh: str) -> bool:  # noqa: ARG001 - a `Judge`
    """Whether two answers have nearly the same content words and the same numbers.

    The harmonic mean of the shares that they have in common is .8 or more, in any inflection. Good
    for short answers and for models at temperature 0; free prose wants a model: `LLMJudge`.
    """
    left, right = _content(cached), _content(fresh)
    if not left or not right:
        return cached.split() == fresh.split()
    numbers = [{word for word in each if any(map(str.isdigit, word))} for each in (left, right)]
    if numbers[0] != numbers[1]:
        return False
    shared = _found(left, right) / len(left), _found(right, left) / len(right)
    return sum(shared) > 0 and 2 * shared[0] * shared[1] / sum(shared) >= _ALIKE


def _content(answer: str) -> dict[str, frozenset[str]]:
    words = study(answer).words
    return {
        word.folded: forms(word.folded) for word in words if word.content or word.kind == "number"
    }


def _found(one: dict[str, frozenset[str]], other: dict[str, frozenset[str]]) -> int:
    theirs = frozenset().union(*other.values())
    return sum(not theirs.isdisjoint(word) for word in one.values())


class LLMJudge:
    """Asks a model whether two answers say the same.

    Args:
        llm: any; a small one does.

    Raises:
        InputError: the model answered neither yes nor no. What the model raises passes through.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def __call__(self, question: str, cached: str, fresh: str) -> bool:
        """Whether the cached answer would have done."""
        completion = complete(self._llm, _asked(question, cached, fresh))
        said = completion.text.strip().strip(".*\"'").upper()
        if said.startswith("YES"):
            return True
        if said.startswith("NO"):
            return False
        raise InputError(f"the judge answered {completion.text[:80]!r}, expected YES or NO")


def _asked(question: str, cached: str, fresh: str) -> Sequence[Message]:
    system = (
        "You compare two answers to one question. Reply YES if the first answers the question "
        "with the same facts as the second, wordings aside; reply NO if a fact, number, name or "
        "condition differs or is missing. Reply with that word alone."
    )
    told = f"Question:\n{question}\n\nFirst answer:\n{cached}\n\nSecond answer:\n{fresh}"
    return [Message("system", system), Message("user", told)]


class JudgingThread:
    """Runs judges beside the requests, one after the other.

    A judge that fails gives no label; failures are counted.

    Attributes:
        failures: judgements that raised.
        dropped: judgements that came while a thousand were waiting.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.dropped = 0
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], object]) -> None:
        """Have something done; never waits."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="ragopt-cache-judge", daemon=True
                )
                self._thread.start()
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            self.dropped += 1

    def finish(self) -> None:
        """Wait until all that was submitted is done."""
        if self._thread is not None:
            self._waiting.join()

    def close(self) -> None:
        """`finish`, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join()

    def _run(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                if work is None:
                    return
                work()
            except BaseException as error:  # noqa: BLE001 - a judge may raise anything, even cancel
                self.failures += 1
                log.warning("a judge of cached answers failed: %r", error)
            finally:
                self._waiting.task_done()
