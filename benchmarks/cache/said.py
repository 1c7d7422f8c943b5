"""What a run of the cache bench tells people beside its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from ragopt.benchmarks.cache.bill import BillOptions
from ragopt.benchmarks.cache.material import Material
from ragopt.benchmarks.cache.scoring import Scored
from ragopt.benchmarks.cache.stream_rows import Ground, StreamFigures
from ragopt.report.figures import dollars

__all__ = ["notes_of"]


def notes_of(
    material: Material,
    scored: Sequence[Scored],
    ground: Ground,
    options: BillOptions,
    repeated: float,
) -> list[str]:
    """What was asked, what a log gives, what was billed, and who loses money.

    Args:
        material: that was measured on.
        scored: policies with their figures.
        ground: with what was billed.
        options: models and lengths.
        repeated: share of requests in the words of an earlier one.
    """
    told = []
    if material.pairs:
        same = sum(pair.same for pair in material.pairs)
        about = material.notes.get("about")
        told.append(
            f"pairs: {len(material.pairs):,}, {same:,} of one meaning; thresholds chosen on one "
            "half, figures from the other" + (f"; {about}" if about else "")
        )
    if material.stream.texts:
        told.append(material.stream.about)
    if any(each.streams for each in scored):
        if material.stream.groups is None:
            told += _of_log(scored, repeated)
        told.append(_billed(ground, options))
        told += _losing(scored)
    return told


def _of_log(scored: Sequence[Scored], repeated: float) -> Iterator[str]:
    """How little, or how much, a cache saves on traffic of which nobody knows what is wrong."""
    said = "" if repeated else "; a list that was published without repeats can show none"
    yield f"{repeated:.2%} of the queries repeat an earlier one word for word{said}"
    for each in scored:
        settings = {at: found for at, found in each.streams.items() if at is not None}
        if settings and not each.measured.candidate.peer:
            shares = "; ".join(f"from {at:g} on {_hits(found)}" for at, found in settings.items())
            yield f"{each.name} serves {shares}"
    best = max(
        (found.counts.hit_rate for each in scored for found in each.streams.values()), default=0.0
    )
    yield (
        f"This is the truth of such traffic: at the loosest threshold {1 - best:.1%} of the "
        "requests are paid for all the same, and how many hits are wrong nobody knows"
    )


def _hits(found: StreamFigures) -> str:
    counts = found.counts
    other = (counts.hits - counts.same_text) / max(1, counts.n)
    same = counts.same_text / max(1, counts.n)
    return f"{counts.hit_rate:.2%} ({same:.2%} the same text, {other:.2%} in other words)"


def _billed(ground: Ground, options: BillOptions) -> str:
    costs = ground.costs
    return (
        f"net dollars at prices of {ground.prices['date']}: a call of {options.model} with "
        f"{options.context_tokens:,} tokens of context and {options.answer_tokens:,} of answer "
        f"{dollars(costs.call)} and its question, a judgement of {options.judge_model} "
        f"{dollars(costs.judgement)}, an embedding of {options.embedding_model} "
        f"{dollars(_million(costs.embedding_token))} a million tokens, what is stored kept for a "
        "month; wrong answers are not priced"
    )


def _million(token: Decimal) -> Decimal:
    return 1_000_000 * token


def _losing(scored: Sequence[Scored]) -> Iterator[str]:
    """Policies that cost more than they save, with the price of a call at which they would not."""
    without = []
    for each in scored:
        for setting, found in each.streams.items():
            if found.bill.net >= 0:
                continue
            at = "" if setting is None else f" at {setting:g}"
            even = found.bill.break_even_call
            if even is None:
                without.append(f"{each.name}{at} {dollars(-found.bill.net)}")
            else:
                yield (
                    f"{each.name}{at} loses {dollars(-found.bill.net)} per 1,000 requests: it "
                    f"breaks even where a call costs {dollars(even)}"
                )
    if without:
        yield (
            "without a hit nothing pays, whatever a call costs; lost per 1,000 requests: "
            + ", ".join(without)
        )
