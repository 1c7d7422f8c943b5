"""A real vector set grown to a stated size, by steps from its vectors towards their neighbours.

Random vectors make every index look bad and copies make every index look good. A new vector here
lies about as far from a real one as that one's own nearest neighbours do: the crowded stays
crowded, the sparse sparse. Its direction leads partly to one of them; the rest is noise with the
spread of the real set, a random mix of differences between real vectors. (Noise from the neighbours
alone was tried: offspring of one parent then crowd together, KS .35 in place of .16 on five-fold
growth of 20,000 question vectors.) How far the result is from the real set is measured.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.common import silent
from ragopt.corpus import Progress
from ragopt.errors import BackendMissing, InputError
from ragopt.storage import storage_errors

__all__ = ["GrowthOptions", "GrowthReport", "grow"]

_EXACT_ROWS = 20_000  # up to here neighbours are sought exactly
_UNIT_TOLERANCE = 0.01
_MEASURED_NEIGHBOURS = 10
_NOISE_VECTORS = 256
_PILOT_ROWS, _PILOT_FACTOR = 100_000, 3.0
_REACHES, _STRETCHES = (1, 2, 4, 8), (0.9, 1.0, 1.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthOptions:
    """How a set grows.

    Args:
        neighbours: of each vector, among which the one to go towards is drawn; at least 2.
        towards: share of the step's squared length that leads to that neighbour, the rest being
            noise; drawn evenly from 0 up to this, within (0, 1].
        reach: a step is as long as the distance to one of so many nearest neighbours, drawn; 1 to
            ``neighbours``. None: chosen, as ``stretch`` is, by growing the set up to three-fold.
        stretch: times that distance; above 0. None: chosen likewise, from 0.9 to 1.1.
        dtype: of the file.
        block: rows made at a time, at least 1; part of what a seed determines.
        sample: vectors whose neighbours are measured in both sets, at least 10.
        seed: of everything drawn.

    Raises:
        InputError: a figure out of range.
    """

    neighbours: int = 16
    towards: float = 0.5
    reach: int | None = None
    stretch: float | None = None
    dtype: Literal["float16", "float32"] = "float16"
    block: int = 16_384
    sample: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.neighbours < 2 or self.block < 1 or self.sample < 10:
            raise InputError(
                f"neighbours={self.neighbours}, block={self.block}, sample={self.sample}: expected "
                "at least 2, 1 and 10"
            )
        stretch, reach = self.stretch or 1.0, 1 if self.reach is None else self.reach
        if not 0 < self.towards <= 1 or self.stretch == 0 or not 0 < stretch < math.inf:
            raise InputError(
                f"towards={self.towards}, stretch={self.stretch}: expected towards within (0, 1] "
                "and a finite stretch above 0"
            )
        if not 1 <= reach <= self.neighbours:
            raise InputError(f"reach={reach}: expected 1 to neighbours={self.neighbours}")
        if self.dtype not in ("float16", "float32"):
            raise InputError(f"dtype={self.dtype!r}: expected 'float16' or 'float32'")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthReport:
    """A grown set, and how far it is from the real one.

    Distances are Euclidean, of a sample of each set within that set, exact.

    Args:
        path: the ``.npy`` file: the real vectors first, in their order, then the new ones.
        real: rows of the source.
        rows: rows of the file.
        dim: of the vectors.
        options: it was grown with, what was chosen filled in.
        ks_nearest: Kolmogorov-Smirnov distance between the distributions of distances to the
            nearest neighbour, real and grown; 0 is alike, 1 is apart.
        ks_tenth: likewise of the tenth neighbour.
        median_nearest: median distance to the nearest neighbour, real and grown.
        median_tenth: likewise of the tenth.
        intrinsic_dim: real and grown, estimated from the ten nearest (Levina and Bickel, 2004,
            "Maximum likelihood estimation of intrinsic dimension").
        sample: vectors measured in each set.
    """

    path: str
    real: int
    rows: int
    dim: int
    options: GrowthOptions
    ks_nearest: float
    ks_tenth: float
    median_nearest: tuple[float, float]
    median_tenth: tuple[float, float]
    intrinsic_dim: tuple[float, float]
    sample: int

    def __str__(self) -> str:
        return (
            f"{self.real:,} real vectors grown to {self.rows:,} x {self.dim} (seed "
            f"{self.options.seed}): nearest-neighbour distances differ by KS "
            f"{self.ks_nearest:.3f} (median {self.median_nearest[0]:.3f} real, "
            f"{self.median_nearest[1]:.3f} grown), tenth by {self.ks_tenth:.3f}; intrinsic "
            f"dimension {self.intrinsic_dim[0]:.1f} and {self.intrinsic_dim[1]:.1f}"
        )


def grow(
    vectors: NDArray[Any],
    target: int,
    path: Path | str,
    *,
    options: GrowthOptions | None = None,
    progress: Progress | None = None,
) -> GrowthReport:
    """Write a grown set as a ``.npy`` file to be memory-mapped; whole, or not there at all.

    Memory: the source in f32, its neighbours, and six times the source in ``dtype`` while reach and
    stretch are chosen (of 100,000 rows at most). Time: neighbours by an inverted file
    above 20,000 rows, and one exact pass of the sample over the result. The same arguments give the
    same file on the same machine; elsewhere the last bits of a product may differ.

    Args:
        vectors: (n, dim) real ones, n above ``options.neighbours``; new ones have unit length
            where all of these have.
        target: rows of the result, at least n.
        path: of the file; replaced where it exists.
        options: how it grows.
        progress: called with "neighbours", "choosing", "growing" or "measuring", done and total.

    Raises:
        InputError: vectors that cannot be used, or a target below their number.
        StorageError: the disk is full or may not be written to; nothing is left there.
        BackendMissing: no faiss.
    """
    chosen, tell = options or GrowthOptions(), progress or silent
    source = _checked(vectors, target, chosen)
    tell("neighbours", 0, len(source))
    parents = _Source.of(source, chosen.neighbours)
    tell("neighbours", len(source), len(source))
    if target > len(source) and (chosen.reach is None or chosen.stretch is None):
        chosen = _chosen(parents, target, chosen, tell)
    place = Path(path)
    blocks = _blocks(parents, target, chosen)
    _write(place, blocks, (target, source.shape[1]), chosen, tell)
    return _report(place, source, target, chosen, tell)


def _checked(vectors: NDArray[Any], target: int, options: GrowthOptions) -> NDArray[np.float32]:
    if vectors.ndim != 2 or len(vectors) <= options.neighbours or vectors.dtype.kind not in "fiu":
        raise InputError(
            f"vectors of shape {vectors.shape}, {vectors.dtype}: expected numbers of shape (n, "
            f"dim) with n above neighbours={options.neighbours}"
        )
    if target < len(vectors):
        raise InputError(
            f"target={target:,} is below the {len(vectors):,} vectors there are; expected at least "
            "as many, or take a sample of them"
        )
    source = np.ascontiguousarray(vectors, np.float32)
    if not np.isfinite(source).all():
        raise InputError("vectors: some values are not finite; expected finite ones")
    return source


def _neighbours(
    source: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Nearest others of each vector and their distances, (n, count) both."""
    faiss = _faiss()
    rows, dim = source.shape
    if rows <= _EXACT_ROWS:
        index = faiss.IndexFlatL2(dim)
    else:
        index = faiss.index_factory(dim, f"IVF{int(math.sqrt(rows))},Flat", faiss.METRIC_L2)
        index.nprobe = 16
        index.train(source)
    index.add(source)
    return _without_self(index, source, np.arange(rows), count)


def _without_self(
    index: Any, queries: NDArray[np.float32], own: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    squared, ids = index.search(queries, count + 1)
    # Its own row goes, wherever it stands among copies of equal distance; else the farthest.
    away = np.where(ids == own[:, None], np.inf, squared)
    order = np.argsort(away, axis=1, kind="stable")[:, :count]
    ids = np.take_along_axis(ids, order, axis=1)
    squared = np.take_along_axis(squared, order, axis=1)
    return np.where(ids < 0, own[:, None], ids), np.sqrt(np.maximum(squared, 0))


@dataclass(frozen=True, slots=True)
class _Source:
    """The real vectors, their nearest others, and the distances to them."""

    vectors: NDArray[np.float32]
    near: NDArray[np.int64]
    distances: NDArray[np.float32]
    unit: bool

    @classmethod
    def of(cls, vectors: NDArray[np.float32], neighbours: int) -> _Source:
        near, distances = _neighbours(vectors, neighbours)
        norms = np.linalg.norm(vectors, axis=1)
        unit = bool(np.all(np.abs(norms - 1) < _UNIT_TOLERANCE))
        return cls(vectors, near, distances, unit)


def _chosen(source: _Source, target: int, options: GrowthOptions, tell: Progress) -> GrowthOptions:
    """Fill in reach, and then stretch, with what keeps a smaller growth most like the real set.

    Smaller in its factor and not in its source: a sample of a set is sparser than the set.
    """
    rows = len(source.vectors)
    if rows > _PILOT_ROWS:
        drawn = np.random.default_rng([options.seed, 2]).permutation(rows)[:_PILOT_ROWS]
        pilot = _Source.of(source.vectors[drawn], options.neighbours)
    else:
        pilot = source
    size = round(len(pilot.vectors) * min(_PILOT_FACTOR, target / rows))
    reaches = [reach for reach in _REACHES if reach <= options.neighbours]
    trials = len(reaches) * (options.reach is None) + len(_STRETCHES) * (options.stretch is None)
    real = _sampled_distances(pilot.vectors, options)
    done = 0

    def misfit(trial: GrowthOptions) -> float:
        nonlocal done
        tell("choosing", done, trials)
        done += 1
        made = np.concatenate(list(_blocks(pilot, size, trial)))
        return max(_apart(real, _sampled_distances(made, options)))

    chosen = options
    if options.reach is None:
        chosen = min((replace(chosen, reach=reach) for reach in reaches), key=misfit)
    if options.stretch is None:
        chosen = min((replace(chosen, stretch=stretch) for stretch in _STRETCHES), key=misfit)
    tell("choosing", trials, trials)
    return chosen


def _blocks(source: _Source, target: int, options: GrowthOptions) -> Iterator[NDArray[Any]]:
    """The real vectors and then new ones, block by block."""
    rows = len(source.vectors)
    for begin in range(0, rows, options.block):
        yield source.vectors[begin : begin + options.block].astype(options.dtype)
    rng = np.random.default_rng(options.seed)
    order = np.empty(0, np.int64)
    for begin in range(rows, target, options.block):
        count = min(options.block, target - begin)
        while len(order) < count:  # in turn: none is a parent twice more often than another
            order = np.concatenate([order, rng.permutation(rows)])
        parents, order = order[:count], order[count:]
        yield _offspring(source, parents, rng, options).astype(options.dtype)


def _offspring(
    source: _Source, parents: NDArray[np.int64], rng: np.random.Generator, options: GrowthOptions
) -> NDArray[np.float32]:
    """One new vector of each parent, as far away as one of its nearest neighbours."""
    origin = source.vectors[parents]
    towards, noise = _directions(source, parents, rng)
    share = rng.uniform(0, options.towards, (len(parents), 1))
    step = _scaled(np.sqrt(share) * towards + np.sqrt(1 - share) * noise)
    like = rng.integers(options.reach or 1, size=len(parents))
    length = (options.stretch or 1.0) * source.distances[parents, like][:, None]
    if not source.unit:
        return np.asarray(origin + length * step, np.float32)
    # On the sphere, a chord of that length: 2 sin(angle / 2).
    angle = 2 * np.arcsin(np.minimum(length / 2, 1))
    return _scaled(np.cos(angle) * origin + np.sin(angle) * step)


def _directions(
    source: _Source, parents: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors towards one neighbour, and in the spread of the whole set."""
    vectors, near = source.vectors, source.near
    origin = vectors[parents]
    picked = near[parents, rng.integers(near.shape[1], size=len(parents))]
    towards = vectors[picked] - origin
    anywhere = vectors[rng.integers(len(vectors), size=_NOISE_VECTORS)]
    weights = rng.standard_normal((len(parents), _NOISE_VECTORS), dtype=np.float32)
    noise = weights @ (anywhere - anywhere.mean(axis=0))
    if source.unit:
        towards, noise = _tangent(towards, origin), _tangent(noise, origin)
    return _scaled(towards), _scaled(noise)


def _tangent(steps: NDArray[np.float32], origin: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = np.einsum("ij,ij->i", steps, origin)[:, None]
    return np.asarray(steps - inner * origin, np.float32)


def _scaled(vectors: NDArray[Any]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def _write(
    path: Path,
    blocks: Iterator[NDArray[Any]],
    shape: tuple[int, int],
    options: GrowthOptions,
    tell: Progress,
) -> None:
    """Written, not mapped: on a full disk a write fails with an error, a mapping kills."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(options.dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("xb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                done = 0
                for block in blocks:
                    file.write(np.ascontiguousarray(block).data)
                    done += len(block)
                    tell("growing", done, shape[0])
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def _report(
    path: Path, source: NDArray[np.float32], target: int, options: GrowthOptions, tell: Progress
) -> GrowthReport:
    grown = np.load(path, mmap_mode="r")
    tell("measuring", 0, 2)
    real = _sampled_distances(source, options)
    tell("measuring", 1, 2)
    new = _sampled_distances(grown, options)
    tell("measuring", 2, 2)
    nearest, tenth = _apart(real, new)
    return GrowthReport(
        path=str(path),
        real=len(source),
        rows=target,
        dim=source.shape[1],
        options=options,
        ks_nearest=nearest,
        ks_tenth=tenth,
        median_nearest=(float(np.median(real[:, 0])), float(np.median(new[:, 0]))),
        median_tenth=(float(np.median(real[:, -1])), float(np.median(new[:, -1]))),
        intrinsic_dim=(_intrinsic_dim(real), _intrinsic_dim(new)),
        sample=len(new),
    )


def _sampled_distances(vectors: NDArray[Any], options: GrowthOptions) -> NDArray[np.float32]:
    """(sample, 10) distances of sampled vectors to their nearest others, exact."""
    rng = np.random.default_rng([options.seed, 1])
    own = np.sort(rng.permutation(len(vectors))[: options.sample]).astype(np.int64)
    queries = np.ascontiguousarray(vectors[own], np.float32)
    count = min(_MEASURED_NEIGHBOURS, len(vectors) - 1)
    best = np.full((len(own), 0), np.inf, np.float32)
    faiss = _faiss()
    for begin in range(0, len(vectors), options.block):
        block = np.ascontiguousarray(vectors[begin : begin + options.block], np.float32)
        index = faiss.IndexFlatL2(vectors.shape[1])
        index.add(block)
        _, distances = _without_self(index, queries, own - begin, count)
        best = np.sort(np.concatenate([best, distances], axis=1), axis=1)[:, :count]
    return best


def _apart(real: NDArray[np.float32], new: NDArray[np.float32]) -> tuple[float, float]:
    """KS distances of the first and of the tenth neighbour's distances."""
    from scipy.stats import ks_2samp

    first, tenth = (ks_2samp(real[:, place], new[:, place]) for place in (0, -1))
    return float(first.statistic), float(tenth.statistic)


def _intrinsic_dim(distances: NDArray[np.float32]) -> float:
    """Mean of the inverse estimates (MacKay and Ghahramani's correction)."""
    apart = np.maximum(distances.astype(np.float64), 1e-12)
    logs = np.log(apart[:, -1:] / apart[:, :-1]).mean(axis=1)
    return float(1 / max(logs.mean(), 1e-12)) if logs.size else math.nan


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise BackendMissing("faiss-cpu", "dev", "growing a vector set") from error
    return faiss
