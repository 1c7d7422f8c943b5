"""The page and the notebook fragment: whole, self-contained, escaped, true to the report."""

# ruff: noqa: RUF001  (typographic signs are the output under test)
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ragopt.benchmarks.road.savings_report import SavingsReport, TuningPoint
from ragopt.report.savings_html import savings_fragment, savings_page
from ragopt.report.savings_words import served_wrong

Bent = Mapping[str, Callable[[SavingsReport], SavingsReport]]
VOID = {"meta", "br", "hr", "img", "input", "link", "rect", "line", "circle", "polygon", "polyline"}
EVIL = "<script>alert(1)</script>\" onload='x' & \x00\u202e"


class Page(HTMLParser):
    """Tags in order, attributes, and what a reader sees; refuses what does not close."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check_self_contained(html: str) -> Page:
    page = Page(html)
    forbidden = {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
    }
    assert not forbidden & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"src", "href", "srcset", "action", "xlink:href"} & names
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"url\(|@import|@font-face", html)
    assert set(re.findall(r"https?://[^\"' <]+", html)) <= {"http://www.w3.org/2000/svg"}
    for picture in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(picture)
    return page


def test_the_page_is_one_document_without_anything_from_outside(report: SavingsReport) -> None:
    html = savings_page(report)
    page = check_self_contained(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.tags.count("svg") == 4  # both pictures, wide and narrow
    assert page.tags.count("table") == page.tags.count("details") == 1
    assert "prefers-color-scheme: dark" in html
    assert html == report.to_html()


def test_sections_stand_in_the_order_of_the_argument(report: SavingsReport) -> None:
    text = check_self_contained(savings_page(report)).text
    order = [
        "The bill falls by 71%",
        "Where the money goes",
        "Lever by lever",
        "What each setting sends",
        "Without any cache",
        "Look-alike questions",
        "How it was measured",
        "What “held” means",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_headline_is_the_reports_own_sentence(report: SavingsReport) -> None:
    assert (
        "The bill falls by 71% : from $1.23 to $0.36 per 1,000 questions, quality held "
        "(answer kept +3.2 points, at least +0.8)"
    ) in check_self_contained(savings_page(report)).text


@pytest.mark.parametrize(
    ("lever", "expected"),
    [
        ("Baseline", "$1.23 $1,226 $4.30 $39.09 1 x r7g.medium 4,012 78.7% 74.4% 2,194 0 1.1 –"),
        (
            "Compact index",
            (
                "$1.23 −0.3% $1,226 $0.46 $26.46 1 x c7g.medium 4,012 1.00× 78.7% +0.2 [−0.4, "
                "+0.9] 74.4% +0.4 [−0.2, +1.2] 72.6 0.033× 1,024 2.8 –"
            ),
        ),
        (
            "Combined",
            (
                "$0.36 −71% $356 $0.58 $26.46 1 x c7g.medium 903 0.23× 82.3% +3.6 [+1.1, +6.1] "
                "77.6% +3.2 [+0.8, +5.6] 93.6 0.043× 1,024 6.2 46% 3 wrong"
            ),
        ),
    ],
)
def test_a_row_holds_the_levers_figures(report: SavingsReport, lever: str, expected: str) -> None:
    html = savings_page(report)
    row = next(
        row for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL) if f">{lever}</span>" in row
    )
    cells = row[row.index("</th>") :]
    assert " ".join(re.sub(r"<[^>]+>", " ", cells).split()) == expected


def test_levers_say_whether_they_are_on_and_why(report: SavingsReport) -> None:
    text = check_self_contained(savings_page(report)).text
    assert (
        "Compression off hnsw(m=16), top 10, compress to 50% "
        "quality not held (−4.5 points, at least −7.1)"
    ) in text
    assert "Rerank and cut on hnsw(m=16), rerank 50, keep top 4 quality held" in text


def test_the_terms_of_the_measurement_are_all_there(report: SavingsReport) -> None:
    html = savings_page(report)
    details = Page(html[html.index("<details>") : html.index("</details>") + 10]).text
    for words in (
        report.traffic,
        "Seed 0",
        "Load 1,000,000 questions a month over 2,000,000 vectors",
        "Questions tuned on 138",
        "Questions reported on 277",
        "Baseline hnsw(m=16), top 10, no cache",
        "Embedder lsa-512-198ad5c513ab0d5a",
        "Model gpt-5-mini",
        "Price litellm-1.109.1/gpt-5-mini@2026-11-22",
        "Tokens counted by tiktoken o200k_base",
        "Data hash f906908405c7e3d0",
        "Environment cpu AMD EPYC, packages numpy 2.4.6, tiktoken 0.14.0",
        "recall@10 >= 0.95 at 95% confidence: holds",
    ):
        assert words in details


def test_facts_that_the_caller_added_are_shown(report: SavingsReport) -> None:
    added = replace(report, about={**report.about, "data_set": EVIL, "folds": (1, 2)})
    page = check_self_contained(savings_page(added))
    assert "Data set <script>alert(1)</script>" in page.text
    assert "Folds 1, 2" in page.text


def test_without_cache_and_traps_are_told(report: SavingsReport) -> None:
    text = check_self_contained(savings_page(report)).text
    assert (
        "The bill falls by 46%: from $1.23 to $0.66 per 1,000 questions, 1,718 input tokens" in text
    )
    assert "170 pairs that look alike" in text
    assert "the semantic cache answered 1 of 340 wrongly" in text
    assert "“Is a 50 kg bag?” got the answer to “Is a 5 kg bag in?”" in text


def test_a_long_list_of_traps_is_cut_with_its_count(report: SavingsReport) -> None:
    pairs = [(f"cached {place}", f"asked {place}") for place in range(25)]
    many = replace(report, traps={"pairs": 50, "asked": 100, "served_wrong": {"semantic": pairs}})
    text = check_self_contained(savings_page(many)).text
    assert "asked 19" in text
    assert "asked 20" not in text
    assert "and 5 more" in text
    assert served_wrong(many.traps)["semantic"] == pairs


def test_no_text_of_the_report_becomes_markup(report: SavingsReport) -> None:
    evil = replace(
        report,
        levers=tuple(
            replace(
                lever, name=EVIL, setting=EVIL, reason=EVIL, bill=replace(lever.bill, instance=EVIL)
            )
            for lever in report.levers
        ),
        steps=tuple(replace(step, name=EVIL) for step in report.steps),
        tuning=tuple(replace(point, lever=EVIL, setting=EVIL) for point in report.tuning),
        traps={"pairs": 1, "asked": 2, "served_wrong": {EVIL: [(EVIL, EVIL)]}},
        traffic=EVIL,
        about=dict.fromkeys((*report.about, EVIL), EVIL),
    )
    for html in (savings_page(evil), savings_fragment(evil)):
        page = check_self_contained(html)
        assert "<script>alert(1)</script>" in page.text
        assert "\x00" not in html
        assert "\u202e" not in html


def test_borders_make_a_whole_page(bent_report: SavingsReport) -> None:
    for html in (savings_page(bent_report), savings_fragment(bent_report)):
        text = check_self_contained(html).text
        assert "nan" not in text.lower()
        assert "inf%" not in text


def test_a_run_without_any_saving_says_so(report: SavingsReport, bent: Bent) -> None:
    said = {
        "no lever on": "The bill stays as it is : $1.23 per 1,000 questions, for no lever could",
        "dearer": "The bill rises by 14% : from $1.23 to $1.40 per 1,000 questions, quality held",
        "not held": "to $0.36 per 1,000 questions, but quality is not held (evidence recall −4.5",
        "free": "The baseline costs nothing : with the levers it is $0 per 1,000 questions",
    }
    for name, words in said.items():
        assert words in check_self_contained(savings_page(bent[name](report))).text


def test_green_is_kept_for_a_bill_that_falls_at_held_quality(
    report: SavingsReport, bent: Bent
) -> None:
    assert '<b class="good">' in savings_page(report)
    tones = {"dearer": "bad", "not held": "bad", "free": "even", "no lever on": "even"}
    for name, tone in tones.items():
        assert f'<b class="{tone}">' in savings_page(bent[name](report))


def test_unknown_answers_are_a_dash_and_not_a_zero(report: SavingsReport, bent: Bent) -> None:
    html = savings_page(bent["no answers"](report))
    cells = re.findall(r'data-label="Answer kept"><span>(.*?)</span><small>(.*?)</small>', html)
    assert set(cells) == {("–", "")}
    assert len(cells) == 8


def test_what_held_means_says_whose_questions_and_whose_confidence(report: SavingsReport) -> None:
    told = savings_page(report)
    assert "on other questions" in told
    assert "not one for all levers together" in told


def test_the_floor_is_drawn_where_the_baseline_was_measured_on_the_tuning_questions(
    report: SavingsReport,
) -> None:
    assert "stroke-dasharray" not in savings_page(report)
    point = TuningPoint(
        lever="baseline",
        setting="hnsw(m=16), top 10",
        input_tokens=4012.0,
        evidence_recall=0.84,
        passed=True,
    )
    html = savings_page(replace(report, tuning=(point, *report.tuning)))
    assert "baseline −2.0 points, 82.0%" in html


def test_the_fragment_is_no_document_and_keeps_its_style_to_itself(report: SavingsReport) -> None:
    html = savings_fragment(report)
    page = check_self_contained(html)
    assert not {"html", "head", "body", "main", "meta"} & set(page.tags)
    assert page.tags.count("svg") == 4
    assert "Lever by lever" in page.text
    assert html == report._repr_html_()
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    selectors = re.findall(r"(?:^|[}{])\s*([^{}@]+)\{", style)
    assert selectors
    for selector in selectors:
        for each in selector.split(","):
            assert each.strip().startswith(".ragopt-savings.ragopt-savings"), each
