"""What ``import ragopt`` offers, what it costs, and that every package is shipped."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ragopt
from ragopt.benchmarks.import_time import ImportCost, main, parse, report

ROOT = Path(__file__).parents[2]
ROOMS = {"": "ragopt", **{room: room for room in ("indexes", "rerank", "compress", "benchmarks")}}
HEAVY = "numpy scipy faiss torch rich typer sqlite3 httpx tiktoken bm25s rank_bm25".split()


def declared_for_type_checkers() -> dict[str, str]:
    """Names imported under ``if TYPE_CHECKING``, and from where."""
    source = Path(ragopt.__file__).read_text("utf-8")
    blocks = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    assert len(blocks) == 1
    imports = blocks[0].body
    assert all(isinstance(node, ast.ImportFrom) and node.module for node in imports)
    return {name.asname or name.name: node.module for node in imports for name in node.names}


# Names ------------------------------------------------------------------------------------


def test_all_names_what_resolves_and_nothing_else() -> None:
    assert ragopt.__all__ == sorted({*ragopt._HOMES, "__version__"})


def test_type_checkers_see_what_python_resolves() -> None:
    assert declared_for_type_checkers() == ragopt._HOMES


@pytest.mark.parametrize("name", ragopt.__all__)
def test_every_name_resolves_to_its_home(name) -> None:
    value = getattr(ragopt, name)
    home = ragopt._HOMES.get(name)
    if home is not None:
        assert value is getattr(importlib.import_module(home), name)
        assert name in importlib.import_module(home).__all__
        assert value.__doc__
    assert name in dir(ragopt)
    assert vars(ragopt)[name] is value


def test_a_star_brings_in_every_name() -> None:
    names: dict[str, object] = {}
    exec("from ragopt import *", names)
    assert set(ragopt.__all__) <= set(names)


@pytest.mark.parametrize("name", ["Pipelines", "pipeline_", "__wrapped__", "_HOME"])
def test_an_unknown_name_is_no_attribute(name) -> None:
    with pytest.raises(AttributeError, match=f"module 'ragopt' has no attribute '{name}'"):
        getattr(ragopt, name)
    assert not hasattr(ragopt, name)
    assert name not in dir(ragopt)


def test_an_unknown_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="Pipelines"):
        exec("from ragopt import Pipelines")


def test_the_version_is_that_of_the_installed_distribution() -> None:
    try:
        installed = importlib.metadata.version("ragopt")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ragopt is not installed here")
    assert ragopt.__version__ == installed


def test_the_version_is_that_of_the_project_file() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'version = "{ragopt.__version__}"' in text.partition("[project]")[2]


# What the import costs --------------------------------------------------------------------

LOADED = """
import sys
before = set(sys.modules)
import {module}
print(*sorted(set(sys.modules) - before))
"""


def loaded_by(module: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(module=module)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_importing_ragopt_loads_nothing_heavy() -> None:
    loaded = loaded_by("ragopt")
    assert "ragopt" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert {name for name in loaded if name.startswith("ragopt.")} == set()
    assert len(loaded) < 40


@pytest.mark.parametrize(
    "module", ["ragopt.pipeline", "ragopt.corpus", "ragopt.cache", "ragopt.llm", "ragopt.cli"]
)
def test_optional_and_slow_packages_wait_for_their_first_use(module) -> None:
    waits = set(HEAVY) - {"numpy", "sqlite3"}
    assert loaded_by(module).isdisjoint(waits)


# What is shipped --------------------------------------------------------------------------


def listed_packages() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    if sys.version_info >= (3, 11):
        import tomllib

        return list(tomllib.loads(text)["tool"]["setuptools"]["packages"])
    block = re.search(
        r"^\[tool\.setuptools\]\s+packages = \[(.*?)\]", text, re.DOTALL | re.MULTILINE
    )
    assert block is not None
    return re.findall(r'"([\w.]+)"', block[1])


def package_folders() -> dict[str, Path]:
    """Import name of every folder of ours that is a package."""
    found = {}
    for room, folder in ROOMS.items():
        top = ROOT / folder
        for init in top.rglob("__init__.py"):
            inner = init.parent.relative_to(top).parts
            found[".".join(filter(None, ("ragopt", room, *inner)))] = init.parent
    return found


def test_every_package_folder_is_shipped() -> None:
    listed = listed_packages()
    assert len(listed) == len(set(listed))
    assert set(listed) == set(package_folders())


def test_every_folder_with_code_is_a_package() -> None:
    packages = set(package_folders().values())
    for folder in ROOMS.values():
        holding = {path.parent for path in (ROOT / folder).rglob("*.py")}
        assert holding <= packages


@pytest.mark.parametrize("name", sorted(package_folders()))
def test_every_package_imports_and_lists_what_it_has(name) -> None:
    package = importlib.import_module(name)
    for public in getattr(package, "__all__", ()):
        assert hasattr(package, public), f"{name}.{public}"


# The import benchmark ---------------------------------------------------------------------

LOG = """\
import time: self [us] | cumulative | imported package
import time:        11 |         11 |   _io
import time:       100 |        111 | site
import time:        50 |         50 |     re
import time:      1818 |       1868 |   typing
import time:       900 |       2768 | ragopt
import time:         7 |          7 | atexit
"""


def test_an_import_log_is_read() -> None:
    assert parse(LOG) == [
        ImportCost("ragopt", 900, 2768),
        ImportCost("typing", 1818, 1868),
        ImportCost("re", 50, 50),
    ]
    assert parse(LOG, "site") == [ImportCost("site", 100, 111), ImportCost("_io", 11, 11)]
    assert parse(LOG, "atexit") == [ImportCost("atexit", 7, 7)]


@pytest.mark.parametrize("log", ["", "Traceback", LOG.replace("ragopt", "another")])
def test_a_log_without_the_package_is_refused(log) -> None:
    with pytest.raises(ValueError, match="no import of 'ragopt'"):
        parse(log)


def test_the_slowest_modules_are_shown_first() -> None:
    assert report(parse(LOG), 50).splitlines() == [
        "import ragopt: 2.8 ms, 3 modules, limit 50 ms",
        "    1.82 ms  typing",
        "    0.90 ms  ragopt",
        "    0.05 ms  re",
    ]


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--limit", "0"], ["--limit", "nan"]])
def test_unusable_options_are_refused(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "expected both above 0" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "status"), [("1e9", 0), ("1e-9", 1)])
def test_the_exit_status_says_whether_the_limit_holds(limit, status, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert main(["--runs", "1", "--limit", limit]) == status
    assert capsys.readouterr().out.startswith("import ragopt: ")
