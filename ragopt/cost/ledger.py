"""The ledger: every call's tokens, price and saving, append-only, safe among processes.

A recorded event is on disk when `Ledger.record` returns: it survives a killed process and a power
cut. The schema itself refuses to change or delete one, and every row carries a checksum, so that a
damaged file says so instead of giving another sum.

Money is kept as whole pico-dollars (10^-12 USD) in SQLite's 64-bit integers: published prices are
whole multiples of it, sums are exact and made by the database, and a float never comes near.
Text would hold any precision too, but its sums would be made row by row in Python.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ragopt.closing import Closing
from ragopt.cost.events import MONEY, TAG, USUAL_TAGS, CostEvent, Totals, frozen_tags, to_utc
from ragopt.cost.model_prices import TOKEN_CLASSES, Usage
from ragopt.database import Database, DatabaseFormat
from ragopt.errors import IndexCorrupt, InputError

__all__ = ["USUAL_TAGS", "CostEvent", "Ledger", "Totals"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)
_PAGE_ROWS = 5_000

_COLUMNS = (
    "time_us",
    "kind",
    "model",
    *TOKEN_CLASSES,
    "price_id",
    "usd_pico",
    "saved_pico",
    "ms",
    "outcome",
    "tags",
)
_LISTED = ", ".join(_COLUMNS)
_INSERT = f"INSERT INTO events ({_LISTED}, crc) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608

_FORMAT = DatabaseFormat(
    name="ledger",
    application_id=0x72676C31,  # "rgl1"
    version=1,
    durable=True,
    schema=(
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            time_us INTEGER NOT NULL,
            kind TEXT NOT NULL,
            model TEXT NOT NULL,
            input INTEGER NOT NULL,
            cached_input INTEGER NOT NULL,
            cache_write_5m INTEGER NOT NULL,
            cache_write_1h INTEGER NOT NULL,
            output INTEGER NOT NULL,
            price_id TEXT NOT NULL,
            usd_pico INTEGER NOT NULL,
            saved_pico INTEGER NOT NULL,
            ms REAL NOT NULL,
            outcome TEXT NOT NULL,
            tags TEXT NOT NULL,
            crc INTEGER NOT NULL
        )""",
        "CREATE INDEX events_by_time ON events (time_us)",
        """CREATE TRIGGER events_keep BEFORE UPDATE ON events
           BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: events are never changed'); END""",
        """CREATE TRIGGER events_stay BEFORE DELETE ON events
           BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: events are never deleted'); END""",
        # INSERT OR REPLACE deletes without asking the trigger above.
        """CREATE TRIGGER events_once BEFORE INSERT ON events
           WHEN EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
           BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: events are kept'); END""",
    ),
)


class Ledger(Closing):
    """An append-only record of costs in one SQLite file; threads and processes may share it.

    Args:
        path: the file, made when missing.
        timeout_s: how long to wait for another process's write.

    Raises:
        IndexCorrupt: the file is damaged or no database.
        InputError: a database of another kind, or of a newer ragopt.
        StorageError: the folder cannot be written.
        StoreBusy: another process wrote all through ``timeout_s``.
    """

    def __init__(self, path: Path | str, *, timeout_s: float = 30.0) -> None:
        self._path = Path(path)
        with _damage(self._path):
            self._database = Database(path, format=_FORMAT, timeout_s=timeout_s)
            try:
                with self._database.write() as connection:
                    connection.create_function("event_crc", len(_COLUMNS), _crc, deterministic=True)
            except BaseException:
                self._database.close()
                raise

    def __repr__(self) -> str:
        return f"Ledger({str(self._path)!r})"

    def record(self, event: CostEvent) -> None:
        """Append one event; it is on disk when this returns (one sync, some milliseconds).

        Raises:
            InputError: no `CostEvent`.
            StorageError: the disk is full or failing; nothing was recorded.
            StoreBusy: another process wrote all through the timeout; nothing was recorded.
        """
        self.record_many([event])

    def record_many(self, events: Iterable[CostEvent]) -> None:
        """Append events in one commit: all of them or, on any error, none.

        Raises:
            InputError: an item is no `CostEvent`.
            StorageError: the disk is full or failing; nothing was recorded.
            StoreBusy: another process wrote all through the timeout; nothing was recorded.
        """
        rows = [_to_row(event) for event in events]
        if not rows:
            return
        with _damage(self._path), self._database.write() as connection:
            connection.executemany(_INSERT, rows)

    def events(
        self,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[CostEvent]:
        """Events in the order of recording, read in pages.

        What others append while this is read is left out.

        Args:
            since: from this time on.
            until: before this time.
            tags: only events that carry all of these.

        Raises:
            InputError: a time without a zone, or an unusable tag.
            IndexCorrupt: the file is damaged; raised when the damaged row is reached.
        """
        where, parameters = _filter(since, until, tags)
        return self._pages(where, parameters)

    def _pages(self, where: str, parameters: Sequence[Any]) -> Iterator[CostEvent]:
        sql = (
            f"SELECT id, crc, {_LISTED} FROM events "  # noqa: S608 - constants; values are bound
            f"WHERE {where} AND id > ? AND id <= ? ORDER BY id LIMIT {_PAGE_ROWS}"
        )
        newest = self._read("SELECT coalesce(max(id), 0) FROM events")[0][0]
        last = 0
        while page := self._read(sql, (*parameters, last, newest)):
            for number, crc, *row in page:
                yield self._to_event(number, crc, *row)
            last = page[-1][0]

    def total(
        self,
        by: str | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
    ) -> list[Totals]:
        """Sums, one row per group, the dearest first; one row in all without ``by``.

        Every row's checksum is verified on the way (some 3 µs an event).

        Args:
            by: ``"model"``, ``"kind"``, ``"outcome"``, ``"price_id"``, or ``"tag:team"`` for the
                values of a tag.
            since: from this time on.
            until: before this time.

        Raises:
            InputError: an unknown ``by``, or a time without a zone.
            IndexCorrupt: the file is damaged.
        """
        group, bound = _grouping(by)
        where, parameters = _filter(since, until, None)
        rows = self._read(
            f"SELECT {group}, count(*), sum(input), sum(cached_input), "  # noqa: S608 - as above
            "sum(cache_write_5m) + sum(cache_write_1h), sum(output), "
            # Halves of the money are summed apart: whole pico-dollars would overflow at $9.2M.
            "sum(usd_pico / 1000000), sum(usd_pico % 1000000), "
            "sum(saved_pico / 1000000), sum(saved_pico % 1000000), "
            f"sum(crc IS NOT event_crc({_LISTED})) FROM events WHERE {where} GROUP BY 1",
            (*bound, *parameters),
        )
        if sum(row[-1] for row in rows):
            raise self._corrupt("an event does not match its checksum")
        totals = [_to_totals(row) for row in rows]
        if by is None and not totals:
            return [_to_totals((None, *[0] * 9, 0))]
        return sorted(totals, key=lambda row: (-row.usd, -row.events, row.key or ""))

    def verify(self) -> None:
        """Read the whole file: its structure, every checksum, and that no event is missing.

        Raises:
            IndexCorrupt: it does not hold together.
        """
        found = self._read("PRAGMA integrity_check(1)")
        if found != [("ok",)]:
            raise self._corrupt(str(found[0][0] if found else "no answer"))
        count, newest, bad = self._read(
            "SELECT count(*), coalesce(max(id), 0), "  # noqa: S608 - constants
            f"coalesce(sum(crc IS NOT event_crc({_LISTED})), 0) FROM events"
        )[0]
        given = self._read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")[0][0]
        if bad or not count == newest == given:
            raise self._corrupt(
                f"{bad} of {count} events do not match their checksum, {given} were recorded"
            )

    def __len__(self) -> int:
        return int(self._read("SELECT count(*) FROM events")[0][0])

    def close(self) -> None:
        """Close the file; what was recorded is on disk already."""
        self._database.close()

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _damage(self._path):
            return self._database.read(sql, parameters)

    def _to_event(self, number: int, crc: int, *row: Any) -> CostEvent:
        if crc != _crc(*row):
            raise self._corrupt(f"event {number} does not match its checksum")
        values = dict(zip(_COLUMNS, row, strict=True))
        return CostEvent(
            time=_EPOCH + values["time_us"] * _MICROSECOND,
            usage=Usage(**{name: values[name] for name in TOKEN_CLASSES}),
            usd=_dollars(0, values["usd_pico"]),
            saved_usd=_dollars(0, values["saved_pico"]),
            tags=json.loads(values["tags"]),
            **{name: values[name] for name in ("kind", "model", "price_id", "ms", "outcome")},
        )

    def _corrupt(self, what: str) -> IndexCorrupt:
        return IndexCorrupt(
            f"{self._path}: the ledger is damaged ({what}); restore it from a backup, or move it "
            "away to start empty"
        )


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Faults that only a damaged file gives to these fixed statements, as `IndexCorrupt`."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # use after close()
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise IndexCorrupt(
            f"{path}: the ledger is damaged ({error}); restore it from a backup, or move it away "
            "to start empty"
        ) from error


def _crc(*row: Any) -> int:
    return zlib.crc32(repr(row).encode("utf-8", "backslashreplace"))


def _to_row(event: CostEvent) -> tuple[Any, ...]:
    if not isinstance(event, CostEvent):
        raise InputError(f"event of type {type(event).__name__}: expected a CostEvent")
    values = (
        (event.time - _EPOCH) // _MICROSECOND,
        event.kind,
        event.model,
        *(getattr(event.usage, name) for name in TOKEN_CLASSES),
        event.price_id,
        int(event.usd.scaleb(12, MONEY)),
        int(event.saved_usd.scaleb(12, MONEY)),
        event.ms,
        event.outcome,
        json.dumps(dict(event.tags), sort_keys=True, ensure_ascii=False),
    )
    return (*values, _crc(*values))


def _to_totals(row: Sequence[Any]) -> Totals:
    key, events, given, cached, written, output, *money, _ = row
    return Totals(
        key=key,
        events=events,
        input_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
        usd=_dollars(*money[:2]),
        saved_usd=_dollars(*money[2:]),
    )


def _dollars(micro: int, pico: int) -> Decimal:
    """Exact dollars of a number of micro-dollars and of pico-dollars."""
    return Decimal(micro * 1_000_000 + pico).scaleb(-12, MONEY)


def _grouping(by: str | None) -> tuple[str, tuple[str, ...]]:
    if by is None:
        return "NULL", ()
    if by in ("model", "kind", "outcome", "price_id"):
        return by, ()
    if isinstance(by, str) and by.startswith("tag:") and TAG.fullmatch(by[4:]):
        return "json_extract(tags, ?)", (f'$."{by[4:]}"',)
    raise InputError(
        f"by={by!r}: expected 'model', 'kind', 'outcome', 'price_id' or 'tag:NAME', such as "
        "'tag:team'"
    )


def _filter(
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    tags: Mapping[str, str] | None,
) -> tuple[str, list[Any]]:
    terms = ["1"]
    parameters: list[Any] = []
    for moment, name, sign in ((since, "since", ">="), (until, "until", "<")):
        if moment is not None:
            terms.append(f"time_us {sign} ?")
            parameters.append((to_utc(moment, name) - _EPOCH) // _MICROSECOND)
    for tag, value in frozen_tags(tags or {}).items():
        terms.append("json_extract(tags, ?) = ?")
        parameters += [f'$."{tag}"', value]
    return " AND ".join(terms), parameters
