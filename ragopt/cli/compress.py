"""``ragopt compress lint``: what a prompt wastes, in tokens and dollars a month."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ragopt.cli.common import DEFAULT_MODEL, Json, Model, Prices, billing_for
from ragopt.cli.index_print import print_rows
from ragopt.cli.output import check_writable, tell, write_json
from ragopt.errors import InputError
from ragopt.report.figures import clean, count, dollars, share, shortened

if TYPE_CHECKING:
    from ragopt.compress.lint import Finding, LintReport
    from ragopt.cost.prices import PriceSheet

__all__ = ["compress"]

_SHOWN = 20
_QUOTED_CHARS = 60

compress = typer.Typer(
    name="compress",
    help="Look for what prompts waste.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@compress.callback()
def _room() -> None:
    """Look for what prompts waste."""


@compress.command()
def lint(
    prompt: Annotated[
        Path,
        typer.Argument(
            help="A plain text, or a request as JSON: messages, and perhaps tools.",
            metavar="PROMPT.txt|json",
        ),
    ],
    *,
    model: Model = DEFAULT_MODEL,
    requests_per_month: Annotated[
        int, typer.Option(help="How often the prompt is sent.", min=1, metavar="N")
    ] = 1_000_000,
    cached_ratio: Annotated[
        float,
        typer.Option(
            help="Share of the requests whose prompt the provider reads from its prefix cache.",
            min=0,
            max=1,
            metavar="X",
        ),
    ] = 0.0,
    used_tool: Annotated[
        list[str] | None,
        typer.Option(
            help="A tool that real traffic calls (again for more); all others are then reported.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    rewrite: Annotated[
        Path | None,
        typer.Option(
            help="Write the texts with every mechanical suggestion taken here.", metavar="FILE"
        ),
    ] = None,
    prices: Prices = None,
    json: Json = None,
) -> None:
    """Find verbose, repeated and unused parts of a prompt, with what they cost a month."""
    from ragopt.compress.lint import PromptLint
    from ragopt.compress.prompts import read_prompt
    from ragopt.storage import atomic_write

    check_writable(json, rewrite, inputs=(prompt, prices))
    billing = billing_for(model, prices)
    linter = PromptLint(
        model,
        requests_per_month=requests_per_month,
        prices=_sheet(prices),
        cached_ratio=cached_ratio,
        used_tools=used_tool,
        count=billing.counter.count,
    )
    known = read_prompt(prompt)
    if not any(text.text.strip() for text in known.texts) and not known.tools:
        raise InputError(f"{prompt} is empty; expected a prompt")
    report = linter.lint(known)
    write_json(json, {"prompt": str(prompt), **report.to_dict()})
    if rewrite is not None:
        texts = "\n\n".join(report.rewritten)
        atomic_write(rewrite, texts.encode(errors="surrogatepass"))
    console = Console(emoji=False)
    _print(report, console)
    for path, what in ((json, "Figures"), (rewrite, "Rewritten texts")):
        if path is not None:
            tell(f"{what} written to {path}", console)


def _sheet(prices: Path | None) -> PriceSheet:
    from ragopt.cost.prices import PriceSheet

    sheet = PriceSheet.default()
    return sheet if prices is None else sheet.merged(PriceSheet.from_json(prices))


def _print(report: LintReport, console: Console) -> None:
    traffic = f"{count(report.requests_per_month)} requests a month, {report.model}"
    if not report.findings:
        tell(f"{report.tokens:,} tokens, nothing found ({traffic})", console)
        return
    rows = [_row(finding) for finding in report.findings[:_SHOWN]]
    print_rows(["finding", "place", "tokens", "a month"], rows, console)
    left_out = len(report.findings) - _SHOWN
    if left_out > 0:
        tell(f"and {left_out:,} smaller findings, which --json names", console)
    saved = report.tokens - report.tokens_rewritten
    tell(
        f"{report.tokens:,} tokens cost {dollars(report.usd_per_month)} a month ({traffic}); "
        f"mechanical rewrites alone save {saved:,} of them "
        f"({share(saved / report.tokens)}), {dollars(report.usd_saved_per_month)} a month",
        console,
    )


def _row(finding: Finding) -> tuple[str, str, str, str]:
    said = f"{finding.rule}: {finding.message}"
    if finding.suggestion and len(finding.suggestion) > 1:
        said += f"; write {shortened(finding.suggestion, _QUOTED_CHARS)!r}"
    place = finding.where if finding.line == 1 else f"{finding.where}, line {finding.line}"
    return clean(said), clean(place), f"{finding.tokens:,}", dollars(finding.usd_per_month)
