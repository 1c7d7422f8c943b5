"""The price sheet: model prices and infrastructure prices, dated, sourced, never guessed.

`PriceSheet.default` is a dated snapshot shipped with ragopt; a file of the user's own, an
installed litellm or an installed genai-prices give others. A model, tier or rate that a sheet
does not know raises `UnknownPrice`: no call is ever billed $0, or full price, in silence.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from ragopt.cost.infrastructure import Infrastructure
from ragopt.cost.model_prices import ModelPrice, rate_mapping
from ragopt.cost.price_rows import format_row, parse_rows
from ragopt.cost.price_sources import genai_rows, litellm_entries, litellm_rows
from ragopt.errors import InputError, UnknownPrice

__all__ = ["PriceSheet"]

SUSPECT_RATIO = 50
# Below this many rows of a kind, their median says nothing about the next.
_MIN_PEERS = 4
_GUARDED = ("input", "output", "per_search")

_PROVIDER_NAMES = {
    "aws": "bedrock",
    "fireworks": "fireworks_ai",
    "google": "gemini",
    "jina": "jina_ai",
    "together": "together_ai",
    "vertex": "vertex_ai",
    "voyageai": "voyage",
    "x-ai": "xai",
}


class PriceSheet:
    """Prices of models, by name, and of infrastructure.

    Args:
        rows: one per model; a later row of the same name replaces an earlier one.
        source: the list they come from.
        date: date of that list.
        infrastructure: the shipped sheet when left out.
        guard: flag rows that charge more than 50 times the median of their provider and mode
            as suspect.

    Raises:
        InputError: no rows.
    """

    def __init__(
        self,
        rows: Iterable[ModelPrice],
        *,
        source: str,
        date: str,
        infrastructure: Infrastructure | None = None,
        guard: bool = True,
    ) -> None:
        by_name = {row.name: row for row in rows}
        if not by_name:
            raise InputError(f"{source}: no priced model in it; expected at least one row")
        self._rows = _flag_outliers(by_name) if guard else by_name
        self._infrastructure = infrastructure
        self._source = source
        self._date = date

    @classmethod
    def default(cls) -> PriceSheet:
        """The snapshot shipped with ragopt, read once per process (some 0.1 s)."""
        return _shipped()

    @classmethod
    def from_json(cls, path: Path | str) -> PriceSheet:
        """A sheet from a file of your own; `ragopt.cost.price_rows` describes the format.

        ``PriceSheet.default().merged(PriceSheet.from_json(path))`` puts it over the snapshot.
        Its prices are believed as they stand: the outlier guard is for other people's lists.

        Raises:
            InputError: no such file, or a mistake in it, which the message names.
        """
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); expected a JSON file") from error
        file = parse_rows(text, where=str(path))
        return cls(file.rows, source=file.source, date=file.as_of, guard=False)

    @classmethod
    def from_litellm(
        cls, *, site: Path | str | None = None, as_of: str | None = None
    ) -> PriceSheet:
        """The list inside an installed litellm, all providers, read without importing it.

        Args:
            site: the ``site-packages`` it is installed in; this interpreter's when left out.
            as_of: date of the list, which does not state one; today when left out.

        Raises:
            BackendMissing: litellm is not installed.
            InputError: its list is unreadable.
        """
        version, entries = litellm_entries(None if site is None else Path(site))
        source, date = f"litellm {version}", as_of or _today().date().isoformat()
        return cls(litellm_rows(entries, source=source, as_of=date), source=source, date=date)

    @classmethod
    def from_genai_prices(cls, *, at: datetime.datetime | None = None) -> PriceSheet:
        """The list of an installed genai-prices (extra ``prices``).

        Args:
            at: the moment whose prices are wanted, with its time zone; now when left out.

        Raises:
            BackendMissing: genai-prices is not installed.
            InputError: ``at`` has no time zone.
        """
        moment = at or _today()
        if moment.tzinfo is None:
            raise InputError(f"at={moment}: expected a time with its zone, such as UTC")
        moment = moment.astimezone(datetime.timezone.utc)
        version, rows = genai_rows(moment)
        return cls(rows, source=f"genai-prices {version}", date=moment.date().isoformat())

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return (
            f"PriceSheet({self._source!r}, {self._date}, {len(self)} models, "
            f"{len(self.suspects)} suspect)"
        )

    @property
    def source(self) -> str:
        """The list that the rows come from."""
        return self._source

    @property
    def date(self) -> str:
        """Date of the list."""
        return self._date

    @functools.cached_property
    def hash(self) -> str:
        """Changes when any price, source or date changes, and only then; 16 hex digits."""
        lines = [f"{name} {format_row(self._rows[name], {})}" for name in sorted(self._rows)]
        lines += [f"{name} suspect" for name in self.suspects]
        lines.append(self.infrastructure.hash)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @property
    def suspects(self) -> tuple[str, ...]:
        """Names of the rows that the outlier guard flagged."""
        return tuple(sorted(name for name, row in self._rows.items() if row.suspect))

    @functools.cached_property
    def infrastructure(self) -> Infrastructure:
        """Prices of instances, memory, disks and managed stores."""
        return self._infrastructure or Infrastructure.default()

    def models(self, provider: str | None = None) -> tuple[ModelPrice, ...]:
        """All rows by name, suspect ones included, or those of one provider.

        Raises:
            UnknownPrice: no row of such a provider.
        """
        rows = tuple(self._rows[name] for name in sorted(self._rows))
        if provider is None:
            return rows
        wanted = _PROVIDER_NAMES.get(provider, provider)
        chosen = tuple(row for row in rows if row.provider == wanted)
        if not chosen:
            known = sorted({row.provider for row in rows})
            raise UnknownPrice(f"provider={provider!r}: no prices; known: {', '.join(known)}")
        return chosen

    def model(self, name: str, *, allow_suspect: bool = False) -> ModelPrice:
        """The row of a model.

        Args:
            name: as listed (``"gpt-4o"``), with its provider before it (``"openai/gpt-4o"``), or
                the last part of a listed name (``"rerank-2"`` for ``"voyage/rerank-2"``). A name
                that several rows answer to must be priced alike by all of them.
            allow_suspect: take a row that the outlier guard does not believe.

        Raises:
            UnknownPrice: not listed (close names are shown), ambiguous, or suspect.
        """
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"name={name!r}: expected the name of a model")
        row = self._resolve(name.strip())
        if not row.suspect:
            return row
        if allow_suspect:
            return replace(row, suspect="", confidence="suspect")
        raise UnknownPrice(
            f"{row.name}: the listed price is not believed ({row.suspect}); check it, then pass "
            "allow_suspect=True or give your own through PriceSheet.from_json"
        )

    def merged(self, overrides: PriceSheet) -> PriceSheet:
        """This sheet with the rows of another put over its own; dated by the newer of the two."""
        rows = [*self._rows.values(), *overrides._rows.values()]
        return PriceSheet(
            rows,
            source=f"{self._source} + {overrides._source}",
            date=max(self._date, overrides._date),
            infrastructure=overrides._infrastructure or self._infrastructure,
            guard=False,  # each half was judged when it was read
        )

    def _resolve(self, name: str) -> ModelPrice:
        if name in self._rows:
            return self._rows[name]
        found = self._candidates(name)
        if not found:
            raise UnknownPrice(self._unknown(name))
        if len({_priced_as(row) for row in found}) > 1:
            names = ", ".join(row.name for row in found[:8])
            raise UnknownPrice(
                f"{name!r} is ambiguous: {len(found)} rows at different prices answer to it "
                f"({names}); give one of these names"
            )
        return found[0]

    def _candidates(self, name: str) -> Sequence[ModelPrice]:
        wanted = name.casefold()
        prefix, _, rest = wanted.partition("/")
        found = self._by_tail.get(wanted.rpartition("/")[2], [])
        if rest:
            provider = _PROVIDER_NAMES.get(prefix, prefix)
            found = [row for row in found if row.provider == provider]
        whole = [row for row in found if row.name.casefold() in (wanted, rest)]
        return whole or found

    @functools.cached_property
    def _by_tail(self) -> dict[str, list[ModelPrice]]:
        tails = defaultdict(list)
        for name in sorted(self._rows, key=lambda name: (name.count("/"), name)):
            tails[name.casefold().rpartition("/")[2]].append(self._rows[name])
        return dict(tails)

    def _unknown(self, name: str) -> str:
        tail = name.casefold().rpartition("/")[2]
        close = difflib.get_close_matches(tail, self._by_tail, n=4, cutoff=0.6)
        names = [self._by_tail[match][0].name for match in close]
        hint = f"close: {', '.join(names)}" if names else "no listed name is close"
        return (
            f"no price for model {name!r} in {self._source} of {self._date}; {hint}; give your "
            "own through PriceSheet.from_json and PriceSheet.merged"
        )


@functools.lru_cache(maxsize=1)
def _shipped() -> PriceSheet:
    file = Path(__file__).with_name("data") / "models.json"
    content = parse_rows(file.read_text("utf-8"), where="models.json", confidence="listed")
    return PriceSheet(content.rows, source=content.source, date=content.as_of)


def _today() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _priced_as(row: ModelPrice) -> tuple[object, ...]:
    above = tuple(
        (tier.above_tokens, tuple(sorted(rate_mapping(tier).items()))) for tier in row.above
    )
    return (tuple(sorted(rate_mapping(row).items())), above, row.per_search, row.suspect != "")


def _flag_outliers(rows: dict[str, ModelPrice]) -> dict[str, ModelPrice]:
    """Mark rows far above the median of their kind.

    Typing errors in public lists are a matter of thousands ($100 where $0.10 was meant); honest
    prices of one provider and mode lie within a factor of about 40 of their median.
    """
    groups: defaultdict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for row in rows.values():
        for name in _GUARDED:
            if rate := getattr(row, name):
                groups[row.provider, row.mode, name].append(rate)
    medians = {kind: _median(found) for kind, found in groups.items() if len(found) >= _MIN_PEERS}
    return {name: _judged(row, medians) for name, row in rows.items()}


def _median(values: Sequence[Decimal]) -> Decimal:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _judged(row: ModelPrice, medians: dict[tuple[str, str, str], Decimal]) -> ModelPrice:
    for name in _GUARDED:
        rate, median = getattr(row, name), medians.get((row.provider, row.mode, name))
        if rate and median and rate > SUSPECT_RATIO * median:
            unit = "search" if name == "per_search" else "token"
            reason = (
                f"{name} of ${rate:.3g} per {unit} is {rate / median:,.0f} times the median of "
                f"{row.provider}'s {row.mode} models"
            )
            return replace(row, suspect=reason)
    return row
