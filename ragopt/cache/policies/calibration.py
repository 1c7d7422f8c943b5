"""From labelled pairs of questions to a calibrated policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.checks import check_text
from ragopt.cache.guards import DEFAULT_GUARDS, SAFETY_GUARDS, Guard
from ragopt.cache.policies.calibrated import Calibrated
from ragopt.cache.policies.features import FEATURES, pair_features
from ragopt.cache.policies.splitting import parts
from ragopt.cache.policies.verifier import Verifier, fit_verifier
from ragopt.errors import InputError
from ragopt.quality import data_hash

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["ScoredPairs", "calibrate", "score_pairs"]

Progress = Callable[[str, int, int], object]

_LEAST = 0.5
_FEWEST_TO_FIT = 2000  # pairs; with fewer, half of them certify more as they are
_FITTED_SHARE = 0.5
_EMBEDDED_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredPairs:
    """Labelled pairs with all that decides on them.

    Args:
        texts: (n,) pairs of questions.
        same: (n,) whether the two ask the same.
        similarities: (n,) cosines.
        guarded: (n,) whether a guard refuses, or the texts are the same for the exact tier.
        features: (n, len(FEATURES)); zeros below `least` and where guarded.
        least: cosine below which nothing is looked at.
        embedder_id: whose cosines they are.
    """

    texts: Sequence[tuple[str, str]]
    same: NDArray[np.bool_]
    similarities: NDArray[np.float64]
    guarded: NDArray[np.bool_]
    features: NDArray[np.float64]
    least: float
    embedder_id: str

    def scores(self, verifier: Verifier | None, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What pairs score; -inf where they would not be served at any threshold."""
        found = np.full(len(rows), -np.inf)
        reached = np.flatnonzero(self.reached[rows])
        if verifier is None:
            found[reached] = self.similarities[rows[reached]]
        else:
            texts = [self.texts[row] for row in rows[reached]]
            found[reached] = verifier.probabilities(self.features[rows[reached]], texts)
        return found

    @property
    def reached(self) -> NDArray[np.bool_]:
        """(n,) which ones a policy decides on: similar enough, and no guard refuses them."""
        reached: NDArray[np.bool_] = ~self.guarded & (self.similarities >= self.least)
        return reached

    def fit(self, rows: NDArray[np.int64], *, seed: int) -> Verifier:
        """A verifier fitted on those of the rows that would reach it.

        Raises:
            InputError: as `fit_verifier`.
            BackendMissing: likewise.
        """
        reach = rows[self.reached[rows]]
        texts = [self.texts[row] for row in reach]
        return fit_verifier(self.features[reach], self.same[reach], pairs=texts, seed=seed)


def calibrate(
    embedder: Embedder,
    pairs: Iterable[Any],
    *,
    max_error: float = 0.05,
    confidence: float = 0.95,
    guards: Sequence[Guard] | None = None,
    verify: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Calibrated:
    """The policy that serves most at a certified error, on the user's own labelled pairs.

    With a verifier, half of the pairs fit it and the other half, which shares no question with
    them, certifies the threshold of its probability. Without one all of them certify a cosine.

    The certificate speaks of pairs like these: drawn like what the cache will be asked, with what
    it holds. Pairs that were made to be hard certify less than the traffic would, easy ones more.

    Args:
        embedder: the cache's own.
        pairs: ``(text, text, same)`` each, or with these as ``text_a``, ``text_b`` and ``same``.
        max_error: tolerated share of wrong hits, above 0 and below .5.
        confidence: with which it must hold.
        guards: the cache's own, what they refuse is no hit; `SAFETY_GUARDS` with a verifier and
            `DEFAULT_GUARDS` without one when None.
        verify: fit a verifier; from 2,000 pairs on and with scikit-learn installed when None.
        seed: of the split and of the fit.
        progress: called with the step, how much of it is done, and how much there is.

    Raises:
        InputError: no pairs, or something else among them; a value outside its range.
        BackendMissing: ``verify`` without scikit-learn.

    Cost: embeds every text once; some 100 us a pair beside that.
    """
    tell = progress or _silent
    if not isinstance(pairs, Iterable):
        raise InputError(f"pairs is {pairs!r}, expected labelled pairs of questions")
    labelled = list(pairs)
    if verify is None:
        verify = _worth_fitting(len(labelled))
    if guards is None:
        guards = SAFETY_GUARDS if verify else DEFAULT_GUARDS
    scored = score_pairs(embedder, labelled, guards=guards, progress=tell)
    rows = np.arange(len(scored.same))
    verifier = None
    if verify:
        fitting, rows = parts(scored.texts, (_FITTED_SHARE, 1 - _FITTED_SHARE), seed=seed)
        tell("fitting the verifier", 0, 1)
        verifier = scored.fit(fitting, seed=seed)
        tell("fitting the verifier", 1, 1)
    return Calibrated.fit(
        scored.scores(verifier, rows),
        scored.same[rows],
        max_error=max_error,
        confidence=confidence,
        verifier=verifier,
        least=scored.least,
        embedder_id=scored.embedder_id,
        guards=[guard.name for guard in guards],
        data_hash=data_hash(
            *(text for pair in scored.texts for text in pair), scored.same.astype(np.uint8)
        ),
    )


def score_pairs(
    embedder: Embedder,
    pairs: Iterable[Any],
    *,
    guards: Sequence[Guard] = DEFAULT_GUARDS,
    least: float = _LEAST,
    progress: Progress | None = None,
) -> ScoredPairs:
    """Embed labelled pairs and look at each as the cache would.

    Args:
        embedder: the cache's own.
        pairs: as in `calibrate`.
        guards: the cache's own.
        least: cosine below which nothing is looked at.
        progress: as in `calibrate`.

    Raises:
        InputError: no pairs, or something else among them.
    """
    tell = progress or _silent
    texts, same = _checked(pairs)
    distinct = list(dict.fromkeys(text for pair in texts for text in pair))
    rows = _embedded(embedder, distinct, tell)
    place = {text: row for row, text in enumerate(distinct)}
    left, right = (rows[[place[pair[side]] for pair in texts]] for side in (0, 1))
    similarities = np.clip(np.einsum("ij,ij->i", left, right), -1, 1).astype(np.float64)
    guarded = np.zeros(len(texts), dtype=bool)
    features = np.zeros((len(texts), len(FEATURES)))
    looked_at = np.flatnonzero(similarities >= least)
    for done, row in enumerate(looked_at):
        one, other = texts[row]
        guarded[row] = not all(guard.agrees(one, other) for guard in guards)
        if not guarded[row]:
            features[row] = pair_features(one, other, float(similarities[row]))
        if done % 500 == 0:
            tell("comparing pairs", done, len(looked_at))
    tell("comparing pairs", len(looked_at), len(looked_at))
    return ScoredPairs(
        texts=texts,
        same=same,
        similarities=similarities,
        guarded=guarded,
        features=features,
        least=least,
        embedder_id=embedder.id,
    )


def _worth_fitting(pairs: int) -> bool:
    """Whether there are pairs enough for two halves, and a package to fit with."""
    from importlib.util import find_spec

    return pairs >= _FEWEST_TO_FIT and find_spec("sklearn") is not None


def _checked(pairs: Iterable[Any]) -> tuple[list[tuple[str, str]], NDArray[np.bool_]]:
    texts, same = [], []
    for number, pair in enumerate(pairs):
        try:
            if isinstance(pair, tuple | list):
                one, other, label = pair
            else:
                one, other, label = pair.text_a, pair.text_b, pair.same
        except (ValueError, AttributeError) as error:
            raise InputError(
                f"pairs[{number}] is {pair!r}, expected (text, text, same) ({error})"
            ) from error
        check_text(one, f"the first text of pairs[{number}]")
        check_text(other, f"the second text of pairs[{number}]")
        if not isinstance(label, bool | np.bool_) and label not in (0, 1):
            raise InputError(f"pairs[{number}] has the label {label!r}, expected True or False")
        texts.append((one, other))
        same.append(bool(label))
    if not texts:
        raise InputError("pairs is empty; expected labelled pairs of questions")
    return texts, np.array(same, dtype=bool)


def _embedded(embedder: Embedder, texts: Sequence[str], tell: Progress) -> NDArray[np.float32]:
    blocks = []
    for first in range(0, len(texts), _EMBEDDED_AT_ONCE):
        tell("embedding questions", first, len(texts))
        blocks.append(np.asarray(embedder.embed(texts[first : first + _EMBEDDED_AT_ONCE])))
    tell("embedding questions", len(texts), len(texts))
    rows = np.concatenate(blocks).astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows / np.where(lengths > 0, lengths, np.float32(1))
    return unit


def _silent(step: str, done: int, total: int) -> None:
    """Tell nobody."""
