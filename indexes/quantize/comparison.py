"""What `compare_quantizers` found: as text, HTML, JSON, a frame, a figure; and which is best."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any

from ragopt.errors import FloorNotMet, InputError
from ragopt.indexes.quantize.base import Quantizer
from ragopt.optional import import_backend
from ragopt.quality import Floor

__all__ = ["QuantizerComparison", "QuantizerRow", "RecallAt"]

_EXTRA = "plot"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAt:
    """Recall@k among the best candidates by their codes.

    Args:
        candidates: how many of them; k for the codes alone.
        recall: mean over the queries.
        lower: confidence bound below the mean, by `ragopt.quality.mean_lower`; wide enough for
            all quantizers compared to keep theirs together (Bonferroni).
    """

    candidates: int
    recall: float
    lower: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerRow:
    """What one quantizer costs.

    Args:
        name: as one would type it.
        quantizer: as it was given, its options.
        bytes_per_vector: of a code; codebooks, rotations and the like are not counted.
        compression: how many times smaller that is than a float32 row.
        reconstruction_error: squared error of the decoded vectors as a share of the variance
            around their mean; 0 is perfect, 1 what the mean alone would give.
        ceiling: by the codes alone, all of them scanned.
        rescored: the same after the best candidates were rescored with exact rows.
    """

    name: str
    quantizer: Quantizer[Any]
    bytes_per_vector: int
    compression: float
    reconstruction_error: float
    ceiling: RecallAt
    rescored: tuple[RecallAt, ...]

    @property
    def depths(self) -> tuple[RecallAt, ...]:
        """The ceiling, then what rescoring makes of it."""
        return (self.ceiling, *self.rescored)

    def as_dict(self) -> dict[str, Any]:
        """Its fields as JSON can hold them; the quantizer by its name."""
        return {
            "quantizer": self.name,
            "bytes_per_vector": self.bytes_per_vector,
            "compression": self.compression,
            "reconstruction_error": self.reconstruction_error,
            "ceiling": asdict(self.ceiling),
            "rescored": [asdict(at) for at in self.rescored],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerComparison:
    """A row a quantizer, in the order given, and what they were measured on.

    Its repr is a table, notebooks show an HTML one.

    Args:
        rows: the quantizers, at least one.
        k: results a query.
        metric: cosine, ip or l2.
        vectors: that were fitted, encoded and searched.
        dim: their dimensions.
        queries: how many.
        held_out: whether the queries were taken out of the vectors.
        confidence: that all bounds of one number of candidates hold together.
        data_hash: of vectors and queries; see `ragopt.quality.data_hash`.
        seed: of the draw and the bounds.
    """

    rows: tuple[QuantizerRow, ...]
    k: int
    metric: str
    vectors: int
    dim: int
    queries: int
    held_out: bool
    confidence: float
    data_hash: str
    seed: int

    def best(self, recall: float, *, candidates: int | None = None) -> QuantizerRow:
        """The smallest code whose bound reaches a recall; of equally small ones the surest.

        Args:
            recall: floor for the mean of recall@k, above 0, at most 1.
            candidates: that are rescored, one of the numbers measured; None for codes alone.

        Raises:
            InputError: no such recall, or a number of candidates that was not measured.
            FloorNotMet: no bound reaches the floor; the message names the highest.
        """
        if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 < recall <= 1:
            raise InputError(f"recall={recall!r}: expected a number above 0, at most 1")
        place = self._place(candidates)
        floor = Floor(metric=f"recall@{self.k}", at_least=recall, confidence=self.confidence)
        keep = [row for row in self.rows if floor.admits(row.depths[place].lower)]
        if not keep:
            nearest = max(self.rows, key=lambda row: row.depths[place].lower)
            at = nearest.depths[place]
            raise FloorNotMet(
                f"no quantizer keeps {floor}, {self._depths()[place]}; the nearest, "
                f"{nearest.name}, has {at.recall:.4f}, at least {at.lower:.4f}; rescore more "
                "candidates, use more bits, lower the floor, or give more than "
                f"{self.queries:,} queries"
            )
        return min(keep, key=lambda row: (row.bytes_per_vector, -row.depths[place].lower))

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it; quantizers by their names."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**content, "rows": [row.as_dict() for row in self.rows]}

    def to_json(self, *, indent: int | None = 2) -> str:
        """`as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each quantizer and number of candidates.

        Its columns are quantizer, bytes_per_vector, compression, reconstruction_error,
        candidates, rescored, recall, lower.

        Raises:
            BackendMissing: pandas is not installed.
        """
        pandas = import_backend("pandas", _EXTRA, "QuantizerComparison.to_pandas()")
        content = [
            {
                "quantizer": row.name,
                "bytes_per_vector": row.bytes_per_vector,
                "compression": row.compression,
                "reconstruction_error": row.reconstruction_error,
                "candidates": at.candidates,
                "rescored": place > 0,
                "recall": at.recall,
                "lower": at.lower,
            }
            for row in self.rows
            for place, at in enumerate(row.depths)
        ]
        return pandas.DataFrame(content)

    def plot(self) -> Any:
        """Recall against bytes a vector, codes alone and rescored, bars down to the bounds.

        Returns:
            A ``matplotlib.figure.Figure``, which notebooks show and ``savefig`` writes.

        Raises:
            BackendMissing: matplotlib is not installed.
        """
        pyplot = import_backend("matplotlib.pyplot", _EXTRA, "QuantizerComparison.plot()")
        figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
        pyplot.close(figure)  # or notebooks would show it twice
        sizes = [row.bytes_per_vector for row in self.rows]
        for place, label in reversed(list(enumerate(self._depths()))):
            found = [row.depths[place] for row in self.rows]
            means = [at.recall for at in found]
            below = [max(0.0, at.recall - at.lower) for at in found]
            bars = [below, [0.0] * len(below)]
            axes.errorbar(sizes, means, yerr=bars, fmt="osD^"[place % 4], color=f"C{place}")
            axes.plot([], [], "osD^"[place % 4], color=f"C{place}", label=label)
        for row, size in zip(self.rows, sizes, strict=True):
            at = (size, row.ceiling.recall)
            axes.annotate(
                row.name, at, xytext=(6, -4), textcoords="offset points", fontsize="small"
            )
        axes.set_xscale("log", base=2)
        axes.set(title=self._measured_on(), xlabel="bytes a vector", ylabel=f"recall@{self.k}")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="lower right")
        return figure

    def __repr__(self) -> str:
        head, *body = self._table()
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [_line(cells, widths) for cells in (head, ["-" * width for width in widths], *body)]
        return "\n".join([self._measured_on(), "", *lines, "", self._note()])

    def _repr_html_(self) -> str:
        head, *body = self._table()
        first = '<th style="text-align:left">'
        lines = [f"<tr>{first}{escape(head[0])}</th>{_cells(head[1:], 'th')}</tr>"]
        lines += [f"<tr>{first}{escape(row[0])}</th>{_cells(row[1:], 'td')}</tr>" for row in body]
        return (
            f"<table><caption>{escape(self._measured_on())}</caption>"
            f"<thead>{lines[0]}</thead><tbody>{''.join(lines[1:])}</tbody></table>"
            f"<p>{escape(self._note())}</p>"
        )

    def _place(self, candidates: int | None) -> int:
        """Among the depths."""
        measured = [at.candidates for at in self.rows[0].rescored]
        if candidates is None:
            return 0
        if isinstance(candidates, bool) or candidates not in measured:
            raise InputError(
                f"candidates={candidates!r}: expected one of {measured}, or None for codes alone"
            )
        return 1 + measured.index(candidates)

    def _table(self) -> list[list[str]]:
        """Head and rows of cells."""
        head = ["quantizer", "bytes", "smaller", "error", *self._depths()]
        return [head] + [
            [
                row.name,
                f"{row.bytes_per_vector:,}",
                f"{row.compression:.1f}x",
                f"{row.reconstruction_error:.4f}",
                *(f"{at.recall:.3f} (>= {at.lower:.3f})" for at in row.depths),
            ]
            for row in self.rows
        ]

    def _depths(self) -> list[str]:
        return ["codes alone", *(f"{at.candidates} rescored" for at in self.rows[0].rescored)]

    def _measured_on(self) -> str:
        source = "held out of them" if self.held_out else "given"
        return (
            f"recall@{self.k} on {self.vectors:,} x {self.dim} vectors, {self.metric}; "
            f"{self.queries:,} queries {source}"
        )

    def _note(self) -> str:
        return (
            "bytes: of a code, a vector; smaller: than float32; error: share of the variance lost "
            "in decoding; in brackets: lower bounds of the means, all of a column together at "
            f"{self.confidence:.0%} confidence"
        )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([name, *figures])


def _cells(cells: Sequence[str], tag: str) -> str:
    return "".join(f'<{tag} style="text-align:right">{escape(cell)}</{tag}>' for cell in cells)
