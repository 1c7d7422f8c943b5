"""Traffic: which questions are asked, in which words, in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ragopt.cache import normalise
from ragopt.errors import InputError

__all__ = ["Request", "Traffic", "check_apart", "log_traffic", "once_traffic", "zipf_traffic"]

Wordings = Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Request:
    """One question as it arrives.

    Args:
        text: the wording.
        item: which question it is a wording of.
    """

    text: str
    item: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests in order of arrival, and how they were drawn.

    Args:
        requests: in order.
        law: that they follow, in words.
        seed: of the draw.
    """

    requests: tuple[Request, ...]
    law: str
    seed: int

    @property
    def repeated_ratio(self) -> float:
        """Share of requests whose very words were asked before."""
        return 1 - len({request.text for request in self.requests}) / max(1, len(self.requests))

    @property
    def rephrased_ratio(self) -> float:
        """Share of requests in new words for a question that was asked before."""
        texts: set[str] = set()
        items: set[str] = set()
        rephrased = 0
        for request in self.requests:
            rephrased += request.text not in texts and request.item in items
            texts.add(request.text)
            items.add(request.item)
        return rephrased / max(1, len(self.requests))

    def __str__(self) -> str:
        return (
            f"{len(self.requests):,} requests, {self.law}, seed {self.seed}: "
            f"{self.repeated_ratio:.0%} repeat earlier words, {self.rephrased_ratio:.0%} put an "
            "earlier question in new words"
        )


def once_traffic(wordings: Wordings, *, seed: int = 0) -> Traffic:
    """Every wording once, in a drawn order: nobody repeats what was asked.

    Args:
        wordings: id of a question and its wordings, at least one each.
        seed: of the order.

    Raises:
        InputError: no question, or one without wording.
    """
    _check(wordings)
    requests = [Request(text, item) for item, texts in wordings for text in texts]
    order = np.random.default_rng(seed).permutation(len(requests))
    return Traffic(
        requests=tuple(requests[place] for place in order), law="every wording once", seed=seed
    )


def log_traffic(
    wordings: Wordings, places: ArrayLike, *, name: str = "log", seed: int = 0
) -> Traffic:
    """Questions in a real log's order of repetition.

    Each question, in one of its wordings, takes the place of one query of the log wherever that
    was asked: a log says which requests repeat earlier words, not which put them otherwise. Where
    the log has more different queries than there are questions, a systematic sample of them is
    taken, from the most frequent to the rarest, so that the share of repeats stays that of the
    whole log: its mere beginning would hold fewer. Where it has less, as many questions are asked.

    Args:
        wordings: id of a question and its wordings, at least one each.
        places: (n,) for each request of the log the number of its query, from 0
            (`ragopt.benchmarks.workloads.streams.log_shape`).
        name: of the log.
        seed: of sample, wordings, and which question takes which place.

    Raises:
        InputError: no question, one without wording, or no request in the log.
    """
    _check(wordings)
    asked = np.asarray(places, dtype=np.int64)
    if asked.ndim != 1 or not asked.size or asked.min() < 0:
        raise InputError(
            f"{name}: requests of shape {asked.shape}, expected at least one, numbered from 0"
        )
    rng = np.random.default_rng(seed)
    counts = np.bincount(asked)
    often = np.lexsort((rng.random(counts.size), -counts))
    often = often[counts[often] > 0]
    taken = min(len(wordings), often.size)
    chosen = often[((np.arange(taken) + rng.random()) * often.size / taken).astype(np.int64)]
    requests: dict[int, Request] = {}
    for query, place in zip(chosen.tolist(), rng.permutation(len(wordings)).tolist(), strict=False):
        item, texts = wordings[place]
        requests[query] = Request(texts[int(rng.integers(len(texts)))], item)
    repeated = 1 - often.size / asked.size
    return Traffic(
        requests=tuple(requests[query] for query in asked.tolist() if query in requests),
        law=f"repeated as in {name} ({asked.size:,} queries, {repeated:.1%} of them repeats)",
        seed=seed,
    )


def zipf_traffic(
    wordings: Wordings,
    count: int,
    *,
    exponent: float = 0.8,
    seed: int = 0,
) -> Traffic:
    """Every wording once, and further requests whose questions follow a Zipf law; all shuffled.

    Once each, so that quality is measured on all of them; a request drawn by the law comes in any
    wording of its question, evenly.

    The question of rank r is asked with a probability proportional to ``r ** -exponent``; which
    question has which rank is drawn too. Web search queries follow exponents of about 0.8
    (Baeza-Yates et al., 2007, "The impact of caching on search engines").

    Args:
        wordings: id of a question and its wordings, at least one each.
        count: number of requests; raised to the number of wordings where that is larger.
        exponent: 0 asks all questions alike; larger ones repeat more.
        seed: of the draw.

    Raises:
        InputError: no question, one without wording, a count below 1, or an exponent that is
            negative or not finite.
    """
    _check(wordings)
    if count < 1 or not 0 <= exponent < math.inf:
        raise InputError(
            f"count={count}, exponent={exponent}: expected count >= 1 and a finite exponent >= 0"
        )
    rng = np.random.default_rng(seed)
    weights = np.arange(1, len(wordings) + 1) ** -float(exponent)
    requests = [Request(text, item) for item, texts in wordings for text in texts]
    ranks = rng.permutation(len(wordings))
    further = max(0, count - len(requests))
    for place in ranks[rng.choice(len(wordings), size=further, p=weights / weights.sum())]:
        item, texts = wordings[place]
        requests.append(Request(texts[int(rng.integers(len(texts)))], item))
    order = rng.permutation(len(requests))
    return Traffic(
        requests=tuple(requests[place] for place in order),
        law=f"Zipf exponent {exponent:g}",
        seed=seed,
    )


def check_apart(tuning: Traffic, report: Traffic) -> None:
    """Refuse to report on what was tuned on: such figures flatter.

    Raises:
        InputError: a question, or its very words under another id, is in both.
    """
    items = {request.item for request in tuning.requests}
    texts = {normalise(request.text) for request in tuning.requests}
    for request in report.requests:
        if request.item in items or normalise(request.text) in texts:
            raise InputError(
                f"question {request.item!r} ({request.text!r}) is reported on, and it or its very "
                "words were tuned on; expected different questions for the two"
            )


def _check(wordings: Wordings) -> None:
    if not wordings or not all(texts for _, texts in wordings):
        raise InputError("traffic needs at least one question, and a wording of each")
