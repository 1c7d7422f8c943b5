"""Development sessions; `nox -s lint types tests` is what CI runs."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

HERE = Path(__file__).parent
CONSTRAINTS = str(HERE / "constraints.txt")


def install(session: nox.Session, *packages: str) -> None:
    session.install("--constraint", CONSTRAINTS, *packages)


def install_torch(session: nox.Session) -> None:
    """Before anything that depends on it: the constraint keeps to the CPU build."""
    install(session, "torch")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on the installed package, from outside the tree: what users' checkers see."""
    install(session, "mypy", ".[http]")
    outside = session.create_tmp()
    session.chdir(outside)
    session.run("mypy", "--config-file", str(HERE / "pyproject.toml"), "-p", "ragopt")


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite; arguments after -- go to pytest."""
    install_torch(session)
    install(session, "--editable", ".[test]")
    session.run("python", "-m", "ragopt.benchmarks.import_time")
    session.run("pytest", *session.posargs, env={"HF_HUB_OFFLINE": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """Kernels under pytest-benchmark; shown, never judged."""
    install_torch(session)
    install(session, "--editable", ".[test]")
    session.run("pytest", "--benchmark-only", *session.posargs, env={"HF_HUB_OFFLINE": "1"})


@nox.session
def notebooks(session: nox.Session) -> None:
    """Execute every notebook."""
    install(session, "--editable", ".[plot]", "nbclient", "nbformat", "ipykernel")
    for notebook in sorted((HERE / "notebooks").glob("*.ipynb")):
        session.run("python", str(HERE / "notebooks" / "execute.py"), str(notebook))


@nox.session
def demo(session: nox.Session) -> None:
    """The main job, as a new user runs it."""
    install(session, ".")
    session.run("ragopt", "demo", *session.posargs)
