import base64
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.cost import TokenCount, TokenCounter, token_counter, tokens
from ragopt.cost.token_estimate import _BLOCK_CHARS, estimate_tokens
from ragopt.errors import InputError

CACHED = {
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch, tmp_path):
    """No ranks anywhere, and a network that fails loudly."""

    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(tokens, "_litellm_folder", lambda: tmp_path / "no-litellm")
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def ranks(monkeypatch, tmp_path):
    """A folder with tiny ranks (every byte, and "ab") under the names of the real files."""
    content = b"\n".join(
        base64.b64encode(token) + b" %d" % rank
        for rank, token in enumerate([*(bytes([n]) for n in range(256)), b"ab"])
    )
    folder = tmp_path / "ranks"
    folder.mkdir()
    known = {}
    for name, encoding in tokens._ENCODINGS.items():
        (folder / encoding.file).write_bytes(content)
        known[name] = tokens._Encoding(
            name=name,
            file=encoding.file,
            sha256=hashlib.sha256(content).hexdigest(),
            pattern=encoding.pattern,
        )
    monkeypatch.setattr(tokens, "_ENCODINGS", known)
    return folder


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """The published ranks, when the evaluation data is at hand."""
    source = os.environ.get("RAGOPT_DATA")
    if not source or not (Path(source) / "tokenizers").is_dir():
        pytest.skip("RAGOPT_DATA names no folder with tokenizers/")
    folder = tmp_path_factory.mktemp("ranks")
    for name, file in CACHED.items():
        shutil.copy(Path(source) / "tokenizers" / f"{name}.tiktoken", folder / file)
    return folder


# Which method


def test_nothing_on_disk_gives_a_labelled_estimate():
    counter = token_counter("gpt-4o")
    assert counter.method == "estimate"
    assert counter.measure("four words of text") == TokenCount(4, "estimate")


def test_given_folder(ranks):
    counter = token_counter(cache_dir=ranks)
    assert counter.method == "tiktoken:o200k_base"
    assert counter.count("ab abc") == 4  # "ab", then " ", "ab" and "c"
    assert counter.measure("ab") == TokenCount(1, "tiktoken:o200k_base")


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_folder_named_by_the_environment(ranks, monkeypatch, variable):
    monkeypatch.setenv(variable, str(ranks))
    assert token_counter().method == "tiktoken:o200k_base"


def test_folder_that_tiktoken_itself_uses(ranks, tmp_path):
    ranks.rename(tmp_path / "tmp" / "data-gym-cache")
    assert token_counter().method == "tiktoken:o200k_base"


def test_ranks_of_an_installed_litellm(ranks, monkeypatch):
    monkeypatch.setattr(tokens, "_litellm_folder", lambda: ranks)
    assert token_counter().method == "tiktoken:o200k_base"


def test_litellm_is_found_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.undo()
    info = tmp_path / "litellm-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: litellm\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tokens._litellm_folder() == tmp_path / "litellm/litellm_core_utils/tokenizers"
    assert "litellm" not in sys.modules


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (None, "tiktoken:o200k_base"),
        ("gpt-4o-mini", "tiktoken:o200k_base"),
        ("azure/gpt-4.1", "tiktoken:o200k_base"),
        ("o3-mini", "tiktoken:o200k_base"),
        ("ft:gpt-4o:mine", "tiktoken:o200k_base"),
        ("gpt-4-turbo", "tiktoken:cl100k_base"),
        ("openai/gpt-3.5-turbo", "tiktoken:cl100k_base"),
        ("text-embedding-3-small", "tiktoken:cl100k_base"),
        ("claude-sonnet-4-5", "proxy:o200k_base"),
        ("gpt-9-unheard-of", "proxy:o200k_base"),
        ("gemini/gemini-2.5-pro", "proxy:o200k_base"),
    ],
)
def test_model_decides_the_encoding_and_the_label(ranks, model, method):
    assert token_counter(model, cache_dir=ranks).method == method


def test_given_folder_without_ranks_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"{CACHED['o200k_base']}, is missing"):
        token_counter(cache_dir=tmp_path)


@pytest.mark.parametrize("keep", [0, 100])
def test_damaged_ranks_are_refused_kept_and_never_fetched_again(ranks, monkeypatch, caplog, keep):
    path = ranks / CACHED["o200k_base"]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="is damaged"):
        token_counter(cache_dir=ranks)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(ranks))
    assert token_counter().method == "estimate"
    assert "damaged ranks" in caplog.text
    assert path.stat().st_size == keep


def test_model_name_must_not_be_empty():
    with pytest.raises(InputError, match="model=' '"):
        token_counter(" ")


def test_importing_does_not_load_tiktoken():
    code = "import sys, ragopt.cost.tokens; print('tiktoken' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


# Counting


@pytest.mark.parametrize("counter", [token_counter(), TokenCounter(len, "estimate")])
def test_counters_refuse_what_is_no_text(counter):
    for bad in (None, b"abc", 3):
        with pytest.raises(InputError, match="expected a string"):
            counter.count(bad)
    with pytest.raises(InputError, match="texts is one string"):
        counter.count_many("abc")


def test_many_match_single(ranks):
    texts = ["", "ab", "abab ab", "é", "\ud800", "<|endoftext|>"]
    for counter in (token_counter(), token_counter(cache_dir=ranks)):
        assert counter.count_many(texts) == [counter.count(text) for text in texts]
        assert counter.count("") == 0
        assert counter.count("<|endoftext|>") > 1
    assert "proxy" in repr(token_counter("claude", cache_dir=ranks))


def test_provider_counts_carry_their_label():
    assert TokenCount.provider(12) == TokenCount(12, "provider")


@pytest.mark.parametrize("bad", [-1, True, 1.5, None])
def test_counts_are_whole_numbers(bad):
    with pytest.raises(InputError, match="tokens="):
        TokenCount(bad, "provider")
    with pytest.raises(InputError, match="method=''"):
        TokenCount(1, "")


# The estimate

ALPHABET = st.one_of(
    st.sampled_from(list("aabcdeXYZ   \n\n\t.,;'_-(){}0123456789\"\r")),
    st.sampled_from(list("éßñžđ中文字あアン한국бвгαβעברعरไ…—“€\u200d😀👍\ud800")),
    st.characters(),
)


@given(st.text(ALPHABET, max_size=60), st.text(ALPHABET, max_size=8))
@settings(max_examples=400, deadline=None)
def test_appending_never_lowers_the_estimate(text, more):
    assert estimate_tokens(text) <= estimate_tokens(text + more)


@given(st.text(ALPHABET, max_size=200))
@settings(deadline=None)
def test_estimate_lies_between_one_token_and_three_per_character(text):
    assert bool(text) <= estimate_tokens(text) <= 3 * len(text)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog.", 9, 11),
        ("def __init__(self, *, max_tokens: int = 512) -> None:", 14, 22),
        ("1234567890", 4, 5),
        ("中文分词是自然语言处理的基础。", 9, 15),
        ("L'été dernier, j'étais à l'école.", 8, 14),
        (" " * 640, 10, 12),
        ("x" * 1000, 300, 1000),
    ],
)
def test_estimates_of_known_texts(text, least, most):
    assert least <= estimate_tokens(text) <= most


def test_texts_longer_than_a_block_count_once():
    text = "one two three. " * (_BLOCK_CHARS // 15 + 100)
    per_sentence = estimate_tokens("one two three. " * 1000) / 1000
    assert abs(estimate_tokens(text) / (len(text) / 15) - per_sentence) < 0.01
    head = text[: _BLOCK_CHARS - 2]
    counts = [estimate_tokens(head + "word\n"[:n]) for n in range(6)]
    assert counts == sorted(counts)


@pytest.mark.data
def test_real_ranks_give_published_counts(real):
    assert token_counter("gpt-4o", cache_dir=real).count("tiktoken is great!") == 6
    assert token_counter("gpt-4", cache_dir=real).count("tiktoken is great!") == 6
    assert token_counter("gpt-4", cache_dir=real).count("antidisestablishmentarianism") == 6


@pytest.mark.data
def test_our_reading_of_the_ranks_equals_tiktokens_own(real, monkeypatch):
    tiktoken = pytest.importorskip("tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(real))
    text = Path(tokens.__file__).read_text() + "L'été 中文 123456 DON'T Don't\r\n\r\n   x\n"
    for model, name in (("gpt-4o", "o200k_base"), ("gpt-4", "cl100k_base")):
        theirs = len(tiktoken.get_encoding(name).encode_ordinary(text))
        assert token_counter(model).count(text) == theirs


@pytest.mark.data
def test_estimate_is_near_the_real_count_of_prose_and_code(real):
    exact, estimated = token_counter(cache_dir=real), token_counter()
    assert estimated.method == "estimate"
    sources = [Path(os.__file__).with_name(name) for name in ("textwrap.py", "heapq.py", "csv.py")]
    for path in sources:
        text = path.read_text()
        assert abs(estimated.count(text) / exact.count(text) - 1) < 0.12
