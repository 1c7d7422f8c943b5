"""As few of the candidates as the floor allows: calibrated, cut, without copies, in a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Hit
from ragopt.errors import InputError
from ragopt.form import load_form, reading, write_form
from ragopt.rerank.base import Reranker, passage, rerank, scorer_id
from ragopt.rerank.calibration import Given, ScoreCalibration
from ragopt.rerank.conformal import ConformalFloor, Evidence, Of, Promise
from ragopt.rerank.copies import Copies, hashes_of
from ragopt.rerank.cut import LargestGap
from ragopt.rerank.order import prompt_order
from ragopt.rerank.pack import Item, pack
from ragopt.rerank.remembered import Remembered
from ragopt.rerank.tightened import Guarantee, Kept, Reason, Tightened

if TYPE_CHECKING:
    from ragopt.compress.base import Compressor

__all__ = ["LabelledQuery", "Tighten", "TightenOptions"]

_KIND = "ragopt tight top-k"
_VERSION = 1
_WHAT = "tight top-k"
_BETWEEN = 1  # token of the blank line between two chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuery:
    """A question with its candidates and its evidence.

    Args:
        query: as asked.
        hits: the candidates that a search brought in, in any order.
        gold: ids of the chunks that hold the evidence, among the candidates or not; empty where
            the corpus has no answer: such a question serves to calibrate scores only.
    """

    query: str
    hits: tuple[Hit, ...]
    gold: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TightenOptions:
    """Settings of `Tighten` beside calibration and floor.

    Args:
        k_min: keep at least so many, as the budget allows.
        k_max: where the gap may extend to; the floor goes beyond it if it has to.
        extend: keep up to the largest fall in score where that is more than the floor demands.
        buffer: without a floor, chunks kept beyond the gap.
        hard_limit: never keep more, even below the floor: the result then says so. None for none.
        p_min: abstain where the best candidate's probability is lower.
        max_tokens: budget of what is kept; None for none.
        containment: share of a chunk's shingles in another one from which it is a copy.
        compressed_ratio: what the compressor is asked to leave of a chunk, where the budget binds.

    Raises:
        InputError: values outside their ranges.
    """

    k_min: int = 1
    k_max: int = 20
    extend: bool = True
    buffer: int = 2
    hard_limit: int | None = None
    p_min: float = 0.0
    max_tokens: int | None = None
    containment: float = 0.85
    compressed_ratio: float = 0.5

    def __post_init__(self) -> None:
        LargestGap(k_min=self.k_min, k_max=self.k_max, buffer=self.buffer)
        for name in ("hard_limit", "max_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"{name}={value!r}: expected a whole number from 1 up, or None")
        if self.hard_limit is not None and self.hard_limit < self.k_min:
            raise InputError(f"hard_limit={self.hard_limit} is below k_min={self.k_min}")
        if not 0 <= self.p_min <= 1:
            raise InputError(f"p_min={self.p_min!r}: expected a probability from 0 to 1")
        for name in ("containment", "compressed_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected above 0, at most 1")


class Tighten:
    """Cuts ranked candidates to what the floor demands, and says of each one why.

    1. Scores become probabilities (`ScoreCalibration`).
    2. A near-duplicate of a better candidate goes, before anything is paid for: what it says
       stands there already. Fitting counts evidence that is a copy as kept with what it copies.
    3. The floor (`ConformalFloor`) keeps every chunk from its threshold on. The largest gap may
       only extend that; ``k_max`` bounds the gap, not the floor.
    4. Within ``max_tokens`` the floor goes first. What is left over goes to further chunks by
       `ragopt.rerank.knapsack`. Where the floor alone is too much, chunks of it are compressed;
       what is still too much is kept and reported, never cut in silence.
    5. Chunks of one document stand together, in their order.

    Without calibration and floor the largest gap decides, and there is no guarantee. As a `Cut` it
    only says how many to keep; copies and budget need `tighten`.

    Args:
        calibration: of the scorer's scores.
        floor: fitted with it.
        options: the rest.
        compressor: shortens chunks where the budget binds; any of `ragopt.compress`.
        count: tokens of a text; an offline counter by default.

    Raises:
        InputError: a floor without a calibration, or the other way round.

    Example:
        >>> tight = Tighten.fit(reranker, labelled, alpha=0.1)              # doctest: +SKIP
        >>> print(tight.run(reranker, question, hits).explain())            # doctest: +SKIP
    """

    def __init__(
        self,
        calibration: ScoreCalibration | None = None,
        floor: ConformalFloor | None = None,
        *,
        options: TightenOptions | None = None,
        compressor: Compressor | None = None,
        count: Callable[[str], int] | None = None,
    ) -> None:
        if (calibration is None) != (floor is None):
            raise InputError("calibration and floor go together; give both, or neither")
        self.calibration = calibration
        self.floor = floor
        self.options = options or TightenOptions()
        self.compressor = compressor
        self._given_count = count
        self._tokens: Remembered[int] | None = None
        self._hashes = Remembered(hashes_of)

    @classmethod
    def fit(
        cls,
        reranker: Reranker,
        labelled: Iterable[LabelledQuery],
        *,
        alpha: float = 0.05,
        promise: Promise = "all evidence",
        of: Of = "owed",
        confidence: float | None = None,
        options: TightenOptions | None = None,
        compressor: Compressor | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Tighten:
        """Score labelled questions; calibrate the scores and find the floor.

        Both come from the same questions: the floor depends on the order of the scores alone,
        which no calibration changes.

        Args:
            reranker: the one that will be used.
            labelled: questions like those to come, with candidates of the same search.
            alpha: tolerated share of questions that lose evidence (or of evidence).
            promise: all of a question's evidence, or recall in the mean.
            of: the evidence owed, or only what is among the candidates.
            confidence: see `ConformalFloor.fit`.
            options: the rest.
            compressor: see the class.
            progress: told of every question.

        Raises:
            InputError: no labelled question with evidence, or scores that cannot be calibrated.
        """
        asked = list(labelled)
        scored = []
        for number, one in enumerate(asked):
            hits = rerank(reranker, one.query, one.hits)
            scored.append(replace(one, hits=tuple(hits)))
            if progress is not None:
                progress("score labelled questions", number + 1, len(asked))
        return cls.fit_scored(
            scored,
            scorer_id=scorer_id(reranker),
            given=getattr(reranker, "given", "score"),
            alpha=alpha,
            promise=promise,
            of=of,
            confidence=confidence,
            options=options,
            compressor=compressor,
        )

    @classmethod
    def fit_scored(
        cls,
        labelled: Sequence[LabelledQuery],
        *,
        scorer_id: str,
        given: Given = "score",
        alpha: float = 0.05,
        promise: Promise = "all evidence",
        of: Of = "owed",
        confidence: float | None = None,
        options: TightenOptions | None = None,
        compressor: Compressor | None = None,
    ) -> Tighten:
        """`fit` on hits that carry their scores already, such as those of `Retriever.ranked`.

        Args:
            labelled: with scored hits.
            scorer_id: whose scores they are.
            given: whether they are probabilities already.
            alpha: as `fit`, and so the others.
            promise: likewise.
            of: likewise.
            confidence: likewise.
            options: likewise.
            compressor: likewise.

        Raises:
            InputError: as `fit`.
        """
        scores = [hit.score for one in labelled for hit in one.hits]
        relevant = [hit.chunk.id in one.gold for one in labelled for hit in one.hits]
        calibration = ScoreCalibration.fit(scores, relevant, scorer_id=scorer_id, given=given)
        made = cls(options=options, compressor=compressor)
        made.calibration = calibration
        evidence = [found for one in labelled if (found := made.evidence(one)) is not None]
        made.floor = ConformalFloor.fit(
            evidence, alpha=alpha, promise=promise, of=of, confidence=confidence
        )
        return made

    def evidence(self, labelled: LabelledQuery) -> Evidence | None:
        """What a calibrated scorer saw of a question's evidence; None where it has none.

        A piece counts with the probability of the chunk that it is a copy of, which is kept.

        Raises:
            InputError: there is no calibration.
        """
        if not labelled.gold:
            return None
        if self.calibration is None:
            raise InputError("evidence is told by calibrated scores; fit a calibration first")
        hits = _best_first(labelled.hits)
        probabilities = self.calibration.probabilities(
            _scores(hits), scorer_id=self.calibration.scorer_id
        )
        copied = self.copies(hits).of
        found: dict[str, float] = {}
        for place, hit in enumerate(hits):
            if hit.chunk.id in labelled.gold:
                twin = copied[place]
                stands = place if twin is None else twin
                found.setdefault(hit.chunk.id, float(probabilities[stands]))
        return Evidence(tuple(found.values()), len(labelled.gold))

    @property
    def scorer_id(self) -> str:
        """Whose scores it takes; empty where it takes any."""
        return self.calibration.scorer_id if self.calibration else ""

    def keep(self, hits: Sequence[Hit]) -> int:
        """How many of the hits, which come best first, go on: the count alone, as a `Cut`.

        The scores are taken for the calibrated scorer's.
        """
        if not hits:
            return 0
        probabilities = self._probabilities(hits, self.scorer_id)
        return self._sizes(hits, probabilities).k

    def run(self, reranker: Reranker, query: str, hits: Sequence[Hit]) -> Tightened:
        """Rerank and tighten.

        Raises:
            InputError: the reranker is not the one it was fitted with.
        """
        ranked = rerank(reranker, query, hits)
        return self.tighten(query, ranked, scorer_id=scorer_id(reranker))

    def tighten(
        self, query: str, hits: Sequence[Hit], *, scorer_id: str | None = None
    ) -> Tightened:
        """Keep what the floor demands, without copies, within the budget, in order.

        Linear in the text of the hits; without a compressor no model runs.

        Args:
            query: for the compressor.
            hits: scored; they are taken best first, equal ones as they come.
            scorer_id: whose scores they are; the calibrated scorer's when not given.

        Raises:
            InputError: scores of another scorer, or NaN.
        """
        ranked = _best_first(hits)
        probabilities = self._probabilities(
            ranked, self.scorer_id if scorer_id is None else scorer_id
        )
        if probabilities is not None:
            ranked = [
                replace(hit, probability=float(probability))
                for hit, probability in zip(ranked, probabilities, strict=True)
            ]
        return _Tightening(self, query, ranked, probabilities).result()

    def save(self, path: Path | str) -> None:
        """Write calibration, floor and options as JSON, atomically; not the compressor.

        Raises:
            StorageError: the file cannot be written.
        """
        write_form(path, self.to_dict())

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        compressor: Compressor | None = None,
        count: Callable[[str], int] | None = None,
    ) -> Tighten:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, or it is none of these.
        """
        made = load_form(path, _WHAT, cls.from_dict)
        made.compressor = compressor
        made._given_count = count
        return made

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads."""
        return {
            "kind": _KIND,
            "version": _VERSION,
            "calibration": self.calibration and self.calibration.to_dict(),
            "floor": self.floor and self.floor.to_dict(),
            "options": asdict(self.options),
        }

    @classmethod
    def from_dict(cls, content: Any) -> Tighten:
        """Read the form of `to_dict`.

        Raises:
            InputError: it is none, or of a newer ragopt.
        """
        with reading(content, kind=_KIND, version=_VERSION, what=_WHAT, remedy="tune again"):
            calibration, floor = content["calibration"], content["floor"]
            return cls(
                None if calibration is None else ScoreCalibration.from_dict(calibration),
                None if floor is None else ConformalFloor.from_dict(floor),
                options=TightenOptions(**content["options"]),
            )

    def __str__(self) -> str:
        if self.floor is None:
            return f"keeps up to the largest gap and {self.options.buffer} more: no guarantee"
        return f"{self.floor} of {self.scorer_id}"

    def __repr__(self) -> str:
        return f"Tighten({self}, options={self.options})"

    def _repr_html_(self) -> str:
        parts = [str(self), *(str(part) for part in (self.calibration,) if part)]
        if self.floor is not None:
            parts.append(str(self.floor.certificate))
        return "".join(f"<p>{escape(part)}</p>" for part in parts)

    def _probabilities(self, hits: Sequence[Hit], whose: str) -> NDArray[np.float64] | None:
        scores = _scores(hits)
        if self.calibration is None:
            return None
        return self.calibration.probabilities(scores, scorer_id=whose)

    def _sizes(self, hits: Sequence[Hit], probabilities: NDArray[np.float64] | None) -> _Sizes:
        """How many of some hits the floor demands, the gap gives and the limits leave."""
        options = self.options
        floor = 0
        if self.floor is not None and probabilities is not None:
            floor = int((probabilities >= self.floor.threshold).sum())
        gap = LargestGap(
            k_min=options.k_min,
            k_max=options.k_max,
            buffer=options.buffer if self.floor is None else 0,
        ).keep(hits)
        wanted = max(floor, gap if options.extend or self.floor is None else 0)
        k = max(floor, min(max(wanted, options.k_min), options.k_max))
        return _Sizes(min(k, len(hits), options.hard_limit or len(hits)), floor, gap)

    def copies(self, hits: Sequence[Hit]) -> Copies:
        """Which of some hits, best first, repeat a better one."""
        return Copies(hits, self.options.containment, self._hashes)

    def tokens(self, text: str) -> int:
        """Tokens of a text, by the counter given or the offline one, which is looked for once."""
        if self._tokens is None:
            from ragopt.cost.tokens import token_counter

            self._tokens = Remembered(self._given_count or token_counter().count)
        return self._tokens(text)


@dataclass(frozen=True, slots=True)
class _Sizes:
    k: int
    floor: int
    gap: int


class _Tightening:
    """One question's candidates on their way through `Tighten.tighten`."""

    def __init__(
        self,
        tighten: Tighten,
        query: str,
        hits: Sequence[Hit],
        probabilities: NDArray[np.float64] | None,
    ) -> None:
        self._tighten = tighten
        self._query = query
        self._hits = hits
        self._copies = tighten.copies(hits)
        self._tokens = [tighten.tokens(passage(hit.chunk)) for hit in hits]
        # Places of those that are no copies, best first.
        self._single = [place for place, of in enumerate(self._copies.of) if of is None]
        self._rank = {place: rank for rank, place in enumerate(self._single)}
        single = [hits[place] for place in self._single]
        chosen = None if probabilities is None else probabilities[self._single]
        self._sizes = tighten._sizes(single, chosen)

    def result(self) -> Tightened:
        """Pack what the sizes leave, put it in order, and say why."""
        options, sizes = self._tighten.options, self._sizes
        forms = self._packed(self._single[: sizes.k])
        kept_places = [place for place in self._single[: sizes.k] if forms[place] is not None]
        order = prompt_order([self._hits[place] for place in kept_places])
        kept = [form for at in order if (form := forms[kept_places[at]]) is not None]
        after = _total([one.tokens for one in kept])
        best = self._hits[0].probability if self._hits else None
        return Tightened(
            kept=tuple(kept),
            dropped=tuple(hit for place, hit in enumerate(self._hits) if forms.get(place) is None),
            reasons=tuple(self._reason(place, forms) for place in range(len(self._hits))),
            tokens_before=_total(self._tokens),
            tokens_after=after,
            floor=self._tighten.floor,
            guarantee=self._guarantee(forms),
            abstain=not kept or (best is not None and best < options.p_min),
            budget_exceeded=options.max_tokens is not None and after > options.max_tokens,
            k_floor=sizes.floor,
            k_gap=sizes.gap,
            max_tokens=options.max_tokens,
        )

    def _packed(self, places: Sequence[int]) -> dict[int, Kept | None]:
        """What goes in of each chosen candidate; None where the budget has no room for it."""
        options = self._tighten.options
        whole = {
            place: Kept(self._hits[place], self._hits[place].chunk.text, self._tokens[place])
            for place in places
        }
        budget = options.max_tokens
        if budget is None or _total([one.tokens for one in whole.values()]) <= budget:
            return dict(whole)
        items = [
            Item(
                whole=whole[place],
                worth=self._worth(place),
                shorter=self._shorter(place),
                forced=rank < min(self._sizes.floor, self._sizes.k),
            )
            for rank, place in enumerate(places)
        ]
        return dict(zip(places, pack(items, budget, between=_BETWEEN), strict=True))

    def _worth(self, place: int) -> float:
        """Probability times the share of shingles that no better candidate holds."""
        hit = self._hits[place]
        likely = 1 / (1 + place) if hit.probability is None else hit.probability
        return likely * self._copies.unseen[place]

    def _shorter(self, place: int) -> Kept | None:
        """The chunk as the compressor leaves it; None where it does not make it shorter."""
        compressor, hit = self._tighten.compressor, self._hits[place]
        if compressor is None:
            return None
        room = max(1, math.floor(self._tokens[place] * self._tighten.options.compressed_ratio))
        made = compressor.compress(self._query, [hit], max_tokens=room)
        if not made.chunks:
            return None
        left = made.chunks[0]
        tokens = self._tighten.tokens(left.rendered)
        return Kept(hit, left.text, tokens, left.spans) if tokens < self._tokens[place] else None

    def _guarantee(self, forms: dict[int, Kept | None]) -> Guarantee:
        floor = self._tighten.floor
        if floor is None or not floor.certificate.holds:
            return "none"
        if self._sizes.k < self._sizes.floor:
            return "lost"
        demanded = [forms[place] for place in self._single[: self._sizes.floor]]
        short = any(form is not None and form.spans is not None for form in demanded)
        return "compressed" if short else "kept"

    def _reason(self, place: int, forms: dict[int, Kept | None]) -> Reason:
        rank, form = self._rank.get(place), forms.get(place)
        in_floor = rank is not None and rank < self._sizes.floor
        return Reason(
            hit=self._hits[place],
            action="dropped" if form is None else "kept" if form.spans is None else "compressed",
            why=self._why(place, rank, form, in_floor=in_floor),
            in_floor=in_floor,
            tokens_before=self._tokens[place],
            tokens_after=form.tokens if form else 0,
        )

    def _why(self, place: int, rank: int | None, form: Kept | None, *, in_floor: bool) -> str:
        of, options = self._copies.of[place], self._tighten.options
        if rank is None or of is not None:
            return f"repeats {self._hits[of or 0].chunk.id!r}"
        if rank >= self._sizes.k:
            if in_floor or (options.hard_limit is not None and rank >= options.hard_limit):
                return f"beyond the hard limit of {options.hard_limit}"
            return "below the floor" if self._tighten.floor else "after the largest gap"
        if form is None:
            return f"no room within {options.max_tokens:,} tokens"
        why = "floor" if in_floor else "largest gap" if rank < self._sizes.gap else "k_min"
        return why if form.spans is None else f"{why}, shortened to fit"


def _scores(hits: Sequence[Hit]) -> NDArray[np.float64]:
    scores = np.array([hit.score for hit in hits], dtype=np.float64)
    if np.isnan(scores).any():
        place = int(np.flatnonzero(np.isnan(scores))[0])
        raise InputError(
            f"hit {place} (chunk {hits[place].chunk.id!r}) has the score NaN; expected a number"
        )
    return scores


def _best_first(hits: Sequence[Hit]) -> list[Hit]:
    """By falling score; equal ones as they come.

    Raises:
        InputError: NaN, which has no place in an order.
    """
    order = np.argsort(-_scores(hits), kind="stable")
    return [hits[place] for place in order]


def _total(tokens: Sequence[int]) -> int:
    return sum(tokens) + _BETWEEN * max(0, len(tokens) - 1)
