"""Growth: the real vectors first, the new ones like them, whole or not there at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragopt.benchmarks.workloads import GrowthOptions, grow
from ragopt.benchmarks.workloads import growth as module
from ragopt.errors import InputError, StorageError

FAST = {"reach": 4, "stretch": 1.0, "neighbours": 8, "sample": 150, "block": 500}


def _clustered(rows: int, dim: int = 24, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors in clusters of few dimensions, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dim))
    spread = rng.standard_normal((12, 5, dim)) * 0.4
    of = rng.integers(12, size=rows)
    made = centres[of] + np.einsum("ij,ijk->ik", rng.standard_normal((rows, 5)), spread[of])
    made += 0.05 * rng.standard_normal((rows, dim))
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def _options(**changes: Any) -> GrowthOptions:
    return GrowthOptions(**{**FAST, **changes})


def test_the_real_vectors_come_first_and_the_new_ones_have_unit_length(tmp_path: Path) -> None:
    source = _clustered(600)
    report = grow(source, 2_345, tmp_path / "grown.npy", options=_options(dtype="float32"))
    grown = np.load(report.path, mmap_mode="r")
    assert grown.shape == (report.rows, report.dim) == (2_345, 24)
    assert grown.dtype == np.float32
    assert (grown[:600] == source).all()
    assert np.linalg.norm(grown[600:], axis=1) == pytest.approx(1, abs=1e-5)
    assert len(np.unique(grown[600:], axis=0)) == 1_745
    assert [path.name for path in tmp_path.iterdir()] == ["grown.npy"]


def test_one_seed_gives_one_file_and_another_gives_another(tmp_path: Path) -> None:
    source = _clustered(300).astype(np.float16)
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        grow(source, 900, tmp_path / name, options=_options(seed=seed))
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] != files[2]
    assert np.load(tmp_path / "a").dtype == np.float16


def test_a_new_vector_lies_as_far_from_a_real_one_as_its_neighbours_do(tmp_path: Path) -> None:
    source = _clustered(400)
    distances = np.sqrt(np.maximum(0, 2 - 2 * source @ source.T))
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    options = _options(reach=1, dtype="float32")
    grown = np.load(grow(source, 800, tmp_path / "g.npy", options=options).path)
    to_real = np.sqrt(np.maximum(0, 2 - 2 * grown[400:] @ source.T))
    # Each real vector is a parent once, in some order: some parent's distance must fit.
    fits = np.abs(to_real - nearest[None, :]).min(axis=1)
    assert fits.max() < 1e-3
    parents = np.abs(to_real - nearest[None, :]).argmin(axis=1)
    assert len(np.unique(parents)) > 250


def test_the_distances_stay_like_the_real_ones_and_unlike_those_of_copies(tmp_path: Path) -> None:
    source = _clustered(1_500)
    options = _options(reach=None, stretch=None, sample=400, block=4_000)
    like = grow(source, 6_000, tmp_path / "like.npy", options=options)
    assert like.ks_nearest < 0.25
    assert like.ks_tenth < 0.35
    assert like.options.reach is not None
    assert like.options.stretch is not None
    copies = grow(
        source, 6_000, tmp_path / "copies.npy", options=_options(stretch=1e-6, sample=400)
    )
    assert copies.ks_nearest > 0.9
    apart = grow(source, 6_000, tmp_path / "apart.npy", options=_options(stretch=20.0, sample=400))
    assert apart.ks_nearest > 0.5
    assert "KS" in str(like)


def test_a_report_measures_exact_distances_across_blocks() -> None:
    source = _clustered(700)
    options = _options(block=97, sample=50)
    found = module._sampled_distances(source, options)
    own = np.sort(np.random.default_rng([options.seed, 1]).permutation(700)[:50])
    exact = np.linalg.norm(source[own, None, :] - source[None], axis=2)
    exact[np.arange(50), own] = np.inf
    assert found == pytest.approx(np.sort(exact, axis=1)[:, :10], abs=2e-3)


def test_vectors_that_are_not_of_unit_length_keep_theirs(tmp_path: Path) -> None:
    source = (_clustered(300) * 100 + 128).astype(np.uint8)
    options = _options(dtype="float32")
    grown = np.load(grow(source, 900, tmp_path / "g.npy", options=options).path)
    assert (grown[:300] == source).all()
    real, new = (np.linalg.norm(part, axis=1) for part in (grown[:300], grown[300:]))
    assert np.median(new) == pytest.approx(np.median(real), rel=0.1)


def test_copies_among_the_real_vectors_are_neighbours_and_not_themselves(tmp_path: Path) -> None:
    source = np.repeat(_clustered(100), 3, axis=0)
    report = grow(source, 400, tmp_path / "g.npy", options=_options())
    assert report.median_nearest[0] == pytest.approx(0, abs=1e-3)


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(9, 60), more=st.integers(0, 200), block=st.integers(1, 90))
def test_every_size_and_block_gives_as_many_rows_as_asked(
    tmp_path_factory: pytest.TempPathFactory, rows: int, more: int, block: int
) -> None:
    path = tmp_path_factory.mktemp("grown") / "g.npy"
    report = grow(_clustered(rows), rows + more, path, options=_options(block=block, sample=10))
    grown = np.load(path)
    assert grown.shape == (rows + more, 24)
    assert np.isfinite(grown).all()
    assert 0 <= report.ks_nearest <= 1


def test_an_interrupted_growth_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "g.npy"
    path.write_bytes(b"former")

    def stop(task: str, done: int, total: int) -> None:
        if task == "growing" and done > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grow(_clustered(400), 2_000, path, options=_options(), progress=stop)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StorageError):
            grow(_clustered(400), 2_000, tmp_path / "g.npy", options=_options())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_up_to_its_total(tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    options = _options(reach=None)
    grow(
        _clustered(200), 700, tmp_path / "g.npy", options=options,
        progress=lambda task, done, total: told.setdefault(task, []).append((done, total)),
    )  # fmt: skip
    assert list(told) == ["neighbours", "choosing", "growing", "measuring"]
    for steps in told.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1]


def test_bad_vectors_and_targets_are_refused_and_write_nothing(tmp_path: Path) -> None:
    source = _clustered(50)
    holed = source.copy()
    holed[3, 2] = np.nan
    for vectors, target, said in (
        (source, 49, "below the 50"),
        (source[:8], 100, "above neighbours=8"),
        (source[0], 100, "shape"),
        (source.astype(str), 100, "numbers"),
        (holed, 100, "not finite"),
    ):
        with pytest.raises(InputError, match=said):
            grow(vectors, target, tmp_path / "g.npy", options=_options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"neighbours": 1},
        {"block": 0},
        {"sample": 9},
        {"towards": 0},
        {"towards": 1.1},
        {"stretch": 0.0},
        {"stretch": -1.0},
        {"stretch": float("nan")},
        {"reach": 0},
        {"reach": 17},
        {"dtype": "int8"},
    ],
)
def test_options_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        GrowthOptions(**fields)


@pytest.mark.data
def test_real_question_vectors_stay_like_themselves(
    real: Callable[[str], Any], tmp_path: Path
) -> None:
    vectors = real("qqp_minilm_384").vectors
    part = vectors[np.sort(np.random.default_rng(0).permutation(len(vectors))[:3_000])]
    report = grow(part, 12_000, tmp_path / "g.npy", options=GrowthOptions(sample=500, reach=8))
    assert report.ks_nearest < 0.25
    assert report.ks_tenth < 0.25
