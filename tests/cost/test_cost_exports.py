import os
import subprocess
import sys

import pytest

import ragopt.cost


def test_every_public_name_resolves_and_is_listed():
    assert ragopt.cost.__all__ == sorted(
        ragopt.cost.__all__, key=lambda name: (name.islower(), name)
    )
    for name in ragopt.cost.__all__:
        assert getattr(ragopt.cost, name).__module__.startswith("ragopt.cost.")
        assert name in dir(ragopt.cost)
    assert set(ragopt.cost._HOMES) == set(ragopt.cost.__all__)


def test_unknown_names_raise():
    with pytest.raises(AttributeError, match="no attribute 'PriceShed'"):
        _ = ragopt.cost.PriceShed


def test_import_is_cheap():
    heavy = ("numpy", "sqlite3", "tiktoken", "decimal")
    code = f"import sys, ragopt.cost; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
