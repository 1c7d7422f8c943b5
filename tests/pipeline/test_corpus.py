"""A corpus in a folder: built, killed, finished, damaged, and never another answer in silence."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragopt.chunk import Document, chunk_documents
from ragopt.corpus import Corpus, embed_chunks
from ragopt.embed import CallableEmbedder, LSAEmbedder
from ragopt.errors import IndexCorrupt, InputError, RagoptError, StorageError, StoreBusy
from ragopt.llm import ExtractiveAnswerer
from ragopt.pipeline import Pipeline
from ragopt.rerank import CosineReranker, FixedK

QUESTIONS = [
    "How do I rotate an API key?",
    "How long are backups kept?",
    "What happens to a webhook that fails?",
    "When does an invitation expire?",
]
HANG_S = 60  # only ever waited for by a test that fails


def counted(seen: list[str]) -> CallableEmbedder:
    """Vectors by letters; keeps what it was asked for."""

    def embed(texts):
        seen.extend(texts)
        rows = np.zeros((len(texts), 26), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text.lower():
                if "a" <= letter <= "z":
                    row[ord(letter) - ord("a")] += 1
        return rows

    return CallableEmbedder(embed, id="letters", dim=26)


def results(corpus: Corpus) -> list[object]:
    """What the questions find, with scores, and the answers to them."""
    found = [corpus.retriever(k=3, candidates=6).retrieve(question) for question in QUESTIONS]
    pipeline = Pipeline(corpus.retriever(k=3, candidates=6), ExtractiveAnswerer())
    answers = [pipeline.ask(question).text for question in QUESTIONS]
    return [(part.hits, part.plain, part.vector.tolist()) for part in found] + answers


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def built(documents, tmp_path_factory) -> tuple[Path, list[object]]:
    folder = tmp_path_factory.mktemp("built") / "corpus"
    with Corpus.build(documents, folder, max_chars=120) as corpus:
        return folder, results(corpus)


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return Path(shutil.copytree(built[0], tmp_path / "corpus"))


# Building and opening ---------------------------------------------------------------------


@pytest.mark.parametrize("verify", [True, False])
def test_what_was_built_opens_and_finds_the_same(verify, built) -> None:
    folder, expected = built
    with Corpus.open(folder, verify=verify) as corpus:
        assert results(corpus) == expected
        assert len(corpus) == len(corpus.chunks) == 16
        assert "16 chunks" in repr(corpus)


def test_its_chunks_are_those_of_the_documents(built, documents) -> None:
    with Corpus.open(built[0]) as corpus:
        assert list(corpus.chunks) == list(chunk_documents(documents, max_chars=120))


def test_sizes_and_index_are_as_asked(documents, tmp_path) -> None:
    options = {"index": "flat", "max_chars": 60, "overlap_chars": 20}
    with Corpus.build(documents, tmp_path, **options) as corpus:
        assert corpus.index.family == "flat"
        expected = chunk_documents(documents, max_chars=60, overlap_chars=20)
        assert list(corpus.chunks) == list(expected)


def test_the_embedder_may_be_ones_own(documents, tmp_path) -> None:
    seen: list[str] = []
    with Corpus.build(documents, tmp_path, embedder=counted(seen), max_chars=120) as corpus:
        assert len(seen) == len(corpus) == 16
        assert seen[0].startswith("API keys\nTo rotate")
        expected = results(corpus)
    with Corpus.open(tmp_path, embedder=counted([])) as corpus:
        assert results(corpus) == expected


def test_building_a_finished_folder_again_changes_nothing(documents, tmp_path) -> None:
    seen: list[str] = []
    for _ in range(2):
        with Corpus.build(documents, tmp_path, embedder=counted(seen), max_chars=120) as corpus:
            found = results(corpus)
            embedded = [text for text in seen if text not in QUESTIONS]
        assert len(embedded) == 16
    with Corpus.build(documents, tmp_path, embedder=counted(seen), max_chars=120) as corpus:
        assert results(corpus) == found


def test_the_retriever_takes_other_parts(built) -> None:
    with Corpus.open(built[0]) as corpus:
        retriever = corpus.retriever(
            k=4, candidates=9, reranker=CosineReranker(corpus.embedder), cut=FixedK(2)
        )
        found = retriever.retrieve(QUESTIONS[0])
    assert (len(found.hits), len(found.plain)) == (2, 4)


def test_progress_is_told_of_every_batch_and_ends_at_the_total(tmp_path) -> None:
    documents = [Document(f"d{number}", f"text of number {number}") for number in range(600)]
    told: list[tuple[str, int, int]] = []
    Corpus.build(
        documents,
        tmp_path,
        embedder=counted([]),
        index="flat",
        progress=lambda *what: told.append(what),
    ).close()
    assert told == [
        ("chunk", 600, 600),
        ("embed", 256, 600),
        ("embed", 512, 600),
        ("embed", 600, 600),
        ("index", 600, 600),
    ]


def test_vectors_need_no_file(documents) -> None:
    chunks = list(chunk_documents(documents))
    told: list[tuple[str, int, int]] = []
    vectors = embed_chunks(counted([]), chunks, progress=lambda *what: told.append(what))
    assert vectors.shape == (len(chunks), 26)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert told == [("embed", len(chunks), len(chunks))]
    assert embed_chunks(counted([]), []).shape == (0, 26)


# What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("documents", [[], [Document("a", "")], [Document("a", " \n\t ")] * 1])
def test_documents_without_text_are_refused(documents, tmp_path) -> None:
    with pytest.raises(InputError, match="no text"):
        Corpus.build(documents, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "document",
    [
        Document("a", "half a pair \ud800"),
        Document("a", "text", metadata={"when": object()}),
        Document("api keys", "the same id again"),
    ],
)
def test_documents_that_cannot_be_kept_are_refused(document, documents, tmp_path) -> None:
    with pytest.raises(InputError):
        Corpus.build([*documents, document], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [{"max_chars": 0}, {"overlap_chars": 500}, {"index": "fla"}])
def test_unusable_options_are_refused(options, documents, tmp_path) -> None:
    with pytest.raises(InputError):
        Corpus.build(documents, tmp_path / "new", **options)
    with Corpus.build(documents, tmp_path / "new") as corpus:
        assert len(corpus) == 8


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("change", ["text", "title", "metadata", "fewer", "more", "order", "cut"])
def test_other_documents_are_refused_and_change_nothing(change, finished, documents, copy) -> None:
    if not finished:
        (copy / "CORPUS.json").unlink()
    first, *rest = documents
    others = {
        "text": [replace(first, text=first.text.replace("24", "42")), *rest],
        "title": [replace(first, title="Keys"), *rest],
        "metadata": [replace(first, metadata={"public": False}), *rest],
        "fewer": rest,
        "more": [*documents, Document("new", "More text.")],
        "order": [*rest, first],
        "cut": documents,
    }[change]
    before = tree(copy)
    with pytest.raises(InputError, match="other documents or another chunking"):
        Corpus.build(others, copy, max_chars=60 if change == "cut" else 120)
    assert tree(copy) == before


def test_other_documents_are_refused_without_their_claim_too(documents, copy) -> None:
    (copy / "DOCUMENTS").unlink()
    before = tree(copy)
    with pytest.raises(InputError, match="other documents"):
        Corpus.build(documents[1:], copy, max_chars=120)
    assert tree(copy) == before


def test_another_embedder_is_refused_and_changes_nothing(documents, built, copy) -> None:
    before = tree(copy)
    seen: list[str] = []
    with pytest.raises(InputError, match=r"embedded with 'lsa-.*got 'letters'"):
        Corpus.open(copy, embedder=counted(seen))
    with pytest.raises(InputError, match=r"embedded with 'lsa-.*got 'letters'"):
        Corpus.build(documents, copy, embedder=counted(seen), max_chars=120)
    assert seen == []
    assert tree(copy) == before
    with Corpus.open(copy) as corpus:
        assert results(corpus) == built[1]


def test_ones_own_embedder_is_asked_for(documents, tmp_path) -> None:
    Corpus.build(documents, tmp_path, embedder=counted([]), max_chars=120).close()
    before = tree(tmp_path)
    for refused in (
        lambda: Corpus.open(tmp_path),
        lambda: Corpus.build(documents, tmp_path, max_chars=120),
    ):
        with pytest.raises(InputError, match="embedded with 'letters'"):
            refused()
    assert tree(tmp_path) == before


def test_an_unfinished_folder_may_go_on_with_another_embedder(documents, built, copy) -> None:
    (copy / "CORPUS.json").unlink()
    Corpus.build(documents, copy, embedder=counted([]), max_chars=120).close()
    with Corpus.open(copy, embedder=counted([])) as corpus:
        assert corpus.embedder.id == "letters"
    with pytest.raises(InputError):
        Corpus.open(copy)


def test_where_nothing_was_built(tmp_path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no corpus stands here"):
            Corpus.open(place)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place(documents, tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        Corpus.build(documents, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_closed_corpus_retrieves_nothing(copy) -> None:
    corpus = Corpus.open(copy)
    retriever = corpus.retriever(k=2)
    corpus.close()
    corpus.close()
    assert "16 chunks" in repr(corpus)
    with pytest.raises(Exception, match="closed"):
        retriever.retrieve(QUESTIONS[0])


# Faults of an embedder --------------------------------------------------------------------


def test_a_failing_embedder_loses_nothing_that_is_done(tmp_path) -> None:
    documents = [Document(f"d{number}", f"text of number {number}") for number in range(600)]
    seen: list[str] = []
    inner = counted(seen)

    def fails(texts):
        if len(seen) >= 512:
            raise ConnectionError("quota")
        return inner.embed(texts)

    with pytest.raises(ConnectionError):
        Corpus.build(documents, tmp_path, embedder=CallableEmbedder(fails, id="letters", dim=26))
    with pytest.raises(InputError, match="not finished"):
        Corpus.open(tmp_path, embedder=inner)
    assert len(seen) == 512
    Corpus.build(documents, tmp_path, embedder=inner, index="flat").close()
    assert sorted(seen) == sorted(document.text for document in documents)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_unusable_vectors_are_refused_and_not_kept(value, documents, tmp_path) -> None:
    def spoiled(texts):
        return np.full((len(texts), 26), value)

    with pytest.raises(InputError, match="NaN or infinite"):
        Corpus.build(documents, tmp_path, embedder=CallableEmbedder(spoiled, id="letters", dim=26))
    seen: list[str] = []
    Corpus.build(documents, tmp_path, embedder=counted(seen)).close()
    assert len(seen) == 8


# Interrupted builds -----------------------------------------------------------------------

BUILD = """
import sys, zlib
import numpy as np
from pathlib import Path
from ragopt.chunk import Document
from ragopt.corpus import Corpus
from ragopt.embed import CallableEmbedder

folder, log, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
text = "Item {} speaks of subject{} and thing{}."
documents = [Document(f"d{n}", text.format(n, n % 17, n % 23)) for n in range(count)]

def embed(texts):
    rows = np.zeros((len(texts), 32), np.float32)
    for row, text in zip(rows, texts):
        for word in text.split():
            row[zlib.crc32(word.encode()) % 32] += 1
    with log.open("a") as file:
        file.write("".join("\\n" + text for text in texts) + "\\n")
    return rows

def told(task, done, total):
    print(task, done, total, flush=True)

embedder = CallableEmbedder(embed, id="crc", dim=32) if sys.argv[4] == "own" else None
print("started", flush=True)
with Corpus.build(documents, folder, embedder=embedder, progress=told) as corpus:
    for n in range(0, count, 97):
        found = corpus.retriever(k=3).retrieve(f"find {documents[n].text}")
        print("found", [(hit.chunk.id, hit.score) for hit in found.hits], flush=True)
print("finished", flush=True)
"""


def start(folder: Path, log: Path, count: int, kind: str = "own") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder), str(log), str(count), kind],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> list[str]:
    """What a build that is left alone finds."""
    out, errors = process.communicate(timeout=HANG_S)
    assert (process.returncode, errors) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == "finished"
    return [line for line in lines if line.startswith("found")]


def interrupt(process: subprocess.Popen, sign: signal.Signals, draw: random.Random) -> bool:
    """Send a signal after some of the batches; whether it came before the end."""
    with process:
        for _ in range(draw.randint(1, 15)):
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.01))
        process.send_signal(sign)
        out, _ = process.communicate(timeout=HANG_S)
    return "finished" not in out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, list[str]]:
    """What builds that nobody interrupts find."""
    place = tmp_path_factory.mktemp("undisturbed")
    found = {}
    for kind, count in (("own", 3000), ("lsa", 1500)):
        process = start(place / kind, place / f"{kind}.log", count, kind)
        found[kind] = finish(process)
    assert len(found["own"]) == 31
    return found


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_build_is_finished_and_embeds_nothing_twice(
    sign, undisturbed, tmp_path
) -> None:
    folder, log = tmp_path / "corpus", tmp_path / "log"
    draw = random.Random(int(sign))
    interrupted = 0
    for _ in range(6):
        interrupted += interrupt(start(folder, log, 3000), sign, draw)
        assert_unfinished_or_whole(folder)
    assert finish(start(folder, log, 3000)) == undisturbed["own"]
    assert interrupted > 0
    embedded = items(log)
    assert len(set(embedded)) == 3000
    # A batch that was embedded but not yet stored when the signal came is embedded again.
    assert len(embedded) <= 3000 + 256 * interrupted
    assert finish(start(folder, log, 3000)) == undisturbed["own"]
    assert items(log) == embedded


def items(log: Path) -> list[str]:
    """The documents that were embedded, by any run; a kill may tear the last line of a batch."""
    whole = re.compile(r"Item \d+ speaks of subject\d+ and thing\d+\.")
    return [line for line in log.read_text().splitlines() if whole.fullmatch(line)]


def assert_unfinished_or_whole(folder: Path) -> None:
    embedder = CallableEmbedder(lambda texts: np.ones((len(texts), 32)), id="crc", dim=32)
    try:
        Corpus.open(folder, embedder=embedder).close()
    except InputError as error:
        if "not finished" not in str(error):
            raise


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here")
def test_an_interrupted_build_keeps_its_fitted_embedder(undisturbed, tmp_path) -> None:
    folder, log = tmp_path / "corpus", tmp_path / "log"
    with start(folder, log, 1500, "lsa") as process:
        while not process.stdout.readline().startswith("embed"):
            pass
        process.kill()
        process.communicate(timeout=HANG_S)
    kept = LSAEmbedder.load(folder / "embedder").id
    written = {path: path.stat().st_mtime_ns for path in (folder / "embedder").iterdir()}
    assert finish(start(folder, log, 1500, "lsa")) == undisturbed["lsa"]
    with Corpus.open(folder) as corpus:
        assert corpus.embedder.id == kept
    assert {path: path.stat().st_mtime_ns for path in written} == written


WAITS = """
import sys
from ragopt.chunk import Document
from ragopt.corpus import Corpus
def told(task, done, total):
    if task == "chunk":
        print("building", flush=True)
        sys.stdin.readline()
documents = [Document("a", "One text."), Document("b", "One more.")]
Corpus.build(documents, sys.argv[1], progress=told).close()
"""


def test_two_processes_do_not_build_at_the_same_time(tmp_path) -> None:
    documents = [Document("a", "One text."), Document("b", "One more.")]
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "building\n"
        with pytest.raises(StoreBusy, match="another process is writing here"):
            Corpus.build(documents, tmp_path)
        _, errors = process.communicate("go on\n", timeout=HANG_S)
    assert (process.returncode, errors) == (0, "")
    with Corpus.build(documents, tmp_path) as corpus:
        assert len(corpus) == 2


def test_readers_go_on_while_it_is_built_again(documents, built, copy) -> None:
    with Corpus.open(copy) as reader:
        assert results(reader) == built[1]
        Corpus.build(documents, copy, max_chars=120).close()
        assert results(reader) == built[1]


# Damage -----------------------------------------------------------------------------------

DAMAGE = {
    "removed": None,
    "emptied": lambda content: b"",
    "halved": lambda content: content[: len(content) // 2],
    "first byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "middle byte": lambda content: _flipped(content, len(content) // 2),
    "last byte": lambda content: _flipped(content, len(content) - 1),
    "other bytes": lambda content: b"\xff\xfe" * (len(content) // 2),
}
FILES = [
    *("CORPUS.json", "DOCUMENTS", "chunks.sqlite", "vectors.sqlite"),
    *("embedder/MANIFEST.json", "embedder/vocabulary-*.bin", "embedder/projection-*.bin"),
    *("index/MANIFEST.json", "index/fresh-rows-*.bin", "index/fresh-ids-*.bin"),
    *("index/centroids-*.bin", "index/signs-*.bin", "index/log-*.wal"),
    *("statistics/MANIFEST.json", "statistics/hashes-*.bin", "statistics/idf-*.bin"),
]


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def test_a_folder_consists_of_the_files_damaged_here(built) -> None:
    matched = {str(path.relative_to(built[0])) for name in FILES for path in built[0].glob(name)}
    rest = {name for name in tree(built[0]) if not name.endswith("LOCK")} - matched
    assert len(matched) == len(FILES)
    assert rest == {"index/dead-00000000.bin", "index/heat-00000000.bin"}  # empty


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_or_mended_and_never_answered_from(
    name, damage, documents, built, copy
) -> None:
    [path] = copy.glob(name)
    change = DAMAGE[damage]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    found = read(copy)
    assert found == built[1] or str(copy) in found
    mended = attempt(lambda: Corpus.build(documents, copy, max_chars=120).close())
    if mended is None:
        assert read(copy) == built[1]
    else:
        # What cannot be told from somebody else's file is left for its owner to delete.
        assert name in ("DOCUMENTS", "CORPUS.json", "chunks.sqlite", "vectors.sqlite")
        assert "delete" in mended
        found = read(copy)
        assert found == built[1] or str(copy) in found


def attempt(action: Callable[[], object]) -> object:
    """What an action gives, or what the error says that it raises."""
    try:
        return action()
    except RagoptError as error:
        return str(error)


def read(folder: Path) -> object:
    def opened() -> object:
        with Corpus.open(folder) as corpus:
            return results(corpus)

    return attempt(opened)


def test_an_altered_chunk_is_mended_by_building_again(documents, built, copy) -> None:
    with closing(sqlite3.connect(copy / "chunks.sqlite")) as connection, connection:
        connection.execute("UPDATE chunks SET text = 'Never rotate it.' WHERE number = 0")
    with Corpus.open(copy) as corpus, pytest.raises(IndexCorrupt, match="build the folder again"):
        results(corpus)
    Corpus.build(documents, copy, max_chars=120).close()
    assert read(copy) == built[1]


@pytest.mark.parametrize("field", ['"version": 2', '"version": "1"', '"versio": 1'])
def test_a_description_of_another_format_is_refused(field, copy) -> None:
    path = copy / "CORPUS.json"
    path.write_text(path.read_text().replace('"version": 1', field))
    with pytest.raises(IndexCorrupt, match=r"CORPUS\.json"):
        Corpus.open(copy)


# Places that cannot be written ------------------------------------------------------------

READ_ONLY = """
import os, sys
from ragopt.chunk import Document
from ragopt.corpus import Corpus
from ragopt.errors import StorageError
documents = [Document("a", "One text."), Document("b", "One more.")]
Corpus.build(documents, sys.argv[1] + "/made").close()  # imports all that is needed
os.chmod(sys.argv[1], 0o555)
for folder, folders, files in os.walk(sys.argv[1] + "/made"):
    os.chmod(folder, 0o555)
    for file in files:
        os.chmod(os.path.join(folder, file), 0o444)
if os.geteuid() == 0:
    os.setuid(65534)
for name in ("new", "made"):
    try:
        Corpus.build(documents, os.path.join(sys.argv[1], name))
    except StorageError as error:
        print(error)
"""


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        place.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="folders are not shut by their mode here")
def test_a_read_only_place_is_refused_and_left_alone(shared_folder) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(shared_folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    messages = done.stdout.splitlines()
    assert len(messages) == 2
    for message, name in zip(messages, ("new", "made"), strict=True):
        assert str(shared_folder / name) in message
        assert "permission denied; choose a folder that this user may write" in message
    assert [path.name for path in shared_folder.iterdir()] == ["made"]
    with Corpus.open(shared_folder / "made", verify=True) as corpus:
        assert len(corpus) == 2
