import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cost.model_prices import RATE_NAMES, TOKEN_CLASSES, LongContext, ModelPrice, Usage
from ragopt.cost.price_rows import format_row, format_rows, parse_rows
from ragopt.cost.prices import PriceSheet
from ragopt.errors import InputError

D = Decimal

GOOD = {"provider": "openai", "mode": "chat", "input": 2.5, "output": 10}
HEADER = {"source": "ours", "as_of": "2026-11-01"}


def file_of(tmp_path, **models):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({**HEADER, "models": models}))
    return path


def test_own_file_prices_per_million_tokens(tmp_path):
    row = {
        **GOOD,
        "cached_input": "1.25",
        "batch": {"input": 1.25},
        "above": {"200000": {"input": 5}, "9000": {"input": 3, "batch": {"input": 2}}},
    }
    model = PriceSheet.from_json(file_of(tmp_path, m=row)).model("m")
    assert model.cost(Usage(input=1_000_000)) == D(5)
    assert model.cost(Usage(input=1000, cached_input=1000)) == D("0.00125")
    assert model.cost(Usage(input=8000), "batch") == D("0.01")
    assert model.cost(Usage(input=9001), "batch") == 9001 * D("2e-6")
    assert (model.source, model.as_of, model.region, model.confidence) == (
        "ours",
        "2026-11-01",
        "global",
        "user",
    )


def test_a_true_zero_is_kept_and_a_missing_rate_is_unknown(tmp_path):
    sheet = PriceSheet.from_json(file_of(tmp_path, local={**GOOD, "input": 0, "output": 0}))
    assert sheet.model("local").cost(Usage(input=5, output=5)) == 0
    assert sheet.model("local").cached_input is None


def test_a_row_may_differ_from_the_file(tmp_path):
    row = {**GOOD, "region": "eu", "as_of": "2026-10", "source": "mail"}
    model = PriceSheet.from_json(file_of(tmp_path, m=row)).model("m")
    assert (model.region, model.as_of, model.source) == ("eu", "2026-10", "mail")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": 1}, "unknown field 'inputs'; did you mean 'input'"),
        ({"input": -1}, "input=Decimal|input=-1"),
        ({"input": True}, "input=True"),
        ({"input": None}, "input=None"),
        ({"input": "cheap"}, "input='cheap'"),
        ({"mode": "chatting"}, "mode='chatting': expected one of chat"),
        ({"provider": ""}, "provider=''"),
        ({"as_of": "yesterday"}, "as_of='yesterday'"),
        ({"batch": 0.5}, "batch: expected an object"),
        ({"batch": {"per_search": 1}}, "batch: unknown field 'per_search'"),
        ({"above": {"200k": {"input": 1}}}, "above 200k: expected a number of tokens"),
        ({"above": {"0": {"input": 1}}}, "above 0: expected a number of tokens"),
        ({"above": {"9": {"inptu": 1}}}, "above 9: unknown field 'inptu'; did you mean 'input'"),
        ({"per_search": "x"}, "per_search='x'"),
    ],
)
def test_mistakes_in_a_row_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=rf"prices\.json.*model 'm'.*({message})"):
        PriceSheet.from_json(file_of(tmp_path, good=GOOD, m={**GOOD, **change}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"as_of": "2026-11-01"}', "at least one model"),
        ('{"as_of": "2026-11-01", "models": {}}', "at least one model"),
        ('{"models": {"m": {}}}', "as_of=None: expected the date"),
        ('{"as_of": "2026-13-01", "models": {"m": {}}}', "as_of='2026-13-01'"),
        ('{"as_of": "2026-11-01", "unit": "USD per token", "models": {"m": {}}}', "unit="),
        ('{"as_of": "2026-11-01", "currency": "EUR", "models": {"m": {}}}', "currency='EUR'"),
        ('{"as_of": "2026-11-01", "modles": {}}', "unknown field 'modles'; did you mean 'models'"),
        ('{"as_of": "2026-11-01", "models": {"m": 3}}', "model 'm': expected an object"),
        ('{"as_of": "2026-11-01", "models": {"m": {}, "m": {}}}', "'m' is given twice"),
        ('{"as_of": "2026-11-01", "models": {"m": {"input": NaN}}}', "NaN is no price"),
        (
            '{"as_of": "2026-11-01", "models": {"m": {"provider": "p", "mode": "chat"}}}',
            "no price at all",
        ),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        PriceSheet.from_json(path)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        PriceSheet.from_json(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(InputError, match="cannot be read"):
        PriceSheet.from_json(tmp_path / "latin.json")


rates = st.decimals(min_value=0, max_value=1, places=15)


@st.composite
def rows(draw):
    some = st.dictionaries(st.sampled_from(RATE_NAMES), rates, min_size=1)
    thresholds = draw(st.lists(st.integers(1, 10**6), unique=True, max_size=3))
    return ModelPrice(
        name=draw(st.text(min_size=1, max_size=8)),
        provider="p",
        mode="chat",
        source=draw(st.sampled_from(["ours", "theirs"])),
        as_of="2026-11-01",
        region=draw(st.sampled_from(["global", "eu"])),
        confidence="listed",
        above=tuple(LongContext(above_tokens=n, **draw(some)) for n in sorted(thresholds)),
        **draw(some),
    )


@given(st.lists(rows(), min_size=1, max_size=5, unique_by=lambda row: row.name))
def test_what_is_written_is_read_back_exactly(some):
    text = format_rows({**HEADER, "confidence": "listed"}, some)
    assert sorted(parse_rows(text, where="x").rows, key=lambda row: row.name) == sorted(
        some, key=lambda row: row.name
    )
    assert text == format_rows({**HEADER, "confidence": "listed"}, some[::-1])


def test_equal_prices_are_written_alike():
    def row(rate):
        return ModelPrice(
            name="m", provider="p", mode="chat", source="s", as_of="2026", input=D(rate)
        )

    texts = {format_row(row(rate), {}) for rate in ("2.5e-6", "0.0000025", "2.500e-6")}
    assert texts == {
        (
            '{"provider":"p","mode":"chat","source":"s","as_of":"2026",'
            '"confidence":"listed","input":2.5}'
        )
    }


def test_every_token_class_can_be_given(tmp_path):
    row = {**GOOD, **dict.fromkeys(TOKEN_CLASSES, 1), "batch": dict.fromkeys(TOKEN_CLASSES, 2)}
    model = PriceSheet.from_json(file_of(tmp_path, m=row)).model("m")
    assert [getattr(model, name) for name in RATE_NAMES] == [D("1e-6")] * 5 + [D("2e-6")] * 5
