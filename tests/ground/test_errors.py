"""The error tree: as drawn, complete, and fit to travel between processes."""

from __future__ import annotations

import builtins
import copy
import pickle
import re

import pytest

import ragopt.errors
from ragopt.errors import BackendMissing, ProviderError, RagoptError, StorageError

DRAWN = dict(
    re.findall(r"^ +[├└]── (\w+)(?:\((\w+)\))? +\S", ragopt.errors.__doc__ or "", re.MULTILINE)
)
CLASSES: dict[str, type[RagoptError]] = {
    name: value
    for name, value in vars(ragopt.errors).items()
    if isinstance(value, type) and value.__module__ == "ragopt.errors"
}


def example(name: str) -> RagoptError:
    kind = CLASSES[name]
    if issubclass(kind, BackendMissing):
        return kind("hnswlib", "hnsw", "searching a graph")
    if issubclass(kind, ProviderError):
        return kind("the endpoint said no", status=503)
    if issubclass(kind, StorageError):
        return kind(28, "/data: the disk is full")
    return kind("got 1, expected 2")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert set(DRAWN) | {"RagoptError"} == set(CLASSES)
    for name, builtin in DRAWN.items():
        expected = (RagoptError, *([getattr(builtins, builtin)] if builtin else []))
        assert CLASSES[name].__bases__ == expected


def test_everything_is_exported_in_order() -> None:
    assert ragopt.errors.__all__ == sorted(CLASSES)


@pytest.mark.parametrize(("name", "builtin"), sorted(DRAWN.items()))
def test_each_is_caught_by_the_root_and_by_its_builtin(name: str, builtin: str) -> None:
    for kind in (RagoptError, getattr(builtins, builtin or "Exception")):
        with pytest.raises(kind) as caught:
            raise example(name)
        assert type(caught.value).__name__ == name


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_each_survives_the_way_out_of_a_worker_process(name: str) -> None:
    error = example(name)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_a_missing_package_names_the_command_that_installs_it() -> None:
    error = BackendMissing("sentence-transformers", "models", "embedding")
    assert str(error) == (
        "embedding needs the package 'sentence-transformers', which is not installed; "
        "run: pip install 'ragopt[models]'"
    )
    assert (error.package, error.extra) == ("sentence-transformers", "models")


def test_a_provider_error_knows_its_status() -> None:
    assert ProviderError("no answer").status is None
    assert ProviderError("too many requests", status=429).status == 429


def test_a_storage_error_keeps_the_number_of_the_operating_system() -> None:
    assert StorageError(28, "/data: the disk is full").errno == 28
