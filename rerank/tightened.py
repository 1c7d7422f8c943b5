"""What tightening kept of the candidates, why, and what that promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from ragopt.chunk import Hit
from ragopt.rerank.conformal import ConformalFloor, promised

if TYPE_CHECKING:
    from ragopt.compress.base import Span

__all__ = ["Action", "Guarantee", "Kept", "Reason", "Tightened"]

Action = Literal["kept", "compressed", "dropped"]
Guarantee = Literal["kept", "compressed", "lost", "none"]

_TITLE_CHARS = 28


@dataclass(frozen=True, slots=True)
class Kept:
    """A chunk that goes into the prompt.

    Args:
        hit: with its calibrated probability, where there is a calibration.
        text: what goes in of it, title not included.
        tokens: of title and text.
        spans: where the text stands in the chunk; None for the whole chunk.
    """

    hit: Hit
    text: str
    tokens: int
    spans: tuple[Span, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What became of one candidate, and why.

    Args:
        hit: the candidate.
        action: what became of it.
        why: in words.
        in_floor: the floor demands it.
        tokens_before: of the whole chunk.
        tokens_after: of what is kept.
    """

    hit: Hit
    action: Action
    why: str
    in_floor: bool
    tokens_before: int
    tokens_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightened:
    """The chunks that go on, the others, and why.

    Args:
        kept: in the order of the prompt.
        dropped: best first.
        reasons: of every candidate, best first.
        tokens_before: of all candidates: their counts, and one for each blank line between two.
        tokens_after: of what is kept, counted likewise.
        floor: what was promised; None without a calibration.
        guarantee: ``"kept"``; ``"compressed"``: every chunk of the floor is there, but some are
            shortened, and what a compressor leaves out no floor covers; ``"lost"``: a hard limit
            cut below the floor; ``"none"``: there is no floor.
        abstain: the best candidate is too unlikely to answer from, or nothing is kept.
        budget_exceeded: what the floor demands takes more than the token budget.
        k_floor: chunks that the floor demands.
        k_gap: chunks before the largest fall in score.
        max_tokens: the budget; None without one.
    """

    kept: tuple[Kept, ...]
    dropped: tuple[Hit, ...]
    reasons: tuple[Reason, ...]
    tokens_before: int
    tokens_after: int
    floor: ConformalFloor | None = field(repr=False)
    guarantee: Guarantee
    abstain: bool
    budget_exceeded: bool
    k_floor: int
    k_gap: int
    max_tokens: int | None = None

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The hits that are kept, in the order of the prompt."""
        return tuple(one.hit for one in self.kept)

    @property
    def is_compressed(self) -> bool:
        """Whether some of what is kept is shortened."""
        return any(one.spans is not None for one in self.kept)

    @property
    def ratio(self) -> float:
        """Share of the tokens that is left, 0 to 1; 1.0 when there were none."""
        return self.tokens_after / self.tokens_before if self.tokens_before else 1.0

    @property
    def promise(self) -> str:
        """What is promised, in words; which floors do not hold, too."""
        if self.floor is None:
            return "no guarantee"
        told = promised(self.floor.promise, self.floor.of, self.floor.alpha)
        if not self.floor.certificate.holds:
            return f"no guarantee: {self.floor}"
        if self.guarantee == "lost":
            return (
                f"guarantee lost ({told}): a hard limit cut below the {self.k_floor} of the floor"
            )
        if self.guarantee == "compressed":
            return f"{told}; chunks of the floor were shortened, which it does not cover"
        return told

    def explain(self) -> str:
        """The decision on every candidate as a table of plain text."""
        rows = [("", "p", "score", "tokens", "chunk", "why"), *self._rows()]
        widths = [max(len(row[place]) for row in rows) for place in range(5)]
        lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
        return "\n".join([str(self), *lines])

    def plot(self) -> Any:
        """A matplotlib figure: the candidates' probabilities (or scores), kept or not; the floor.

        Raises:
            BackendMissing: matplotlib is not installed.
        """
        from ragopt.rerank.plots import tightened_figure

        return tightened_figure(self)

    def __str__(self) -> str:
        notes = [f"{len(self.kept)} of {len(self.reasons)} chunks kept"]
        notes.append(f"{self.tokens_after:,} of {self.tokens_before:,} tokens")
        if self.budget_exceeded:
            notes.append(f"budget of {self.max_tokens:,} tokens exceeded: the floor takes more")
        if self.abstain:
            notes.append("abstain: nothing here is likely to answer")
        return "; ".join([*notes, self.promise])

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                reason.action,
                "" if reason.hit.probability is None else f"{reason.hit.probability:.3f}",
                f"{reason.hit.score:.4g}",
                f"{reason.tokens_after}/{reason.tokens_before}",
                _shown(reason.hit),
                reason.why,
            )
            for reason in self.reasons
        ]

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{head}</th>" for head in ("", "p", "score", "tokens", "chunk", "why"))
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        return f"<p>{escape(str(self))}</p><table><tr>{heads}</tr>{rows}</table>"


def _padded(row: tuple[str, ...], widths: list[int]) -> list[str]:
    cells = [
        cell.rjust(width) if 0 < place < 4 else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return [*cells, row[-1]]


def _shown(hit: Hit) -> str:
    title = " ".join(hit.chunk.title.split())
    short = title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1] + "…"
    return f"{hit.chunk.id} {short}".rstrip()
