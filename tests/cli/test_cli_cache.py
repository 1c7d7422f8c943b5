"""``ragopt cache``: tuning on labelled pairs, looking into a file, taking answers out."""

import json
import sqlite3

import pytest

from ragopt.cache import ExactCache, Safety
from ragopt.cache.policies import Calibrated
from ragopt.cli.app import run


@pytest.fixture
def pairs(tmp_path):
    """Questions about keys: reworded, or about another thing."""
    path = tmp_path / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(600):
            same = number % 2 == 0
            thing = "token" if same else "bucket"
            row = {
                "text_a": f"How do I rotate the token of project{number}?",
                "text_b": f"how can I rotate the {thing} of project{number}",
                "label": int(same),
            }
            file.write(json.dumps(row) + "\n")
    return path


def test_tuning_prints_draws_and_stores_the_certificate(pairs, tmp_path, capsys):
    policy, picture, figures = (tmp_path / name for name in ("p.json", "p.svg", "f.json"))
    status = run(
        ["cache", "tune", str(pairs), "--max-error", "0.1", "--embedder", "lsa", "--quiet",
         "--save", str(policy), "--plot", str(picture), "--json", str(figures)]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert status == 0
    assert "serves from a similarity of" in " ".join(printed.split())
    assert "certified" in printed
    loaded = Calibrated.load(policy)
    assert loaded.certificate.holds
    assert loaded.max_error == 0.1
    assert "<svg" in picture.read_text()
    told = json.loads(figures.read_text())
    assert told["pairs"] == str(pairs)
    assert told["threshold"] == loaded.threshold


def test_what_cannot_be_certified_is_said(pairs, capsys):
    status = run(
        ["cache", "tune", str(pairs), "--max-error", "0.005", "--embedder", "lsa", "--quiet"]
    )
    assert status == 0
    assert "semantic cache off" in " ".join(capsys.readouterr().out.split())


def test_the_embedder_must_be_named(pairs, capsys):
    assert run(["cache", "tune", str(pairs), "--quiet"]) == 2
    assert "--embedder is missing" in capsys.readouterr().err


def test_what_holds_no_pairs_is_refused(tmp_path, capsys):
    log = tmp_path / "queries.txt"
    log.write_text("one\ntwo\nthree\n")
    assert run(["cache", "tune", str(log), "--embedder", "lsa", "--quiet"]) == 2
    assert "expected labelled pairs" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path) as cache:
        for number in range(5):
            sources = ["one"] if number < 2 else ["two"]
            cache.put(f"q{number}?", "a", sources=sources, tags=["t"])
    return path


def test_stats_say_what_stands_in_a_file(file, tmp_path, capsys):
    assert run(["cache", "stats", str(file), "--json", str(tmp_path / "s.json")]) == 0
    printed = capsys.readouterr().out
    assert "5 (0 of them expired)" in printed
    found = json.loads((tmp_path / "s.json").read_text())
    assert (found["entries"], found["scopes"], found["expired"]) == (5, 1, 0)
    assert 0 <= found["newest_s"] <= found["oldest_s"] < 60


def test_purging_needs_a_condition(file, capsys):
    assert run(["cache", "purge", str(file)]) == 2
    assert "give a condition, or --everything" in capsys.readouterr().err
    assert run(["cache", "purge", str(file), "--source", "one", "--tag", "t"]) == 0
    assert "2 answers taken out" in capsys.readouterr().out
    assert run(["cache", "purge", str(file), "--older-than-s", "3600"]) == 0
    assert run(["cache", "purge", str(file), "--everything"]) == 0
    with ExactCache(path=file) as cache:
        assert len(cache) == 0


def test_one_answer_is_revoked(file, capsys):
    assert run(["cache", "revoke", str(file), "3"]) == 0
    assert run(["cache", "revoke", str(file), "3"]) == 0
    printed = capsys.readouterr().out
    assert "entry 3 taken out" in printed
    assert "there is no entry 3" in printed
    with ExactCache(path=file) as cache:
        assert cache.get("q2?") is None
        assert len(cache) == 4


def test_a_log_of_hits_is_read(tmp_path, capsys):
    log = tmp_path / "hits.log"
    with ExactCache(safety=Safety(hit_log=log)) as cache:
        for number in range(3):
            cache.put(f"q{number}?", "a")
        for number in (0, 1, 1, 1, 2):
            cache.get(f"q{number}?", principal="alice")
    content = log.read_bytes()
    log.write_bytes(content.replace(b'"entry":3', b'"entry":1'))
    assert run(["cache", "audit", str(log), "--last", "2", "--json", str(tmp_path / "a.json")]) == 0
    printed = capsys.readouterr().out
    assert "4 hits: 4 exact" in printed
    assert "1 lines are torn or were altered" in printed
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["most_served"] == [[2, 3], [1, 1]]
    assert [hit["entry"] for hit in found["last"]] == [2, 2]
    assert run(["cache", "audit", str(log), "--entry", "1"]) == 0
    assert "1 hits" in capsys.readouterr().out
    assert run(["cache", "audit", str(tmp_path / "nowhere.log")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["stats"], ["purge", "--everything"], ["revoke", "1"]])
def test_a_file_that_is_not_there_is_not_made(tmp_path, command, capsys):
    path = tmp_path / "nowhere.db"
    assert run(["cache", command[0], str(path), *command[1:]]) == 2
    assert "there is no cache" in capsys.readouterr().err
    assert not path.exists()


def test_another_programs_database_is_left_alone(tmp_path, capsys):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    assert run(["cache", "purge", str(path), "--everything"]) == 2
    assert "not a ragopt cache" in " ".join(capsys.readouterr().err.split())
    assert path.read_bytes() == before
