"""Folders of documents: what is read, what is skipped and why, and when that is an error."""

from __future__ import annotations

import io
import json
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from ragopt.chunk import Document
from ragopt.documents import SUFFIXES, Loaded, Skipped, load_documents
from ragopt.errors import InputError


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def reasons(loaded: Loaded) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in loaded.skipped}


def skipped_beside_one(folder: Path, name: str, content: str | bytes) -> str:
    """The reason for which a file is skipped while another one is read."""
    loaded = load_documents(write(folder, {name: content, "fine.txt": "fine"}))
    assert [document.id for document in loaded.documents] == ["fine.txt"]
    ((path, reason),) = reasons(loaded).items()
    assert path == name
    return reason


def pdf_bytes(*pages: str, encrypt: tuple[str, str] | None = None) -> bytes:
    """A PDF with a line of text on each page that has any; (password, algorithm) to encrypt it."""
    pypdf = pytest.importorskip("pypdf")
    generic = pypdf.generic
    name = generic.NameObject
    writer = pypdf.PdfWriter()
    font = generic.DictionaryObject(
        {
            name("/Type"): name("/Font"),
            name("/Subtype"): name("/Type1"),
            name("/BaseFont"): name("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(width=300, height=300)
        page[name("/Resources")] = generic.DictionaryObject(
            {name("/Font"): generic.DictionaryObject({name("/F1"): font})}
        )
        stream = generic.DecodedStreamObject()
        if text:
            stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
        page[name("/Contents")] = stream
    if encrypt:
        writer.encrypt(encrypt[0], "owner", algorithm=encrypt[1])
    with io.BytesIO() as file:
        writer.write(file)
        return file.getvalue()


class TestReading:
    def test_every_kind_below_a_folder_in_sorted_order(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {
                "b/notes.TXT": "Notes.\r\n\r\nMore.",
                "b.md": "# Bees\n\nThey *dance*.",
                "a/guide.rst": "Guide\n=====\n\nText.",
                "page.html": "<title>Page</title><p>One<p>Two",
                "old.htm": "<h1>Old</h1>",
                "lines.jsonl": '{"text": "L1"}\n',
                "paper.pdf": pdf_bytes("Ants sleep."),
            },
        )
        loaded = load_documents(tmp_path)
        assert [(one.id, one.title, one.text) for one in loaded.documents] == [
            ("a/guide.rst", "Guide", "Guide\n=====\n\nText."),
            ("b/notes.TXT", "notes", "Notes.\r\n\r\nMore."),
            ("b.md", "Bees", "# Bees\n\nThey *dance*."),
            ("lines.jsonl:1", "", "L1"),
            ("old.htm", "Old", "Old"),
            ("page.html", "Page", "One\n\nTwo"),
            ("paper.pdf", "paper", "Ants sleep."),
        ]
        assert loaded.skipped == ()
        assert loaded.unsupported == {}
        assert loaded == load_documents(str(tmp_path))

    def test_source_is_the_path_as_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, {"docs/a.md": "x", "docs/b.jsonl": '\n{"text": "y"}'})
        monkeypatch.chdir(tmp_path)
        sources = [document.source for document in load_documents("docs").documents]
        assert sources == [str(Path("docs/a.md")), f"{Path('docs/b.jsonl')}:2"]

    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            ("a.md", "# Ants", Document("a.md", "# Ants", "Ants")),
            (".hidden.txt", "x", Document(".hidden.txt", "x", ".hidden")),
            ("a.jsonl", '{"text": "x", "id": "k"}', Document("k", "x")),
        ],
    )
    def test_a_single_file(
        self, tmp_path: Path, name: str, content: str, expected: Document
    ) -> None:
        (document,) = load_documents(write(tmp_path, {name: content}) / name).documents
        assert (document.id, document.text, document.title) == (
            expected.id,
            expected.text,
            expected.title,
        )

    def test_hidden_files_and_folders_are_left_out(self, tmp_path: Path) -> None:
        write(tmp_path, {".git/x.txt": "x", ".y.txt": "y", "z/.t/u.md": "u", "seen.txt": "seen"})
        loaded = load_documents(tmp_path)
        assert [document.id for document in loaded.documents] == ["seen.txt"]
        assert loaded.skipped == ()

    def test_other_suffixes_are_counted(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.txt": "a", "b.PNG": "b", "c/d.png": "d", "Makefile": "m"})
        assert load_documents(tmp_path).unsupported == {".png": 2, "no suffix": 1}

    def test_a_long_title_is_shortened(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.html": f"<title>{'word ' * 100}</title>x"})
        title = load_documents(tmp_path).documents[0].title
        assert title.startswith("word word")
        assert title.endswith("…")
        assert len(title) <= 200

    def test_progress_counts_supported_files(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.txt": "a", "b.txt": "", "c.png": "c", "d.md": "d"})
        steps: list[tuple[int, int]] = []
        load_documents(tmp_path, on_progress=lambda done, total: steps.append((done, total)))
        assert steps == [(1, 3), (2, 3), (3, 3)]


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    @pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.jsonl"])
    def test_unicode_with_its_mark(self, tmp_path: Path, encoding: str, name: str) -> None:
        content = '{"text": "Öl 漢"}' if name == "a.jsonl" else "Öl 漢"
        write(tmp_path, {name: content.encode(encoding)})
        assert load_documents(tmp_path).documents[0].text == "Öl 漢"

    @pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
    def test_utf16_of_either_byte_order(self, tmp_path: Path, mark: bytes) -> None:
        encoding = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
        write(tmp_path, {"a.txt": mark + "Öl".encode(encoding)})
        assert load_documents(tmp_path).documents[0].text == "Öl"

    def test_html_in_the_encoding_it_names(self, tmp_path: Path) -> None:
        page = '<meta charset="iso-8859-1"><p>Öl · gut'
        write(tmp_path, {"a.html": page.encode("cp1252")})
        assert load_documents(tmp_path).documents[0].text == "Öl · gut"

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("a.txt", "one\nÖl".encode("latin-1"), "not UTF-8: byte 0xD6 in line 2"),
            ("a.md", b"PK\x03\x04\x00\x00\x00", "NUL characters: a binary file"),
            ("a.rst", "text".encode("utf-16-le"), "UTF-16 without its byte order mark"),
            ("a.txt", b"\xff\xfea", "begins with the mark of UTF-16-LE and is not"),
            ("a.jsonl", b"\xff\xfea", "begins with the mark of UTF-16-LE and is not"),
            ("a.html", b"<meta charset=nonsense>\xd6", "neither UTF-8 nor 'nonsense'"),
            ("a.html", b"<meta charset=hex>\xd6", "neither UTF-8 nor 'hex'"),
            ("a.html", b"<meta charset=utf-8>\xd6", "neither UTF-8 nor 'utf-8'"),
        ],
    )
    def test_undecodable_files_are_skipped(
        self, tmp_path: Path, name: str, content: bytes, reason: str
    ) -> None:
        assert reason in skipped_beside_one(tmp_path, name, content)


class TestJsonLines:
    def test_fields(self, tmp_path: Path) -> None:
        lines = [
            {"text": " one ", "title": "T", "id": "i", "url": "u", "n": [1]},
            {"contents": "two", "_id": 7, "title": None},
            {"body": "three", "text": None, "_id": "", "id": "j"},
        ]
        write(tmp_path, {"a.jsonl": "\n".join(map(json.dumps, lines)) + "\n"})
        one, two, three = load_documents(tmp_path).documents
        assert (one.id, one.text, one.title) == ("i", " one ", "T")
        assert one.metadata == {"url": "u", "n": [1]}
        assert (two.id, two.text, two.title, two.metadata) == ("7", "two", "", {})
        assert (three.id, three.text) == ("j", "three")

    def test_line_separators_inside_strings_part_no_lines(self, tmp_path: Path) -> None:
        content = '{"text": "a\u2028b\x85c"}\r\n\r\n{"text": "d"}'
        loaded = load_documents(write(tmp_path, {"a.jsonl": content}))
        assert [(one.id, one.text) for one in loaded.documents] == [
            ("a.jsonl:1", "a\u2028b\x85c"),
            ("a.jsonl:3", "d"),
        ]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"{", "not JSON: "),
            (b"text", "not JSON: Expecting value at column 1; expected one object a line"),
            (b"[1]", "expected a JSON object, got an array"),
            (b"null", "expected a JSON object, got NoneType"),
            (b"{}", "no text; expected it in the field 'text' (or 'contents', 'body')"),
            (b'{"Text": "x", "b": 1}', "got the fields 'Text', 'b'"),
            (b'{"text": 7}', "field 'text': expected a string, got int"),
            (b'{"text": " "}', "field 'text' is empty"),
            (b'{"text": "x", "title": 7}', "field 'title': expected a string, got int"),
            (b'{"text": "x", "id": true}', "field 'id': expected a string or a whole number"),
            (b'{"text": "x", "_id": " "}', "field '_id': expected a string or a whole number"),
            (b'{"text": "caf\xe9"}', "not UTF-8: byte 0xE9"),
            (b'{"text": "x\\ud800"}', "half a surrogate pair"),
            (b'{"text": "x", "m": {"\\uDC00": 1}}', "half a surrogate pair"),
            (b"[" * 200_000, "not usable JSON"),
            (b'{"text": "x", "n": ' + b"1" * 5_000 + b"}", "not usable JSON"),
        ],
    )
    def test_a_bad_line_is_named_and_the_others_are_read(
        self, tmp_path: Path, line: bytes, reason: str
    ) -> None:
        content = b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n'
        loaded = load_documents(write(tmp_path, {"a.jsonl": content}))
        assert [document.text for document in loaded.documents] == ["before", "after"]
        assert list(reasons(loaded)) == ["a.jsonl:2"]
        assert reason in reasons(loaded)["a.jsonl:2"]

    def test_whole_surrogate_pairs_are_read(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.jsonl": r'{"text": "\ud83d\ude00"}'})
        assert load_documents(tmp_path).documents[0].text == "😀"

    def test_an_id_that_is_taken_is_skipped_with_its_owner(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {
                "a.md": "A",
                "b.jsonl": '{"text": "B", "id": "k"}\n{"text": "C", "id": "a.md"}\n',
                "c/d.jsonl": '{"text": "D", "id": "k"}\n',
            },
        )
        loaded = load_documents(tmp_path)
        assert [document.text for document in loaded.documents] == ["A", "B"]
        assert reasons(loaded) == {
            "b.jsonl:2": "its id 'a.md' is taken by a.md; ids must be unique within a folder",
            "c/d.jsonl:1": "its id 'k' is taken by b.jsonl:1; ids must be unique within a folder",
        }


class TestPdf:
    def test_pages_are_joined(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.pdf": pdf_bytes("Ants sleep.", "", "Bees dance.")})
        (document,) = load_documents(tmp_path).documents
        assert document.text == "Ants sleep.\n\nBees dance."
        assert document.metadata == {"pages": 3, "pages_without_text": 1}

    def test_encrypted_without_a_password_is_read(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.pdf": pdf_bytes("Ants sleep.", encrypt=("", "RC4-128"))})
        assert load_documents(tmp_path).documents[0].text == "Ants sleep."

    @pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
    def test_encrypted_with_a_password(self, tmp_path: Path, algorithm: str) -> None:
        if algorithm.startswith("AES"):
            pytest.importorskip("cryptography")
        content = pdf_bytes("Ants sleep.", encrypt=("secret", algorithm))
        assert skipped_beside_one(tmp_path, "a.pdf", content).startswith("encrypted with a passw")

    @pytest.mark.parametrize("damage", ["truncated", "no pages", "not a PDF", "only a head"])
    def test_damaged(self, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
        whole = pdf_bytes("Ants sleep.")
        content = {
            "truncated": whole[: len(whole) // 2],
            "no pages": whole.replace(b"/Pages", b"/Pagez"),
            "not a PDF": b"GIF89a, really",
            "only a head": b"%PDF-1.7\n",
        }[damage]
        assert "a damaged PDF" in skipped_beside_one(tmp_path, "a.pdf", content)
        assert capfd.readouterr() == ("", "")

    def test_a_scan_without_text(self, tmp_path: Path) -> None:
        reason = skipped_beside_one(tmp_path, "a.pdf", pdf_bytes("", ""))
        assert reason == "no text on its 2 pages (a scan?); run OCR on it first"

    def test_without_pypdf_the_command_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = pdf_bytes("Ants sleep.")
        monkeypatch.setitem(sys.modules, "pypdf", None)
        assert "pip install 'ragopt[pdf]'" in skipped_beside_one(tmp_path, "a.pdf", content)
        (tmp_path / "fine.txt").unlink()
        with pytest.raises(InputError, match=r"pip install 'ragopt\[pdf\]'"):
            load_documents(tmp_path)


class TestSkipping:
    @pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.jsonl", "a.pdf"])
    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \r\n\t"])
    def test_empty_files(self, tmp_path: Path, name: str, content: bytes) -> None:
        reason = skipped_beside_one(tmp_path, name, content)
        assert any(word in reason for word in ("empty", "no readable text", "damaged PDF"))

    def test_html_without_text(self, tmp_path: Path) -> None:
        page = "<title>T</title><script>x</script>"
        assert skipped_beside_one(tmp_path, "a.html", page) == "holds no readable text"

    def test_a_file_of_200_mb_is_refused_unread(self, tmp_path: Path) -> None:
        write(tmp_path, {"fine.txt": "fine"})
        with (tmp_path / "huge.txt").open("wb") as file:
            file.truncate(200 * 2**20)
        tracemalloc.start()
        try:
            loaded = load_documents(tmp_path)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert reasons(loaded) == {
            "huge.txt": "200.0 MiB, over the limit of 50.0 MiB a file; split it or raise the limit"
        }
        assert peak_bytes < 2**20

    def test_the_limit_is_inclusive(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.txt": "12345", "b.txt": "123456"})
        loaded = load_documents(tmp_path, max_file_bytes=5)
        assert [document.id for document in loaded.documents] == ["a.txt"]
        assert reasons(loaded)["b.txt"].startswith("6 bytes, over the limit of 5 bytes")

    def test_each_skip_is_told_as_it_happens(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.txt": "", "b.jsonl": '{"text": "x"}\n7\n', "c.txt": b"\xff"})
        told: list[Skipped] = []
        loaded = load_documents(tmp_path, on_skip=told.append)
        assert tuple(told) == loaded.skipped
        assert [str(skipped).split(": ")[0] for skipped in told] == ["a.txt", "b.jsonl:2", "c.txt"]

    @pytest.mark.skipif(os.name == "nt", reason="no links without privileges")
    def test_links_in_a_circle_and_links_to_nothing(self, tmp_path: Path) -> None:
        write(tmp_path, {"a/x.txt": "x"})
        (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
        (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
        (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
        loaded = load_documents(tmp_path)
        assert [document.id for document in loaded.documents] == ["a/x.txt"]
        found = reasons(loaded)
        assert found.pop("a/up") == "the same folder as '.', which is read already"
        assert found.pop("b") == "the same folder as 'a', which is read already"
        assert found.pop("gone.txt") == "cannot be read: No such file or directory"
        assert found.pop("self.md").startswith("cannot be read: ")
        assert not found

    @pytest.mark.skipif(os.name == "nt", reason="no links without privileges")
    def test_links_to_files_and_folders_elsewhere_are_read(self, tmp_path: Path) -> None:
        write(tmp_path, {"store/x.txt": "x", "store/sub/y.txt": "y", "docs/z.txt": "z"})
        (tmp_path / "docs" / "x.txt").symlink_to(tmp_path / "store" / "x.txt")
        (tmp_path / "docs" / "sub").symlink_to(tmp_path / "store" / "sub")
        loaded = load_documents(tmp_path / "docs")
        assert [document.id for document in loaded.documents] == ["sub/y.txt", "x.txt", "z.txt"]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.txt")
        write(tmp_path, {"fine.txt": "fine"})
        assert "not a regular file" in reasons(load_documents(tmp_path))["pipe.txt"]

    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails")
    def test_a_file_that_fails_while_it_is_read(self, tmp_path: Path) -> None:
        write(tmp_path, {"fine.txt": "fine"})
        (tmp_path / "fails.txt").symlink_to("/proc/self/mem")
        assert reasons(load_documents(tmp_path))["fails.txt"].startswith("cannot be read: ")

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
    )
    def test_no_permission(self, tmp_path: Path) -> None:
        write(tmp_path, {"fine.txt": "fine", "locked.txt": "x", "shut/y.txt": "y"})
        (tmp_path / "locked.txt").chmod(0)
        (tmp_path / "shut").chmod(0)
        try:
            found = reasons(load_documents(tmp_path))
        finally:
            (tmp_path / "shut").chmod(0o700)
        assert found == {
            "locked.txt": "cannot be read: Permission denied",
            "shut": "cannot be opened: Permission denied",
        }

    @pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
    def test_a_file_name_that_is_not_text_gives_an_id_that_is(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
        (document,) = load_documents(tmp_path).documents
        assert document.id == r"caf\udce9.txt"
        assert document.source.endswith(r"caf\udce9.txt")


class TestNothingRead:
    def refusal(self, folder: Path) -> str:
        with pytest.raises(InputError) as caught:
            load_documents(folder)
        message = str(caught.value)
        assert str(folder) in message
        assert all(suffix in message for suffix in SUFFIXES)
        return message

    def test_no_such_folder(self, tmp_path: Path) -> None:
        assert "no such file or folder" in self.refusal(tmp_path / "nowhere")

    def test_empty_folder(self, tmp_path: Path) -> None:
        write(tmp_path, {".hidden.txt": "x"})
        assert "found nothing, hidden files aside" in self.refusal(tmp_path)

    def test_no_supported_file(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.docx": "x", "b.docx": "x", "c": "x"})
        found = self.refusal(tmp_path)
        assert "found no supported file, others: 2 .docx, 1 no suffix" in found

    def test_a_single_unsupported_file(self, tmp_path: Path) -> None:
        assert "1 .docx" in self.refusal(write(tmp_path, {"a.docx": "x"}) / "a.docx")

    def test_all_skipped(self, tmp_path: Path) -> None:
        write(tmp_path, {f"{number}.txt": "" for number in range(7)} | {"x.png": "x"})
        found = self.refusal(tmp_path)
        assert "found 7 supported, others: 1 .png; could not be read: 0.txt: empty; " in found
        assert "4.txt: empty; and 2 more" in found

    @pytest.mark.parametrize("folder", ["", None, 3])
    def test_not_a_path(self, folder: str) -> None:
        with pytest.raises(InputError, match="expected a folder of documents"):
            load_documents(folder)

    def test_a_name_no_file_can_have(self) -> None:
        with pytest.raises(InputError, match="no such file or folder"):
            load_documents("a\0b")

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_below_one(self, tmp_path: Path, limit: int) -> None:
        with pytest.raises(InputError, match=f"max_file_bytes={limit}"):
            load_documents(tmp_path, max_file_bytes=limit)
