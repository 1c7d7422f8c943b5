"""The folder of a tiered index: committing, reading anew, saving copies."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.closing import Closing
from ragopt.errors import BudgetExceeded, IndexCorrupt, InputError
from ragopt.indexes.base import (
    KIND,
    VERSION,
    load_saved,
)
from ragopt.indexes.rows import ROW_DTYPES
from ragopt.indexes.scoring import Metric
from ragopt.indexes.tiered.coding import Coder, Rotation
from ragopt.indexes.tiered.fresh import FreshRows
from ragopt.indexes.tiered.log import Added, Deleted
from ragopt.indexes.tiered.options import TieredOptions, budget_bytes
from ragopt.indexes.tiered.residing import ResidentIndex
from ragopt.indexes.tiered.segment import (
    PARTS,
    Segment,
)
from ragopt.indexes.tiered.store import Store, identity_of
from ragopt.indexes.tiered.tiers import Residence
from ragopt.indexes.tombstones import Tombstones
from ragopt.storage import load_folder, storage_errors, write_folder

__all__ = ["KeptIndex"]

_DECAY = np.float32(0.5)  # of access counts, at every `rebalance`


class KeptIndex(ResidentIndex, Closing):
    """An index that may be bound to a folder, of which it is a reader or the one writer."""

    def __init__(self, options: TieredOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._store: Store | None = None
        self._temporary: Path | None = None

    @abstractmethod
    def flush(self) -> None:
        """Write the fresh rows to a segment, and begin an empty log."""

    def rebalance(self, ram_budget: float | str | None = None) -> dict[str, int]:
        """Move lists between the tiers, by how often they were searched lately.

        Counts are halved each time, so that lists that are no longer asked for give way. The budget
        holds all along: lists leave RAM before others come.

        Args:
            ram_budget: a new budget, as in `TieredOptions`; the present one stays otherwise.

        Returns:
            Lists that are now hot, warm and cold, see `tiers`.

        Raises:
            InputError: an unknown size.
            BudgetExceeded: less than what every row takes of RAM.
            StorageError: the disk is full or failing.
        """
        with self._changing:
            if ram_budget is not None:
                budget_bytes(ram_budget, 1)
                before, self._budget = self._budget, ram_budget
                try:
                    self._check_budget(self._segments, self._coder)
                except BudgetExceeded:
                    self._budget = before
                    raise
                self._track()
            self._settle(self._wanted())
            self._heat *= _DECAY
            if self._store is not None and self._store.is_writer:
                self._commit_present()
        return self.tiers()

    def refresh(self) -> bool:
        """Take over what another process has written to the folder since.

        Returns:
            Whether there was anything.

        Raises:
            IndexCorrupt: a file is damaged.
        """
        with self._changing:
            if self._store is None:
                return False
            if not self._store.changed():
                try:
                    return self._take_news(self._store)
                except IndexCorrupt:  # or it went with a commit; read anew, it says which
                    pass
            self._reopen()
            return True

    def close(self) -> None:
        """Let another process write; searches go on, and the next change takes the folder again.

        Raises:
            StorageError: with ``durability="none"``, what was only in memory does not fit the disk.
        """
        with self._changing:
            if self._store is None:
                return
            try:
                if self._store.is_writer and self._store.has_unlogged:
                    self._commit_present()
            finally:
                self._store.close()

    def verify(self) -> None:
        """Check every file of the folder against its checksum; some 1 GB/s.

        Raises:
            IndexCorrupt: a file is damaged; it is named.
            InputError: the index has no folder.
        """
        if self._store is None:
            raise InputError("verify: this index has no folder; save() it first")
        with self._changing:
            store, dim = self._store, self.dim
            self.refresh()
            load_folder(
                store.folder,
                lambda about, _: store.check_log(about["log"], dim),
                kind=KIND,
                version=VERSION,
            )

    def save(self, path: Path | str) -> None:
        """Write to a folder, atomically; to its own one: flush.

        A copy is written elsewhere, which this index is not bound to.

        Raises:
            StoreBusy: another process is writing there.
            StorageError: the disk is full, read-only or failing; the old index still opens.
        """
        with self._changing:
            if self._store is not None and _same(self._store.folder, Path(path)):
                with self._writing():
                    self.flush()
                    self._commit_present()
                return
            about = self._about(self._segments, self._coder, self._next, self._rows)
            parts: dict[str, Any] = self._small_parts(self._coder, self._dead, self._fresh)
            origin = {
                "copy of": self._store.identity if self._store else None,
                "files": [segment.files for segment in self._segments],
            }
            about["identity"] = identity_of({**about, **origin}, parts)
            for segment in self._segments:
                parts |= segment.contents()
            write_folder(Path(path), kind=KIND, version=VERSION, about=about, parts=parts)

    @classmethod
    def restore(cls, about: Mapping[str, Any], parts: dict[str, Path]) -> KeptIndex:
        options = TieredOptions(**about["options"])
        index = cls(options, about["dim"], about["metric"], seed=about["seed"])
        folder = parts["signs"].parent
        index._budget = about["ram_budget"]
        index._take(about, parts)
        index._store = Store(folder, about["log"], 0, options.durability, about["identity"])
        index._take_news(index._store)
        return index

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Change the index alone; with a folder, as its one writer and from its latest state."""
        with self._changing:
            if self._store is not None:
                self._begin(self._store)
            yield

    def _begin(self, store: Store) -> None:
        """Hold the folder for writing, its latest state in memory, and a log to append to."""
        try:
            if store.begin() or store.changed():
                self.refresh()
        except BaseException:
            store.close()
            raise
        if not store.has_log:
            self._commit_present()

    def _take_news(self, store: Store) -> bool:
        found = False
        for record in store.news(self.dim):
            if isinstance(record, Added) and len(record.ids) > self._fresh.room:
                raise IndexCorrupt(
                    f"{store.folder}: the log has more rows than fit beside the last segment; "
                    "restore it from a backup, or build the index again"
                )
            self._apply(record)
            found = True
        return found

    def _record(self, record: Added | Deleted) -> None:
        """Log a change and make it."""
        if self._store is None:
            self._apply(record)
            return
        self._store.append(record)
        try:
            self._apply(record)
        except BaseException:  # such as Ctrl-C
            self._store.spoil()
            raise

    def _reopen(self) -> None:
        """Take over the state of the folder."""
        store = self._store
        assert store is not None  # noqa: S101

        def restore(about: Mapping[str, Any], parts: dict[str, Path]) -> KeptIndex:
            store.check_identity(about)
            return type(self).restore(about, parts)

        other = load_saved(store.folder, restore, verify=False)
        assert isinstance(other, KeptIndex)  # noqa: S101
        assert other._store is not None  # noqa: S101
        files = {segment.number: segment.files for segment in self._segments}
        forked = any(
            files.get(segment.number, segment.files) != segment.files for segment in other._segments
        )
        with self._sharing.exclusive():
            store.take(other._store)
            if forked and self._residence is not None:  # a backup was restored and written to
                self._residence = Residence.none(other._segments)
            self._set_coder(other._coder)
            self._segments, self._fresh, self._dead = other._segments, other._fresh, other._dead
            self._rows, self._next, self._next_segment = (
                other._rows,
                other._next,
                other._next_segment,
            )
            self.defaults, self.certificate = other.defaults, other.certificate
            self._budget = other._budget
            self._set_residence(self._residence)
        if self._residence is not None:
            self.load()

    def _take(self, about: Mapping[str, Any], parts: Mapping[str, Path]) -> None:
        """Fill an empty index from what was committed."""
        shape = self._coder.rotation.signs.shape
        signs = np.fromfile(parts["signs"], dtype="<f4").reshape(shape)
        centroids = np.fromfile(parts["centroids"], dtype="<f2").reshape(-1, shape[-1])
        self._set_coder(
            Coder.restored(about["coder"], self.dim, Rotation(signs), centroids, self.options.bits)
        )
        for number in about["segments"]:
            paths = {part: parts[f"{number:06}-{part}"] for part in PARTS}
            self._segments.append(self._opened(number, paths, self._coder))
        rows = np.fromfile(parts["fresh-rows"], dtype=ROW_DTYPES[self.options.rows])
        ids = np.fromfile(parts["fresh-ids"], dtype="<i8").astype(np.int64)
        self._fresh = self._empty_fresh(sum(segment.count for segment in self._segments))
        self._fresh.append(rows.reshape(-1, self.dim).astype(np.float32), ids)
        self._rows = sum(segment.count for segment in self._segments) + len(ids)
        dead = np.fromfile(parts["dead"], dtype="<i8")
        if len(dead) and not 0 <= dead.min() <= dead.max() < self._rows:
            raise IndexCorrupt(f"{parts['dead']}: names rows beyond the {self._rows} there are")
        self._dead = Tombstones(dead)
        self._next, self._next_segment = about["next_id"], about["next_segment"]
        self._take_tuning(about)
        self._track()
        heat = np.fromfile(parts["heat"], dtype="<f4").reshape(2, -1)
        if heat.shape == self._heat.shape:
            self._heat = heat.astype(np.float32)

    def _commit_present(self) -> None:
        assert self._store is not None  # noqa: S101
        self._commit(self._segments, self._coder, self._dead, self._fresh, self._next)
        self._store.settle()

    def _commit(
        self,
        segments: Sequence[Segment],
        coder: Coder,
        dead: Tombstones,
        fresh: FreshRows,
        next_id: int,
    ) -> None:
        """Replace the manifest; what it says includes everything logged so far.

        The caller settles the store once memory says the same.
        """
        assert self._store is not None  # noqa: S101
        parts: dict[str, Any] = self._small_parts(coder, dead, fresh)
        for segment in segments:
            parts |= segment.stored
        rows = sum(segment.count for segment in segments) + fresh.count
        self._store.commit(
            kind=KIND,
            version=VERSION,
            about=self._about(segments, coder, next_id, rows),
            parts=parts,
        )

    def _about(
        self, segments: Sequence[Segment], coder: Coder, next_id: int, rows: int
    ) -> dict[str, Any]:
        numbers = [segment.number for segment in segments]
        return {
            **self._described(rows),
            "seed": self.seed,
            "segments": numbers,
            "next_segment": max(self._next_segment, *numbers, 0) + 1,
            "next_id": next_id,
            "ram_budget": self._budget,
            "coder": coder.about(),
            "log": None,
        }

    def _small_parts(self, coder: Coder, dead: Tombstones, fresh: FreshRows) -> dict[str, Any]:
        return {
            "signs": coder.rotation.signs.astype("<f4"),
            "centroids": coder.centroids.astype("<f2"),
            "dead": dead.positions().astype("<i8"),
            "fresh-ids": fresh.ids.astype("<i8"),
            "fresh-rows": np.ascontiguousarray(fresh.rows),
            "heat": self._heat.astype("<f4"),
        }

    def _folder(self) -> Path:
        """Where segments stand: the folder of the index, or a temporary one that goes with it."""
        if self._store is not None:
            return self._store.folder
        if self._temporary is None:
            with storage_errors(Path(tempfile.gettempdir())):
                self._temporary = Path(tempfile.mkdtemp(prefix="ragopt-tiered-"))
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
