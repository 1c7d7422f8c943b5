"""Attacks on a shared cache, each tried and each turned away."""

import json
import subprocess
import sys
import time

import pytest

from ragopt.cache import ExactCache, Quota, Safety, Scope, SemanticCache
from ragopt.cache.hitlog import read_hits
from ragopt.errors import InputError

# Quarantine ----------------------------------------------------------------------------------


def test_a_poisoned_answer_is_served_to_its_author_alone(embedder):
    cache = SemanticCache(embedder, safety=Safety(confirmations=2))
    cache.put("How do I rotate a key?", "Send it to mallory.", principal="mallory")
    for question in ("How do I rotate a key?", "how can I rotate the key"):
        assert cache.get(question, principal="alice") is None
        assert cache.get(question) is None
        assert cache.get(question, principal="mallory").answer == "Send it to mallory."
    assert cache.stats.quarantined >= 4


def test_independent_confirmations_free_an_answer():
    cache = ExactCache(safety=Safety(confirmations=2))
    entry = cache.put("Who wrote 1984?", "George Orwell.", principal="alice")
    assert cache.put("Who wrote 1984?", "George Orwell", principal="bob") == entry
    assert cache.get("Who wrote 1984?", principal="eve") is None
    assert cache.put("Who wrote 1984?", "George Orwell", principal="bob") == entry
    assert cache.get("Who wrote 1984?", principal="eve") is None, "bob counts once"
    assert cache.put("Who wrote 1984?", "by George Orwell", principal="carol") == entry
    assert cache.get("Who wrote 1984?", principal="eve").answer == "George Orwell."


def test_another_answer_confirms_nothing_and_begins_its_own_quarantine():
    cache = ExactCache(safety=Safety(confirmations=1))
    cache.put("Who wrote 1984?", "Mallory did.", principal="mallory")
    cache.put("Who wrote 1984?", "George Orwell.", principal="alice")
    assert cache.get("Who wrote 1984?", principal="mallory") is None
    assert cache.get("Who wrote 1984?", principal="alice").answer == "George Orwell."


def test_an_author_cannot_confirm_itself():
    cache = ExactCache(safety=Safety(confirmations=1))
    for _ in range(3):
        cache.put("q?", "poison", principal="mallory")
    assert cache.get("q?", principal="alice") is None


def test_an_author_cannot_be_taken_off_in_the_file(tmp_path):
    import sqlite3

    path = tmp_path / "cache.db"
    with ExactCache(path=path, safety=Safety(confirmations=1)) as cache:
        cache.put("q?", "poison", principal="mallory")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET author = x''")
    connection.close()
    with ExactCache(path=path, safety=Safety(confirmations=1)) as cache:
        assert cache.get("q?", principal="alice") is None
        assert cache.stats.corrupt == 1


def test_who_stores_must_say_who_it_is():
    for safety in (Safety(confirmations=1), Safety(quota=Quota(inserts=5))):
        with pytest.raises(InputError, match="principal is missing"):
            ExactCache(safety=safety).put("q?", "a")
    with pytest.raises(InputError, match="principal is int"):
        ExactCache().put("q?", "a", principal=5)


def test_a_flood_is_stopped_by_the_quota(clock):
    cache = ExactCache(clock=clock, safety=Safety(quota=Quota(inserts=3, seconds=60)))
    stored = [cache.put(f"q{n}?", "a", principal="mallory") for n in range(10)]
    assert sum(entry is not None for entry in stored) == 3
    assert dict(cache.stats.not_admitted) == {"quota": 7}
    assert cache.put("another?", "a", principal="alice") is not None
    clock.now += 61
    assert cache.put("later?", "a", principal="mallory") is not None


# Scopes --------------------------------------------------------------------------------------


FIELDS = ["tenant", "model", "system_prompt", "corpus_version"]


@pytest.mark.parametrize("field", FIELDS)
def test_no_scope_reads_another(embedder, field):
    cache = SemanticCache(embedder, threshold=0.5, guards=())
    cache.put("rotate key", "secret", scope=Scope(**{field: "victim"}))
    for other in (
        None,
        Scope(**{field: "attacker"}),
        Scope(**{field: "victim "}),
        Scope(tenant="x"),
    ):
        assert cache.get("rotate key", scope=other) is None
        assert cache.get("key rotate", scope=other) is None
    assert cache.get("key rotate", scope=Scope(**{field: "victim"})) is not None


def test_fields_cannot_be_strung_together_to_a_collision():
    keys = {
        Scope(tenant="a", model="bc").key(),
        Scope(tenant="ab", model="c").key(),
        Scope(tenant='a","model":"bc').key(),
        Scope(tenant="a", model="b", system_prompt="c").key(),
        Scope(tenant="a", sampling={"model": "bc"}).key(),
        Scope(tenant="a", tools=["bc"]).key(),
    }
    assert len(keys) == 6


def test_a_stale_corpus_is_not_served():
    cache = ExactCache()
    cache.put("q?", "old", scope=Scope(corpus_version="1"), sources=["doc"])
    assert cache.get("q?", scope=Scope(corpus_version="2")) is None
    assert cache.purge(corpus_version="1") == 1
    assert cache.get("q?", scope=Scope(corpus_version="1")) is None


def test_hits_and_puts_of_others_do_not_renew_a_lifetime(clock):
    cache = ExactCache(clock=clock, ttl_s=100, safety=Safety(confirmations=1))
    cache.put("q?", "a", principal="mallory")
    for step in range(9):
        clock.now += 10
        cache.put("q?", "a", principal=f"p{step}")
        assert cache.get("q?", principal="alice") is not None
    clock.now += 11
    assert cache.get("q?", principal="alice") is None


def test_a_clock_set_back_serves_nothing_for_longer(clock):
    cache = ExactCache(clock=clock, ttl_s=100)
    cache.put("q?", "a")
    clock.now -= 50
    assert cache.get("q?") is None
    assert cache.stats.expired == 1


# Timing and records --------------------------------------------------------------------------


def test_a_hit_takes_no_less_than_the_floor():
    cache = ExactCache(safety=Safety(latency_floor_s=0.05))
    cache.put("q?", "a")
    begin = time.perf_counter()
    assert cache.get("q?") is not None
    assert time.perf_counter() - begin >= 0.05


def test_every_hit_is_on_record(tmp_path, embedder, clock):
    log = tmp_path / "logs" / "hits.log"
    cache = SemanticCache(embedder, clock=clock, safety=Safety(hit_log=log))
    entry = cache.put("How do I rotate a key?", "Use rotate().", scope=Scope(tenant="t"))
    cache.get("how do I rotate a key", scope=Scope(tenant="t"), principal="alice")
    cache.get("how can I rotate the key", scope=Scope(tenant="t"))
    cache.get("something else", scope=Scope(tenant="t"))
    first, second = read_hits(log)
    assert (first.entry, first.tier, first.time) == (entry, "exact", clock.now)
    assert (second.entry, second.tier) == (entry, "semantic")
    assert first.similarity == 1.0
    assert first.scope == second.scope
    assert first.principal
    assert not second.principal
    text = log.read_text()
    for secret in ("alice", "rotate", "tenant"):
        assert secret not in text


@pytest.mark.parametrize("damage", ["cut", "altered", "garbage"])
def test_a_torn_or_altered_line_is_known_for_one(tmp_path, damage):
    log = tmp_path / "hits.log"
    cache = ExactCache(safety=Safety(hit_log=log))
    cache.put("q?", "a")
    for _ in range(3):
        cache.get("q?")
    content = log.read_bytes()
    log.write_bytes(
        {
            "cut": content[:-20],
            "altered": content.replace(b'"entry":1', b'"entry":2', 1),
            "garbage": content + b"\xff\xfe\n",
        }[damage]
    )
    found = list(read_hits(log))
    assert found.count(None) == 1
    assert len(found) == (4 if damage == "garbage" else 3)


APPEND = """
import sys
from ragopt.cache import ExactCache, Safety
cache = ExactCache(safety=Safety(hit_log=sys.argv[1]))
cache.put("q?", "a")
for _ in range(300):
    cache.get("q?")
"""


def test_processes_append_to_one_log(tmp_path):
    log = tmp_path / "hits.log"
    running = [subprocess.Popen([sys.executable, "-c", APPEND, str(log)]) for _ in range(4)]
    assert [each.wait(60) for each in running] == [0, 0, 0, 0]
    found = list(read_hits(log))
    assert len(found) == 1200
    assert None not in found


def test_a_log_is_for_its_owners_eyes(tmp_path):
    log = tmp_path / "hits.log"
    ExactCache(safety=Safety(hit_log=log))
    assert log.stat().st_mode & 0o077 == 0


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.log: cannot be read"):
        list(read_hits(tmp_path / "nowhere.log"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"confirmations": -1}, "confirmations=-1"),
        ({"confirmations": True}, "confirmations=True"),
        ({"latency_floor_s": -1}, "expected 0 to 60"),
        ({"latency_floor_s": float("inf")}, "expected 0 to 60"),
    ],
)
def test_bad_rules_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        Safety(**options)


def test_lines_are_json_after_their_checksum(tmp_path):
    log = tmp_path / "hits.log"
    cache = ExactCache(safety=Safety(hit_log=log))
    cache.put("q?", "a")
    cache.get("q?")
    assert json.loads(log.read_text().partition(" ")[2])["entry"] == 1
