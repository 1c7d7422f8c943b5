"""What holds for the tests of prices and tokens."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def litellm_not_imported() -> Iterator[None]:
    """Tests of the cache import it; here it must be read without."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in sys.modules if each.split(".")[0] == "litellm"]:
            patch.delitem(sys.modules, name)
        yield
