"""``ragopt savings`` on a folder of documents: what it prints and what it writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from cli_places import Place, Said, write_questions

LEVERS = "index rerank compress exact_cache semantic_cache combined combined_without_cache".split()
FIGURES = "usd_ratio input_tokens_ratio ram_ratio quality_diff quality_diff_lower".split()
TITLES = (
    "Baseline",
    "Compact index",
    "Rerank and cut",
    "Compression",
    "Exact cache",
    "Semantic cache",
    "Combined",
)


@pytest.fixture(scope="module")
def run_wide(wide: Place) -> Said:
    """One run with every output."""
    return wide.savings(
        "--requests", "260", "--json", "figures.json", "--html", "page.html", PYTHONWARNINGS="error"
    )


class Page(HTMLParser):
    """Tags that stay open, and all that a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "data", "action"} and value:
                self.loads.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


# The whole run ---------------------------------------------------------------------------


def test_a_run_succeeds_without_a_word_on_stderr(run_wide: Said) -> None:
    assert run_wide.status == 0
    assert not run_wide.err


def test_piped_output_has_no_escape_codes_and_80_columns(run_wide: Said) -> None:
    assert "\x1b" not in run_wide.out
    assert "\r" not in run_wide.out
    table = run_wide.out[: run_wide.out.index("tokens ")]
    assert max(map(len, table.splitlines())) <= 80


def test_the_run_begins_with_what_was_read(run_wide: Said) -> None:
    first, second, *_ = run_wide.out.splitlines()
    assert first == "216 documents in 216 chunks, 216 questions with evidence"
    assert second.startswith("The bill falls by ")


def test_the_table_has_a_row_for_every_lever(run_wide: Said) -> None:
    lines = run_wide.out.splitlines()
    for title in TITLES:
        assert sum(line.startswith(f"{title} ") and "$" in line for line in lines) == 1


def test_the_last_lines_say_what_was_written(run_wide: Said) -> None:
    *_, figures, page = run_wide.out.splitlines()
    assert figures == "Figures written to figures.json"
    assert page == "Report page written to page.html"


def test_the_figures_hold_five_rows_a_lever(run_wide: Said, wide: Place) -> None:
    rows = wide.figures()["rows"]
    assert {row["name"] for row in rows} == {
        f"savings/{lever}/{figure}" for lever in LEVERS for figure in FIGURES
    }
    assert len(rows) == len(LEVERS) * len(FIGURES)
    for row in rows:
        assert set(row) == {"name", "unit", "value", "range", "extra"}
        assert isinstance(row["value"], (int, float))


def test_together_the_levers_save_at_held_quality(run_wide: Said, wide: Place) -> None:
    values = wide.values()
    levers = {lever["name"]: lever for lever in wide.figures()["levers"]}
    on = {name for name, lever in levers.items() if lever["on"]}
    assert {"rerank", "compress", "exact_cache"} <= on
    assert values["savings/combined/usd_ratio"] < 0.5
    assert values["savings/combined/input_tokens_ratio"] < 0.5
    assert values["savings/combined/quality_diff_lower"] > -0.02
    for name in ("rerank", "compress", "exact_cache"):
        assert values["savings/combined/usd_ratio"] < values[f"savings/{name}/usd_ratio"] < 1


def test_the_terminal_shows_the_figures_of_the_file(run_wide: Said, wide: Place) -> None:
    figures = wide.figures()
    saved = 1 - wide.values()["savings/combined/usd_ratio"]
    assert run_wide.out.splitlines()[1].startswith(f"The bill falls by {saved:.0%}: ")
    assert figures["traffic"] in " ".join(run_wide.out.split())
    combined = next(line for line in run_wide.out.splitlines() if line.startswith("Combined "))
    assert f"${figures['combined']['usd_per_1000']:.2g} " in combined
    assert f" {figures['combined']['input_tokens']:.1f} " in combined


def test_a_lever_that_is_off_says_why(run_wide: Said, wide: Place) -> None:
    told = " ".join(run_wide.out.split())
    off = [lever for lever in wide.figures()["levers"] if not lever["on"]]
    assert off
    for lever in off:
        assert lever["reason"].replace("-", "") in told.replace("-", "")


def test_the_file_says_how_it_was_measured(run_wide: Said, wide: Place) -> None:
    found = wide.figures()
    about = found["about"]
    assert found["kind"] == "ragopt savings"
    assert about["corpus"] == "216 documents in docs"
    assert about["command"].startswith("ragopt savings --docs docs --questions questions.jsonl")
    assert about["skipped"] == about["questions_without_evidence"] == []
    assert about["chunks"] == about["questions"]["tuning"] + about["questions"]["report"] == 216
    assert found["options"]["requests"] == 260
    assert found["options"]["load"]["vectors"] == 216


def test_the_page_needs_nothing_but_itself(run_wide: Said, wide: Place) -> None:
    text = (wide.folder / "page.html").read_text("utf-8")
    page = Page(text)
    assert not page.open
    assert all(link.startswith("#") for link in page.loads)
    assert not page.tags & {"base", "iframe", "img", "link", "object", "script"}
    assert "@import" not in text
    assert "url(" not in text
    assert "svg" in page.tags
    for title in TITLES:
        assert title in page.text
    assert run_wide.out.splitlines()[1].partition(":")[0] in page.text


def test_nothing_else_is_left_behind(run_wide: Said, wide: Place) -> None:
    assert not list(wide.temporary.iterdir())
    assert {path.name for path in wide.folder.iterdir()} == {
        *("docs", "questions.jsonl", "tmp", "figures.json", "page.html"),
    }


# Options ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_figures(here: Callable[..., Said], place: Place) -> None:
    for name, seed in (("one", "3"), ("two", "3"), ("other", "4")):
        assert here("--quiet", json=f"{name}.json", seed=seed).status == 0
    one, two, other = (place.values(f"{name}.json") for name in ("one", "two", "other"))
    measured = [name for name in one if not name.endswith("usd_ratio")]  # times are in the bill
    assert [one[name] for name in measured] == [two[name] for name in measured]
    assert place.figures("one.json")["traffic"] == place.figures("two.json")["traffic"]
    assert place.figures("one.json")["traffic"] != place.figures("other.json")["traffic"]
    assert other.keys() == one.keys()


def test_the_load_is_what_was_asked_for(here: Callable[..., Said], place: Place) -> None:
    options = {"requests": "33", "zipf": "0", "vectors": "5000000", "questions-per-month": "7"}
    said = here(json="figures.json", **options)
    assert "7 questions a month over 5,000,000 vectors" in " ".join(said.out.split())
    assert "33 requests, Zipf exponent 0, seed 0" in " ".join(said.out.split())
    found = place.figures()
    load = found["options"]["load"]
    assert (load["questions_per_month"], load["vectors"]) == (7, 5_000_000)
    bill = found["baseline"]["bill"]
    infrastructure = bill["ram"] + bill["disk"] + bill["vcpu"]
    assert found["baseline"]["usd_per_1000"] == pytest.approx(
        (bill["tokens"] + infrastructure) / 7 * 1000
    )


def test_traffic_and_arrivals_may_be_recorded_ones(here: Callable[..., Said], place: Place) -> None:
    (place.folder / "log.txt").write_text("one\ntwo\none\n", "utf-8")
    rows = [f"2023-11-16 18:{minute:02}:00,100,210" for minute in (1, 2, 3, 4, 5, 5, 5)]
    trace = "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])
    (place.folder / "trace.csv").write_text(trace, "utf-8")
    said = here(json="figures.json", traffic="log.txt", arrivals="trace.csv")
    assert said.status == 0, said.err
    told = " ".join(said.out.split())
    assert "3 requests, repeated as in" in told
    assert "in the busiest minute as in the mean one, 210 output tokens an answer" in told
    found = place.figures()
    assert found["baseline"]["output_tokens"] == 210
    assert found["options"]["load"]["peak_factor"] == pytest.approx(3 / (7 / 240 * 60))
    refused = here(traffic="trace.csv")
    assert refused.status != 0
    assert "query log" in refused.err


def test_smaller_chunks_are_more_chunks(here: Callable[..., Said], place: Place) -> None:
    said = here(json="figures.json", **{"max-chars": "120"})
    chunks = place.figures()["about"]["chunks"]
    assert chunks > 16
    assert f"8 documents in {chunks} chunks" in said.out


def test_a_single_file_will_do(here: Callable[..., Said], place: Place) -> None:
    texts = [path.read_text("utf-8") for path in sorted(place.docs.rglob("*.*"))]
    (place.folder / "all.md").write_text("\n\n".join(texts), "utf-8")
    assert "1 documents in " in here(docs="all.md").out


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4.1-mini", "claude-sonnet-4-5"])
def test_other_models_are_priced(model: str, here: Callable[..., Said], place: Place) -> None:
    said = here(json="figures.json", model=model)
    assert said.status == 0, said.err
    assert place.figures()["about"]["model"] == model
    assert f"model {model}, price " in " ".join(said.out.split())


def write_prices(place: Place, **models: tuple[float, float]) -> None:
    rows = ", ".join(
        f'"{name}": {{"provider": "me", "mode": "chat", "input": {price}, "output": {output}}}'
        for name, (price, output) in models.items()
    )
    text = f'{{"source": "our contract", "as_of": "2026-11-01", "models": {{{rows}}}}}'
    (place.folder / "prices.json").write_text(text, "utf-8")


@pytest.mark.parametrize("model", ["mine", "gpt-5-mini"])
def test_own_prices_make_the_bill_exactly(
    model: str, here: Callable[..., Said], place: Place
) -> None:
    for name, factor in (("once", 1), ("twice", 2)):
        write_prices(place, **{model: (0.3 * factor, 1.7 * factor)})
        said = here(json=f"{name}.json", model=model, prices="prices.json")
        assert said.status == 0, said.err
        found = place.figures(f"{name}.json")
        assert "our-contract" in found["about"]["price"]
        for lever in (found["baseline"], found["combined"], *found["levers"]):
            tokens = 0.3 * lever["input_tokens"] + 1.7 * lever["output_tokens"]
            assert lever["bill"]["tokens"] == pytest.approx(tokens * factor, rel=1e-12)


def test_own_prices_leave_the_other_models_as_listed(
    here: Callable[..., Said], place: Place
) -> None:
    write_prices(place, mine=(0.3, 1.7))
    here(json="own.json", prices="prices.json")
    here(json="listed.json")
    own, listed = (place.figures(f"{name}.json") for name in ("own", "listed"))
    assert own["about"]["price"] == listed["about"]["price"]
    assert own["baseline"]["bill"]["tokens"] == listed["baseline"]["bill"]["tokens"]


# The terminal ----------------------------------------------------------------------------


def test_sixty_columns_are_enough(place: Place) -> None:
    said = place.savings("--requests", "20", COLUMNS="60")
    assert said.status == 0
    assert "\x1b" not in said.out
    report = said.out[said.out.index("The bill") :]
    assert max(len(line.rstrip()) for line in report.splitlines()) <= 60
    for title in TITLES:
        assert f"\n{title.split()[0]} " in report
    for label in ("tokens", "infrastructure", "RAM", "traffic", "load", "model", "seed"):
        assert f"\n{label} " in report


def test_letters_that_the_terminal_lacks_fail_nothing(place: Place) -> None:
    (place.docs / "日本.md").write_bytes(b"caf\xe9")
    said = place.savings(
        *("--requests", "20", "--json", "größe.json"), PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    assert said.status == 0, said.err
    assert said.out.isascii()
    assert r"\u65e5\u672c.md: not UTF-8" in said.out
    assert r"Figures written to gr\xf6\xdfe.json" in said.out
    assert "日本.md" in place.figures("größe.json")["about"]["skipped"][0]


@pytest.mark.parametrize("name", ["[bold]1.json", "[red].json", "a b.json", ":tada:.json", "-"])
def test_any_name_of_a_file_is_shown_as_it_is(
    name: str, here: Callable[..., Said], place: Place
) -> None:
    said = here(json=name)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-1] == f"Figures written to {name}"
    assert place.values(name)


def test_names_that_are_no_utf_8_are_written_all_the_same(place: Place) -> None:
    folder = "d\udcffcs"
    try:
        place.docs.rename(place.folder / folder)
    except OSError:
        pytest.skip("this file system wants its names in UTF-8")
    said = place.ragopt(
        *("savings", "--docs", folder, "--questions", "questions.jsonl", "--requests", "20"),
        *("--json", "f\udcff.json", "--html", "f\udcff.html"),
    )
    assert said.status == 0, said.err
    assert folder in place.figures("f\udcff.json")["about"]["command"]
    assert "8 documents in d cs" in (place.folder / "f\udcff.html").read_text("utf-8")


def test_control_characters_of_a_name_do_not_reach_the_terminal(
    here: Callable[..., Said], place: Place
) -> None:
    (place.docs / "a\x1b[31m\nb.md").write_bytes(b"\xff")
    said = here()
    assert "\x1b" not in said.out
    assert "files skipped (1): a [31m b.md: not UTF-8" in said.out


# What is left out ------------------------------------------------------------------------


def test_an_undecodable_file_beside_good_ones_is_skipped_and_said(
    here: Callable[..., Said], place: Place
) -> None:
    (place.docs / "latin.md").write_bytes(b"# Title\n\ncaf\xe9 au lait\n")
    said = here(json="figures.json")
    sentence = "latin.md: not UTF-8: byte 0xE9 in line 3; save it as UTF-8"
    assert said.status == 0
    assert said.out.splitlines()[0] == f"files skipped (1): {sentence}"
    assert place.figures()["about"]["skipped"] == [sentence]
    assert place.figures()["about"]["chunks"] == 8


def test_a_huge_file_is_skipped_by_its_size_alone(here: Callable[..., Said], place: Place) -> None:
    with (place.docs / "huge.txt").open("wb") as file:
        file.truncate(200 * 2**20)
    said = here(json="figures.json")
    assert said.status == 0
    first = said.out.splitlines()[0]
    assert first.startswith("files skipped (1): huge.txt: 200.0 MiB, over the limit of 50.0 MiB")
    assert place.figures()["about"]["chunks"] == 8


def test_files_of_other_kinds_are_counted(here: Callable[..., Said], place: Place) -> None:
    for name in ("a.docx", "b.docx", "LICENSE"):
        (place.docs / name).write_text("x", "utf-8")
    said = here(json="figures.json")
    assert said.out.splitlines()[0] == "files of other kinds (3): 2 .docx; 1 no suffix"
    assert place.figures()["about"]["unsupported"] == {".docx": 2, "no suffix": 1}


def test_five_are_named_and_the_rest_is_counted(here: Callable[..., Said], place: Place) -> None:
    for number in range(8):
        (place.docs / f"empty{number}.md").touch()
    said = here(json="figures.json")
    first = said.out.splitlines()[0]
    assert first.startswith("files skipped (8): empty0.md: empty; ")
    assert first.endswith("; empty4.md: empty; and 3 more")
    assert len(place.figures()["about"]["skipped"]) == 8


def test_a_question_without_evidence_is_left_out_and_said(
    here: Callable[..., Said], place: Place
) -> None:
    good = [
        {"id": str(number), "question": f"What about {path.stem} of {path.parent.name}?"}
        | {"gold": [path.relative_to(place.docs).as_posix()]}
        for number, path in enumerate(sorted(place.docs.rglob("*.*")))
    ]
    neither = {"id": "bare", "question": "Who?"}
    elsewhere = {"id": "lost", "question": "When?", "answer": "words of no document"}
    write_questions(place, [*good, neither, elsewhere])
    said = here(json="figures.json")
    assert said.status == 0, said.err
    left_out = "questions left out, their evidence was not found (2): bare; lost"
    assert said.out.splitlines()[0] == left_out
    assert "8 questions with evidence" in said.out
    assert place.figures()["about"]["questions_without_evidence"] == ["bare", "lost"]


def test_few_questions_are_called_few(here: Callable[..., Said]) -> None:
    """At 95 % confidence, 149 questions without a loss bound it below 2 points; 30 % tune."""
    said = here()
    assert "few questions: below 213, not even a lever that loses none of them" in said.out
    assert 1 - 0.05 ** (1 / 149) < 0.02 < 1 - 0.05 ** (1 / 148)
    assert 213 - round(0.3 * 213) == 149


def test_enough_questions_are_not_called_few(run_wide: Said) -> None:
    assert "few questions" not in run_wide.out


def test_answers_may_be_quoted_in_other_case_and_spacing(
    here: Callable[..., Said], place: Place
) -> None:
    text = re.sub(
        r'("answer": "[^"]*)', lambda found: found[1].upper(), place.questions.read_text()
    )
    place.questions.write_text(
        text.replace('"ANSWER"', '"answer"').replace(" BUCKET ", "  bucket ")
    )
    assert "8 questions with evidence" in here().out
