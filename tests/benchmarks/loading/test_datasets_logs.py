"""Query logs, prompts, OpenAI-style logs, traces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragopt.benchmarks.datasets import QueryLog, TraceSet, load
from ragopt.errors import InputError

Write = Callable[..., Path]


def queries(path: Path, kind: str | None = None) -> tuple[str, ...]:
    found = load(path, kind=kind)
    assert isinstance(found, QueryLog)
    return found.queries


def trace(path: Path, kind: str | None = None) -> TraceSet:
    found = load(path, kind=kind)
    assert isinstance(found, TraceSet)
    return found


def test_numbered_lines_and_old_encodings(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes("1:after school\r\n2:time 12:30\n\n3:the pi\u00f1ata".encode("latin-1"))
    assert queries(path) == ("after school", "time 12:30", "the pi\u00f1ata")
    path.write_text("10: downing street\nhow to\nhow to\n", "utf-8")
    assert queries(path) == ("10: downing street", "how to", "how to")


def test_the_first_cell_of_a_tsv_when_it_is_called_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.tsv"
    path.write_text("who sings\t['x']\nwhere is\t['y']\n")
    with pytest.raises(InputError, match="kind='queries'"):
        load(path)
    assert queries(path, "queries") == ("who sings", "where is")


def test_logs_without_queries(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for content, reason in ((b"", "is empty"), (b" \n\n", "is empty"), (b"1:\n2: \n", "no query")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            load(path)
    path.write_bytes(b"a\x00b\n")
    with pytest.raises(InputError, match="NUL"):
        load(path)


def test_prompts(write_rows: Write) -> None:
    assert queries(write_rows("p.jsonl", [{"prompt": " Explain. "}])) == ("Explain.",)
    assert queries(write_rows("p.jsonl", [{"query": "a"}, {"query": "b"}])) == ("a", "b")
    with pytest.raises(InputError, match=r"line 2: .*'prompt'"):
        queries(write_rows("p.jsonl", [{"prompt": "a"}, {"prompt": ""}]))


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "First?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": [{"type": "text", "text": "Second?"}, {"type": "image_url"}]},
    {"role": "assistant", "content": None},
]


def request(**more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"messages": MESSAGES, "usage": usage, "created": 100, **more}


def test_last_user_messages(write_rows: Write) -> None:
    rows = [
        request(),
        {"custom_id": "1", "body": {"messages": MESSAGES[:2]}},
        {"custom_id": "2", "body": {"input": "an embedding"}},
        {"messages": MESSAGES[:1]},
    ]
    assert queries(write_rows("log.jsonl", rows)) == ("Second?", "First?")
    with pytest.raises(InputError, match="no query"):
        queries(write_rows("log.jsonl", rows[3:]))
    with pytest.raises(InputError, match="line 2: field 'messages'"):
        queries(write_rows("log.jsonl", [rows[0], {"messages": "Hi"}]))


def test_the_trace_of_a_log(write_rows: Write) -> None:
    late = {
        "body": {"messages": MESSAGES},
        "response": {
            "body": {"created": 90.5, "usage": {"input_tokens": 7, "output_tokens": 3}},
        },
    }
    path = write_rows("log.jsonl", [request(), late, {"messages": MESSAGES, "error": "timeout"}])
    found = trace(path, "trace")
    assert found.seconds.tolist() == [0, 9.5]
    assert found.input_tokens.tolist() == [7, 10]
    assert found.output_tokens.tolist() == [3, 5]
    assert found.blocks == ()
    with pytest.raises(InputError, match="line 1: expected both 'created' and 'usage'"):
        trace(write_rows("log.jsonl", [request(created=None), request()]), "trace")
    with pytest.raises(InputError, match=r"line 1: usage\.prompt_tokens"):
        trace(write_rows("log.jsonl", [request(usage={"total_tokens": 5})]), "trace")
    with pytest.raises(InputError, match="holds queries, not trace"):
        trace(write_rows("log.jsonl", [{"messages": MESSAGES}]), "trace")


def test_azure(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        "2023-11-16 18:15:46.6805900,374,44\r\n"
        "2023-11-17 00:15:50.9951690+05:30,396,109\r\n"
        "2023-11-16 18:15:46,1,2\r\n"
    )
    found = trace(path)
    assert found.seconds == pytest.approx([0, 0.68059, 30 * 60 + 4.995169])
    assert found.input_tokens.tolist() == [1, 374, 396]
    assert found.output_tokens.tolist() == [2, 44, 109]
    for line, reason in (
        ("2023-11-16 18:15:46,1", "line 2: not of the expected form"),
        ("yesterday,1,2", "line 2: time 'yesterday'"),
        ("2023-13-16 18:15:46,1,2", "line 2: time"),
        ("2023-11-16 18:15:46,-1,2", "line 2: ContextTokens: expected at least 0"),
        ("2023-11-16 18:15:46,1,many", "line 2: GeneratedTokens: expected a whole number"),
    ):
        path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{line}\n")
        with pytest.raises(InputError, match=reason):
            trace(path)


def test_mooncake(write_rows: Write) -> None:
    rows = [
        {"timestamp": 1000, "input_length": 6, "output_length": 5, "hash_ids": [0, 1]},
        {"timestamp": 3500, "input_length": 7, "output_length": 4, "hash_ids": [0]},
    ]
    found = trace(write_rows("m.jsonl", rows))
    assert found.seconds.tolist() == [0, 2.5]
    assert found.blocks == ((0, 1), (0,))
    for change, reason in (
        ({"timestamp": "now"}, "time 'now'"),
        ({"input_length": 1.5}, "input_length"),
        ({"hash_ids": 3}, "hash_ids"),
    ):
        with pytest.raises(InputError, match=rf"line 2: .*{reason}"):
            trace(write_rows("m.jsonl", [rows[0], {**rows[1], **change}]))
