import datetime
import sqlite3
import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.cost import CostEvent, Ledger, PriceSheet, Totals, Usage
from ragopt.errors import InputError

D = Decimal

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.timezone.utc)
HOUR = datetime.timedelta(hours=1)


def event(usd="0.001", /, **fields):
    return CostEvent(
        **{"kind": "generation", "model": "gpt-4o", "usd": D(usd), "time": NOW} | fields
    )


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "deep" / "ledger.db") as opened:
        yield opened


FULL = event(
    "0.00123456789",
    saved_usd=D("-0.5"),
    usage=Usage(input=10, cached_input=3, cache_write_5m=2, cache_write_1h=1, output=7),
    price_id="litellm-1/gpt-4o@2026-11-22",
    ms=12.5,
    outcome="timeout",
    tags={"team": "søk", "a:b.c-d": 'quote " and \\ and 中'},
    time=NOW + datetime.timedelta(microseconds=1),
)


def test_an_event_comes_back_as_it_was(ledger):
    ledger.record(FULL)
    assert list(ledger.events()) == [FULL]
    assert len(ledger) == 1


def test_events_survive_closing_and_opening(tmp_path):
    with Ledger(tmp_path / "l.db") as first:
        first.record(FULL)
    with Ledger(tmp_path / "l.db") as second:
        second.record(event())
        assert list(second.events()) == [FULL, event()]
        second.verify()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(
            CostEvent,
            kind=st.sampled_from(["generation", "rerank"]),
            model=st.text(
                st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9
            ),
            usd=st.decimals(0, 10**6, places=12),
            saved_usd=st.decimals(-(10**6), 10**6, places=12),
            usage=st.builds(Usage, input=st.integers(0, 2**53), output=st.integers(0, 2**53)),
            ms=st.floats(0, 1e9),
            tags=st.dictionaries(
                st.sampled_from(["team", "user"]), st.sampled_from(["a", "b", "é"])
            ),
            time=st.datetimes(timezones=st.just(datetime.timezone.utc)),
        ),
        max_size=12,
    )
)
def test_totals_are_exact_for_any_events(some):
    with Ledger(":memory:") as ledger:
        ledger.record_many(some)
        assert list(ledger.events()) == some
        (grand,) = ledger.total()
        assert grand.usd == sum((one.usd for one in some), D(0))
        assert grand.saved_usd == sum((one.saved_usd for one in some), D(0))
        assert grand.input_tokens == sum(one.usage.input for one in some)
        assert grand.events == len(some)
        for by, key in (
            ("model", lambda one: one.model),
            ("tag:team", lambda one: one.tags.get("team")),
        ):
            rows = ledger.total(by=by)
            assert {row.key for row in rows} == {key(one) for one in some}
            assert sum((row.usd for row in rows), D(0)) == grand.usd
        ledger.verify()


def test_totals_by_hand(ledger):
    ledger.record_many(
        [
            event("1", usage=Usage(input=10, cached_input=4, output=1), tags={"team": "a"}),
            event(
                "2", usage=Usage(input=20, cache_write_5m=5, cache_write_1h=6), tags={"team": "b"}
            ),
            event("4", kind="rerank", model="r", saved_usd=D("0.5")),
        ]
    )
    assert ledger.total() == [
        Totals(
            key=None, events=3, input_tokens=30, cached_input_tokens=4, cache_write_tokens=11,
            output_tokens=1, usd=D(7), saved_usd=D("0.5"),
        )
    ]  # fmt: skip
    assert [(row.key, row.usd) for row in ledger.total(by="model")] == [("r", 4), ("gpt-4o", 3)]
    assert [(row.key, row.events) for row in ledger.total(by="kind")] == [
        ("rerank", 1),
        ("generation", 2),
    ]
    assert [(row.key, row.usd) for row in ledger.total(by="tag:team")] == [
        (None, 4),
        ("b", 2),
        ("a", 1),
    ]
    assert [row.key for row in ledger.total(by="outcome")] == ["ok"]


def test_an_empty_ledger_totals_zero(ledger):
    (grand,) = ledger.total()
    assert (grand.events, grand.usd, grand.saved_usd, grand.input_tokens) == (0, 0, 0, 0)
    assert ledger.total(by="model") == []
    assert list(ledger.events()) == []
    ledger.record_many([])
    ledger.verify()


def test_time_bounds_are_from_inclusive_until_exclusive(ledger):
    ledger.record_many([event("1", time=NOW - HOUR), event("2"), event("4", time=NOW + HOUR)])
    assert [row.usd for row in ledger.events(since=NOW)] == [2, 4]
    assert [row.usd for row in ledger.events(until=NOW)] == [1]
    assert ledger.total(since=NOW, until=NOW + HOUR)[0].usd == 2
    zone = datetime.timezone(5 * HOUR)
    assert ledger.total(since=NOW.astimezone(zone))[0].usd == 6


def test_tag_filter_asks_for_all_tags(ledger):
    ledger.record_many(
        [event("1", tags={"team": "a", "user": "u"}), event("2", tags={"team": "a"}), event("4")]
    )
    assert [row.usd for row in ledger.events(tags={"team": "a"})] == [1, 2]
    assert [row.usd for row in ledger.events(tags={"team": "a", "user": "u"})] == [1]
    assert list(ledger.events(tags={"team": "z"})) == []


def test_events_are_read_in_pages_without_what_is_appended_meanwhile(ledger):
    ledger.record_many([event(ms=float(n)) for n in range(12_345)])
    reading = ledger.events()
    seen = [next(reading).ms]
    ledger.record(event(ms=1e6))
    seen += [one.ms for one in reading]
    assert seen == [float(n) for n in range(12_345)]


def test_money_is_exact_past_where_floats_and_64_bits_end(ledger):
    ledger.record_many([event("0.1")] * 10 + [event("9000000")] * 3 + [event("0.000000000001")])
    assert ledger.total()[0].usd == D("27000001.000000000001")


def test_published_prices_are_whole_picodollars():
    for model in PriceSheet.default().models():
        for name in (
            "input",
            "cached_input",
            "cache_write_5m",
            "output",
            "batch_input",
            "per_search",
        ):
            rate = getattr(model, name)
            assert rate is None or rate == rate.quantize(D("1e-12")), (model.name, name)


def test_finer_money_is_rounded_before_it_is_recorded(ledger):
    odd = event("0.0000000000015")
    assert odd.usd == D("2e-12")
    ledger.record(odd)
    assert ledger.total()[0].usd == D("2e-12")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": ""}, "kind=''"),
        ({"kind": None}, "kind=None"),
        ({"model": "x" * 513}, "model="),
        ({"outcome": "a\0b"}, "without surrogates and NUL"),
        ({"model": "\ud800"}, "without surrogates"),
        ({"usd": 0.1}, "money is Decimal, got float"),
        ({"usd": 1}, "money is Decimal, got int"),
        ({"usd": D("-0.1")}, "expected 0 or more"),
        ({"usd": D("NaN")}, "below"),
        ({"usd": D("Infinity")}, "below"),
        ({"usd": D("9300000")}, "below"),
        ({"saved_usd": D("-9300000")}, "below"),
        ({"usage": {"input": 3}}, "expected a Usage"),
        ({"usage": Usage(input=2**53 + 1)}, r"usage.input=\d+: expected at most"),
        ({"ms": -1}, "ms=-1"),
        ({"ms": float("nan")}, "ms=nan"),
        ({"ms": True}, "ms=True"),
        ({"tags": ["team"]}, "expected a mapping"),
        ({"tags": {"a b": "c"}}, "tag 'a b'"),
        ({"tags": {'a"]': "c"}}, "tag 'a"),
        ({"tags": {"team": 3}}, "tag team=3"),
        ({"time": NOW.replace(tzinfo=None)}, "expected a datetime with its zone"),
        ({"time": 0}, "expected a datetime"),
    ],
)
def test_bad_events_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        event(**change)


def test_tags_are_frozen_copies():
    tags = {"team": "a"}
    one = event(tags=tags)
    tags["team"] = "b"
    assert one.tags == {"team": "a"}
    with pytest.raises(TypeError):
        one.tags["team"] = "c"


def test_a_rejected_batch_records_nothing(ledger):
    with pytest.raises(InputError, match="event of type str"):
        ledger.record_many([event(), "event"])
    assert len(ledger) == 0


@pytest.mark.parametrize("by", ["team", "usd", "", "tag:", "tag:a b", 3, "tag:'"])
def test_unknown_groupings_are_refused(ledger, by):
    with pytest.raises(InputError, match="by="):
        ledger.total(by=by)


def test_bad_filters_are_refused_at_the_call(ledger):
    with pytest.raises(InputError, match="since="):
        ledger.events(since=NOW.replace(tzinfo=None))
    with pytest.raises(InputError, match="until="):
        ledger.total(until="today")
    with pytest.raises(InputError, match="tag 'a b'"):
        ledger.events(tags={"a b": "c"})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET usd_pico = 0",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
    ],
)
def test_the_schema_itself_refuses_changes(tmp_path, statement):
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.record(event())
        other = sqlite3.connect(tmp_path / "l.db")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
        other.close()
        assert list(ledger.events()) == [event()]


def test_threads_share_a_ledger(ledger):
    def write(name):
        for _ in range(20):
            ledger.record(event(tags={"user": name}))

    threads = [threading.Thread(target=write, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.events for row in ledger.total(by="tag:user")] == [20] * 4
    ledger.verify()


def test_repr_names_the_file(ledger):
    assert repr(ledger).endswith("ledger.db')")
    assert repr(ledger).startswith("Ledger('")
