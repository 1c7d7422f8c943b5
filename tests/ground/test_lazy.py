"""Packages whose names are imported on first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = [
    "ragopt",
    "ragopt.benchmarks",
    "ragopt.benchmarks.datasets",
    "ragopt.benchmarks.index",
    "ragopt.benchmarks.workloads",
    "ragopt.cache",
    "ragopt.cost",
    "ragopt.indexes",
    "ragopt.indexes.tiered",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_is_found_and_listed(name: str) -> None:
    package = import_module(name)
    for exported in package.__all__:
        assert getattr(package, exported) is getattr(package, exported)
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_another_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nowhere'"):
        _ = import_module(name).nowhere


def test_a_name_brings_its_module_on_first_use_only() -> None:
    script = (
        "import sys, ragopt.cache as cache; "
        "before = 'ragopt.rerank' in sys.modules or 'ragopt.compress' in sys.modules; "
        "cache.CachedRetriever, cache.Support; "
        "print(before, 'ragopt.rerank' in sys.modules, 'CachedRetriever' in vars(cache))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", "True"]
