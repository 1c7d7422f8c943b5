"""The smallest budget that keeps the evidence, per query, at a certified rate."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ragopt.chunk import Hit
from ragopt.compress.base import (
    Compressed,
    Compressor,
    CountTokens,
    Span,
    check_request,
    default_count,
    unchanged,
)
from ragopt.compress.extractive import Extractive
from ragopt.compress.layout import Layout
from ragopt.errors import InputError
from ragopt.form import load_form, reading, write_form
from ragopt.quality import Certificate, Floor, certify_mean, conformal_quantile, data_hash

__all__ = ["AutoBudget", "LabelledContext"]

Profile = Literal["ratio", "score"]

_KIND = "ragopt auto budget"
_VERSION = 1
_WHAT = "auto budget"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
METRIC = "queries with all evidence kept"
# Shares of the tokens that came in, and of the best segment's score; the most generous last.
RATIOS = (0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.025, 0.0)
_GRIDS = {"ratio": RATIOS, "score": SHARES}
_LEAST_LABELLED = 20


@dataclass(frozen=True, slots=True)
class LabelledContext:
    """A query, what was found for it, and which of it the answer rests on.

    Args:
        query: the question.
        hits: as the compressor would get them.
        evidence: stretches of the hits' chunks that all have to be kept.

    Raises:
        InputError: no evidence, or a stretch that no hit has.
    """

    query: str
    hits: tuple[Hit, ...]
    evidence: tuple[Span, ...]

    def __post_init__(self) -> None:
        lengths = {hit.chunk.id: len(hit.chunk.text) for hit in self.hits}
        if not self.evidence:
            raise InputError(f"query {self.query!r} has no evidence; expected at least one span")
        for span in self.evidence:
            if not 0 <= span.start < span.end <= lengths.get(span.chunk_id, -1):
                raise InputError(
                    f"query {self.query!r}: evidence {span} lies in none of its "
                    f"{len(self.hits)} hits; expected offsets into the text of one of them"
                )

    def kept_by(self, result: Compressed) -> bool:
        """Whether all evidence is still there, word for word."""
        texts = {hit.chunk.id: hit.chunk.text for hit in self.hits}
        left = {part.chunk.id: part.text for part in result.chunks}
        return all(
            result.keeps(span.chunk_id, span.start, span.end)
            or texts[span.chunk_id][span.start : span.end] in left.get(span.chunk_id, "")
            for span in self.evidence
        )


class AutoBudget:
    """Gives a compressor, query by query, the smallest budget that keeps the evidence.

    Split conformal prediction (Vovk, Gammerman and Shafer, 2005): for each labelled query of one
    half the smallest budget from which on all its evidence is kept; the quantile of these, by
    `ragopt.quality.conformal_quantile`, keeps a fresh query's evidence with at least the floor's
    probability, provided that it comes as the labelled ones did. That holds on average over draws
    of labelled queries. For the floor's confidence the other half is walked from the whole context
    down to that budget, and the last one is taken before the bound falls below the floor (testing
    in a fixed sequence needs no correction; Bauer, 1991; Angelopoulos et al., 2021, "Learn then
    Test", section 3.1). Where not even the whole context can be certified, for there are too few
    queries, nothing is compressed, and the result says so.

    A budget is a share of the tokens that came in (profile ``"ratio"``) or, for `Extractive`, a
    share of the best segment's score (``"score"``), so that a query which one sentence answers
    gets a smaller budget than one that takes five. `fit` takes the profile that leaves fewer tokens
    on its half.

    Args:
        compressor: the one that was fitted.
        profile: what the setting is a share of.
        setting: the share, above 0, at most 1.
        certificate: of the evidence kept.
        mean_ratio: share of the tokens that was left of the other half, on average.
        trusted: compress although the certificate does not hold.

    Raises:
        InputError: a setting out of range, or the profile ``"score"`` with another compressor.
    """

    def __init__(
        self,
        compressor: Compressor,
        *,
        profile: Profile,
        setting: float,
        certificate: Certificate,
        mean_ratio: float = math.nan,
        trusted: bool = False,
        count: CountTokens | None = None,
    ) -> None:
        if profile not in ("ratio", "score") or not 0 <= setting <= 1:
            raise InputError(
                f"profile={profile!r}, setting={setting!r}: expected 'ratio' or 'score' and 0 to 1"
            )
        if profile == "score" and not isinstance(compressor, Extractive):
            raise InputError(
                f"the profile 'score' is one of Extractive, got {type(compressor).__name__}; fit "
                "this compressor for itself"
            )
        self.compressor = compressor
        self.profile: Profile = profile
        self.setting = setting
        self.certificate = certificate
        self.mean_ratio = mean_ratio
        self.trusted = trusted
        self._count = count
        self._apply = _applied(compressor, profile, count)

    @classmethod
    def fit(
        cls,
        compressor: Compressor,
        labelled: Sequence[LabelledContext],
        *,
        floor: Floor | float,
        profiles: Sequence[Profile] | None = None,
        seed: int = 0,
        count: CountTokens | None = None,
    ) -> AutoBudget:
        """Fit on labelled queries.

        Args:
            compressor: any; `Extractive` has two profiles, the others one.
            labelled: 20 or more; half of them fit, the other half certify.
            floor: share of the queries whose evidence has to be kept, such as 0.9, or a `Floor`
                with its confidence.
            profiles: to choose from; by default all that the compressor has.
            seed: of the split.
            count: token counter of the budgets; by default ragopt's estimate.

        Raises:
            InputError: too few queries, or a floor outside (0, 1).

        Cost: up to 33 compressions of every query.
        """
        wanted = _checked_floor(floor)
        if len(labelled) < _LEAST_LABELLED:
            raise InputError(
                f"{len(labelled)} labelled queries: expected {_LEAST_LABELLED} or more, half to "
                "fit and half to certify"
            )
        has: tuple[Profile, ...] = ("ratio", "score")
        names = profiles or (has if isinstance(compressor, Extractive) else has[:1])
        order = random.Random(seed).sample(range(len(labelled)), len(labelled))  # noqa: S311
        fitting = [labelled[place] for place in order[: len(order) // 2]]
        proving = [labelled[place] for place in order[len(order) // 2 :]]
        fitted = [_fit_profile(compressor, name, fitting, wanted.limit, count) for name in names]
        _, step, profile = min(fitted)
        setting, certificate, ratio = _proven(
            _applied(compressor, profile, count), _GRIDS[profile][step:], proving, wanted
        )
        return cls(
            compressor,
            profile=profile,
            setting=setting,
            certificate=replace(certificate, data_hash=_hash(labelled), seed=seed),
            mean_ratio=ratio,
            count=count,
        )

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Compress to the smallest budget that keeps the evidence of such queries.

        Args:
            query: the question.
            hits: what was found; their order is kept.
            max_tokens: most that the budget may be. A smaller one than the query would get breaks
                the floor, and is kept to all the same.

        Raises:
            InputError: as the compressor's own.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        if not self.certificate.holds and not self.trusted:
            if max_tokens is not None:
                return self.compressor.compress(query, hits, max_tokens=max_tokens)
            return unchanged(hits, count, f"not certified: {self.certificate}")
        result = self._apply(query, hits, self.setting)
        if max_tokens is not None and result.tokens_after > max_tokens:
            return self.compressor.compress(query, hits, max_tokens=max_tokens)
        return result

    def save(self, path: Path | str) -> None:
        """Write the setting and its certificate as JSON; the compressor is named, not stored.

        Raises:
            StorageError: the file cannot be written; a former one still stands.
        """
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "compressor": _settings(self.compressor),
            "profile": self.profile,
            "setting": self.setting,
            "mean_ratio": self.mean_ratio,
            "certificate": self.certificate.to_dict(),
        }
        write_form(path, content)

    @classmethod
    def load(
        cls, path: Path | str, compressor: Compressor, *, count: CountTokens | None = None
    ) -> AutoBudget:
        """Read what `save` wrote.

        Args:
            path: the file.
            compressor: of the kind it was fitted for, with the same settings.
            count: token counter of the budgets.

        Raises:
            InputError: no such file, not one of `save`, or fitted for another compressor.
        """
        return load_form(path, _WHAT, lambda content: cls._of(content, compressor, count))

    @classmethod
    def _of(cls, content: Any, compressor: Compressor, count: CountTokens | None) -> AutoBudget:
        with reading(content, kind=_KIND, version=_VERSION, what=_WHAT, remedy="fit it again"):
            own, given = content["compressor"], _settings(compressor)
            if own != given:
                raise InputError(f"fitted for {own}, not for {given}; fit it for that one")
            return cls(
                compressor,
                profile=content["profile"],
                setting=float(content["setting"]),
                certificate=Certificate.from_dict(content["certificate"]),
                mean_ratio=float(content["mean_ratio"]),
                count=count,
            )

    def __repr__(self) -> str:
        return f"AutoBudget({self.compressor!r}, {self.profile}={self.setting:g})"


_Apply = Callable[[str, Sequence[Hit], float], Compressed]


def _applied(compressor: Compressor, profile: Profile, count: CountTokens | None) -> _Apply:
    """The compressor as a function of query, hits and setting."""
    if profile == "score" and isinstance(compressor, Extractive):
        return compressor.at_score
    counting = count or default_count()

    def to_ratio(query: str, hits: Sequence[Hit], ratio: float) -> Compressed:
        if ratio >= 1:
            return unchanged(hits, counting, "the whole context is needed to keep the floor")
        tokens = counting(Layout(hits).full_text())
        return compressor.compress(query, hits, max_tokens=max(1, math.ceil(ratio * tokens)))

    return to_ratio


def _fit_profile(
    compressor: Compressor,
    profile: Profile,
    labelled: Sequence[LabelledContext],
    floor: float,
    count: CountTokens | None,
) -> tuple[float, int, Profile]:
    """Mean share of the tokens left at the fitted setting, its place in the grid, the profile."""
    grid = _GRIDS[profile]
    apply = _applied(compressor, profile, count)
    ratios = np.ones((len(labelled), len(grid)))
    needed = []
    for row, one in enumerate(labelled):
        kept = []
        for column, setting in enumerate(grid):
            result = apply(one.query, one.hits, setting)
            ratios[row, column] = result.ratio
            kept.append(one.kept_by(result))
        needed.append(_from_there_on(kept))
    # The quantile wants scores of which higher is better: the less is needed, the better. It is
    # infinite where there are too few queries for such a floor.
    step = min(-conformal_quantile(np.negative(needed), 1 - floor), len(grid) - 1)
    return float(ratios[:, int(step)].mean()), int(step), profile


def _proven(
    apply: _Apply, settings: Sequence[float], labelled: Sequence[LabelledContext], floor: Floor
) -> tuple[float, Certificate, float]:
    """The tightest setting that is certified with all more generous ones, and its mean ratio.

    The most generous one where not even that is certified.
    """
    found: tuple[float, Certificate, float] | None = None
    for setting in reversed(settings):
        results = [apply(one.query, one.hits, setting) for one in labelled]
        kept = [float(one.kept_by(it)) for one, it in zip(labelled, results, strict=True)]
        certificate = certify_mean(kept, floor)
        if found is not None and not certificate.holds:
            break
        found = setting, certificate, float(np.mean([result.ratio for result in results]))
        if not certificate.holds:
            break
    if found is None:
        raise InputError("there is no setting to certify")
    return found


def _from_there_on(kept: Sequence[bool]) -> int:
    """First step from which on all is kept; the number of steps if it is not at the last."""
    lost = [step for step, whole in enumerate(kept) if not whole]
    return lost[-1] + 1 if lost else 0


def _checked_floor(floor: Floor | float) -> Floor:
    wanted = floor if isinstance(floor, Floor) else Floor(metric=METRIC, at_least=floor)
    if wanted.at_least is None or not 0 < wanted.limit < 1:
        raise InputError(f"floor={floor}: expected a share of the queries between 0 and 1")
    return wanted


def _hash(labelled: Sequence[LabelledContext]) -> str:
    parts: list[str] = []
    for one in labelled:
        parts.append(one.query)
        parts.extend(f"{hit.chunk.id}\0{hit.chunk.title}\0{hit.chunk.text}" for hit in one.hits)
        parts.extend(map(repr, one.evidence))
    return data_hash(*(part.encode("utf-8", "surrogatepass") for part in parts))


def _settings(compressor: Compressor) -> str:
    """What a compressor is and how it is set; addresses, which change, left out."""
    return _ADDRESS.sub("", repr(compressor))
