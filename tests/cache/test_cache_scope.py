import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache import Scope
from ragopt.errors import InputError

FIELDS = ("tenant", "model", "system_prompt", "embedder_id", "corpus_version")
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
scopes = st.builds(
    Scope,
    **{name: st.text(max_size=6) for name in FIELDS},
    tools=st.lists(json_values, max_size=3),
    sampling=st.dictionaries(st.text(max_size=4), json_values, max_size=3),
)


@given(scopes, scopes)
def test_keys_are_equal_exactly_when_the_scopes_are(one, other):
    assert (one.key() == other.key()) == (one == other)
    assert (hash(one) == hash(other)) >= (one == other)


@given(st.lists(st.text(max_size=4), min_size=5, max_size=5), st.data())
def test_text_moved_from_one_field_to_the_next_gives_another_key(values, data):
    joined = "".join(values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(joined)), min_size=4, max_size=4)))
    other = [joined[a:b] for a, b in zip([0, *cuts], [*cuts, len(joined)], strict=True)]
    one = Scope(**dict(zip(FIELDS, values, strict=True)))
    two = Scope(**dict(zip(FIELDS, other, strict=True)))
    assert (one.key() == two.key()) == (values == other)


def test_quotes_and_separators_in_values_do_not_forge_another_scope():
    forged = Scope(tenant='a","model":"b')
    assert forged.key() != Scope(tenant="a", model="b").key()
    assert Scope(tenant="a|b").key() != Scope(tenant="a", model="b").key()
    assert Scope(tools=["a", "b"]).key() != Scope(tools=["ab"]).key()
    assert Scope(tools=[["a"], "b"]).key() != Scope(tools=["a", ["b"]]).key()


def test_every_field_counts():
    base = Scope()
    others = [Scope(**{name: "x"}) for name in FIELDS]
    others += [Scope(tools=[{}]), Scope(sampling={"temperature": 0}), Scope(sampling={"top_p": 0})]
    assert len({scope.key() for scope in (base, *others)}) == len(others) + 1


def test_the_order_of_dictionary_keys_does_not_count():
    assert Scope(sampling={"a": 1, "b": 2}) == Scope(sampling={"b": 2, "a": 1})
    assert Scope(tools=[{"x": 1, "y": 2}]).key() == Scope(tools=[{"y": 2, "x": 1}]).key()


def test_the_key_is_an_hmac_and_depends_on_the_secret():
    scope = Scope(tenant="acme", sampling={"temperature": 0.2})
    assert len(scope.key()) == 32
    assert len({scope.key(), scope.key(b"one"), scope.key(b"two")}) == 3
    named = {name: getattr(scope, name) for name in (*FIELDS, "sampling")} | {"tools": []}
    body = json.dumps(named, sort_keys=True, separators=(",", ":"))
    assert scope.key(b"one") == hmac.new(b"one", b"1:" + body.encode(), hashlib.sha256).digest()


def test_the_format_of_keys_is_frozen():
    # entries on disk are found by this key: changing it orphans every cache file
    scope = Scope(tenant="t", model="m", tools=[{"name": "f"}], corpus_version="7")
    assert scope.key(b"s").hex() == (
        "03b5dc391ec7c5b8ed9d9afafb7c58c24ac8d146421efea078f08a45fee50524"
    )


def test_changing_what_was_passed_in_changes_nothing():
    tools, sampling = [{"name": "search"}], {"temperature": 0}
    scope = Scope(tools=tools, sampling=sampling)
    key = scope.key()
    tools[0]["name"] = "delete"
    tools.append({})
    sampling["temperature"] = 1
    assert scope.key() == key
    assert scope.tools == ({"name": "search"},)
    assert scope.sampling == {"temperature": 0}


def test_the_system_prompt_is_not_shown():
    assert "secret words" not in repr(Scope(system_prompt="secret words", tenant="acme"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"tenant": None},
        {"model": 3},
        {"tools": "search"},
        {"tools": {"a": 1}},
        {"tools": [object()]},
        {"tools": [{1: "a"}]},
        {"tools": [{"a": {2: 3}}]},
        {"sampling": [("temperature", 1)]},
        {"sampling": {"temperature": float("nan")}},
        {"sampling": {"temperature": float("inf")}},
        {"sampling": {0: 1}},
        {"sampling": {"stop": {"x"}}},
    ],
)
def test_what_is_no_json_is_refused(arguments):
    with pytest.raises(InputError):
        Scope(**arguments)


def test_a_list_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(InputError):
        Scope(tools=loop)
