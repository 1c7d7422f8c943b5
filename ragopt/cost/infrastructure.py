"""Infrastructure prices: whole instances, marginal resources, managed vector stores.

A saving in memory shows twice: as marginal dollars (what each GiB less is worth in the long run)
and in whole instances (what the bill says, which moves in steps and includes vCPUs that do not
shrink). Both are here; neither replaces the other.

Sizes of instances and disks follow the price lists: GiB of RAM (2^30), GB of disk (10^9).
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from ragopt.cost.model_prices import to_decimal
from ragopt.errors import InputError, UnknownPrice

__all__ = [
    "HOURS_PER_MONTH",
    "FleetCost",
    "Infrastructure",
    "Instance",
    "ManagedStore",
    "MarginalCost",
    "UnitPrice",
    "cheapest_instance",
    "fleet_monthly",
    "monthly_marginal",
]

HOURS_PER_MONTH = 730
GIB = 1 << 30
GB = 10**9
# A gp3 volume includes these; every further one is billed.
GP3_INCLUDED_IOPS = 3_000

_Row = TypeVar("_Row")
DiskMedium = Literal["nvme", "gp3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One size of virtual machine.

    Args:
        name: of the size (``"r7g.2xlarge"``).
        vcpu: virtual CPUs.
        ram_gib: memory.
        nvme_gb: local NVMe, 0 for none.
        usd_per_hour: on demand.
        source: the price list.
        as_of: its date.
        region: where the price holds.
        unit: of the price.
        confidence: ``"listed"``, or ``"derived"`` with the reason.
        reason: how a derived price was derived.
    """

    name: str
    vcpu: int
    ram_gib: int
    nvme_gb: int
    usd_per_hour: Decimal
    source: str
    as_of: str
    region: str
    unit: str
    confidence: str
    reason: str = ""

    @property
    def usd_per_month(self) -> Decimal:
        """On demand, for 730 hours."""
        return self.usd_per_hour * HOURS_PER_MONTH


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitPrice:
    """The price of one unit of one resource.

    Args:
        name: of the resource (``"ram_gib_month"``).
        usd: per unit.
        unit: in words.
        source: the price list, or how the price was derived from one.
        as_of: its date.
        region: where it holds.
        confidence: ``"listed"`` or ``"derived"``.
    """

    name: str
    usd: Decimal
    unit: str
    source: str
    as_of: str
    region: str
    confidence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagedStore:
    """A managed vector store, billed by its own units.

    Args:
        name: of the store.
        rates: US dollars per unit; the unit's name says what is counted.
        minimum_usd_per_month: billed even when less is used.
        minimum_gb_per_query: a query counts as at least so much data queried.
        source: the price list.
        as_of: its date.
        region: where it holds.
        confidence: ``"listed"``, ``"approximate"``, or ``"partial"`` where the note names what
            is missing.
        note: what the figures leave out.
    """

    name: str
    rates: Mapping[str, Decimal]
    minimum_usd_per_month: Decimal
    minimum_gb_per_query: Decimal
    source: str
    as_of: str
    region: str
    confidence: str
    note: str = ""

    @property
    def unit(self) -> str:
        """What is counted."""
        return "USD per " + ", ".join(self.rates)

    def monthly(self, **amounts: int | float | Decimal) -> Decimal:
        """US dollars for a month.

        Args:
            **amounts: how much of every unit in ``rates``, 0 included.

        Raises:
            UnknownPrice: a unit that the store bills was left out (it would count as free), or
                one was given that it has no price for.
        """
        if amounts.keys() != self.rates.keys():
            raise UnknownPrice(
                f"{self.name}: got amounts of {', '.join(amounts) or 'nothing'}, expected all of "
                f"{', '.join(self.rates)} and no other; give 0 for what is not used"
            )
        used = [self.rates[unit] * to_decimal(amount, unit) for unit, amount in amounts.items()]
        return max(sum(used, Decimal(0)), self.minimum_usd_per_month)


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginalCost:
    """Monthly US dollars of resources at marginal prices.

    Args:
        ram_usd: memory.
        disk_usd: disk space.
        iops_usd: provisioned IOPS beyond what the volume includes.
        vcpu_usd: vCPUs.
    """

    ram_usd: Decimal
    disk_usd: Decimal
    iops_usd: Decimal
    vcpu_usd: Decimal

    @property
    def total_usd(self) -> Decimal:
        """All of it."""
        return self.ram_usd + self.disk_usd + self.iops_usd + self.vcpu_usd


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetCost:
    """Monthly US dollars of whole instances and the network disk they need besides.

    Args:
        instances_usd: the instances.
        gp3_gb: disk beyond their local NVMe.
        gp3_usd: what it costs.
    """

    instances_usd: Decimal
    gp3_gb: Decimal
    gp3_usd: Decimal

    @property
    def total_usd(self) -> Decimal:
        """All of it."""
        return self.instances_usd + self.gp3_usd


class Infrastructure:
    """The infrastructure half of a price sheet.

    Args:
        instances: sizes on offer.
        units: marginal and storage prices.
        stores: managed vector stores.
    """

    def __init__(
        self,
        *,
        instances: Sequence[Instance],
        units: Sequence[UnitPrice],
        stores: Sequence[ManagedStore],
    ) -> None:
        self._instances = {row.name: row for row in instances}
        self._units = {row.name: row for row in units}
        self._stores = {row.name: row for row in stores}

    @classmethod
    def default(cls) -> Infrastructure:
        """The sheet shipped with ragopt (AWS us-east-1, on demand), read once per process."""
        return _shipped()

    def __repr__(self) -> str:
        return (
            f"Infrastructure({len(self._instances)} instances, {len(self._units)} unit prices, "
            f"{len(self._stores)} managed stores)"
        )

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Sizes on offer, in the order of the sheet."""
        return tuple(self._instances.values())

    @property
    def units(self) -> tuple[UnitPrice, ...]:
        """Marginal and storage prices."""
        return tuple(self._units.values())

    @property
    def stores(self) -> tuple[ManagedStore, ...]:
        """Managed vector stores."""
        return tuple(self._stores.values())

    @functools.cached_property
    def hash(self) -> str:
        """Changes when any row changes; 16 hex digits."""
        rows = [repr(row) for row in (*self.instances, *self.units, *self.stores)]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    def instance(self, name: str) -> Instance:
        """One size of instance.

        Raises:
            UnknownPrice: not on the sheet.
        """
        return _look_up(self._instances, name, "instance")

    def unit_price(self, name: str) -> UnitPrice:
        """The price of one unit of a resource (``"gp3_gb_month"``).

        Raises:
            UnknownPrice: not on the sheet.
        """
        return _look_up(self._units, name, "unit price")

    def store(self, name: str) -> ManagedStore:
        """A managed vector store.

        Raises:
            UnknownPrice: not on the sheet.
        """
        return _look_up(self._stores, name, "managed store")


def monthly_marginal(
    ram_bytes: int,
    disk_bytes: int,
    vcpus: float,
    *,
    iops: int = 0,
    medium: DiskMedium = "nvme",
    sheet: Infrastructure | None = None,
) -> MarginalCost:
    """What resources cost a month when bought by the piece.

    Args:
        ram_bytes: resident memory.
        disk_bytes: on disk.
        vcpus: fractions allowed.
        iops: needed of the disk; local NVMe bills none, gp3 those beyond 3,000.
        medium: ``"nvme"`` for local disk, ``"gp3"`` for network disk.
        sheet: the prices; the shipped ones when left out.

    Raises:
        InputError: a negative or non-finite amount, or an unknown medium.
    """
    if medium not in ("nvme", "gp3"):
        raise InputError(f"medium={medium!r}: expected 'nvme' or 'gp3'")
    price = (sheet or Infrastructure.default()).unit_price
    billed_iops = max(0, _whole(iops, "iops") - GP3_INCLUDED_IOPS) if medium == "gp3" else 0
    return MarginalCost(
        ram_usd=Decimal(_whole(ram_bytes, "ram_bytes")) / GIB * price("ram_gib_month").usd,
        disk_usd=Decimal(_whole(disk_bytes, "disk_bytes")) / GB * price(f"{medium}_gb_month").usd,
        iops_usd=billed_iops * price("gp3_iops_month").usd if billed_iops else Decimal(0),
        vcpu_usd=_amount(vcpus, "vcpus") * price("vcpu_month").usd,
    )


def cheapest_instance(
    ram_bytes: int, disk_bytes: int, vcpus: float, *, sheet: Infrastructure | None = None
) -> tuple[Instance, int]:
    """The size of instance, and how many of it, that hold a load for the least money a month.

    All instances of the answer are of one size. Their local NVMe counts first; disk beyond it is
    billed as gp3. Room for the operating system is the caller's to add. Ties go to fewer
    instances, then to the name.

    Args:
        ram_bytes: resident memory over all instances; it may be split among them.
        disk_bytes: on disk over all instances.
        vcpus: busy at peak.
        sheet: the prices; the shipped ones when left out.

    Raises:
        InputError: a negative or non-finite amount.
        UnknownPrice: the sheet lists no instance.
    """
    prices = sheet or Infrastructure.default()
    ram, cpu = _whole(ram_bytes, "ram_bytes"), _amount(vcpus, "vcpus")
    if not prices.instances:
        raise UnknownPrice("the infrastructure sheet lists no instance; give one that does")

    fleets = [
        (fleet_monthly(size, count, disk_bytes, sheet=prices).total_usd, count, size.name)
        for size in prices.instances
        for count in _counts(size, ram, disk_bytes, cpu)
    ]
    _, count, name = min(fleets)
    return prices.instance(name), count


def fleet_monthly(
    instance: Instance, count: int, disk_bytes: int, *, sheet: Infrastructure | None = None
) -> FleetCost:
    """What whole instances cost a month, with gp3 for disk beyond their local NVMe.

    Args:
        instance: the size.
        count: how many, 1 or more.
        disk_bytes: on disk over all of them.
        sheet: the prices; the shipped ones when left out.

    Raises:
        InputError: a count below 1, a negative amount.
    """
    if _whole(count, "count") < 1:
        raise InputError(f"count={count}: expected at least 1 instance")
    prices = sheet or Infrastructure.default()
    disk_gb = Decimal(_whole(disk_bytes, "disk_bytes")) / GB
    gp3_gb = max(Decimal(0), disk_gb - count * instance.nvme_gb)
    return FleetCost(
        instances_usd=instance.usd_per_month * count,
        gp3_gb=gp3_gb,
        gp3_usd=gp3_gb * prices.unit_price("gp3_gb_month").usd,
    )


def _counts(size: Instance, ram_bytes: int, disk_bytes: int, vcpus: Decimal) -> set[int]:
    """The counts among which the cheapest lies.

    The bill is linear in the count up to where local NVMe holds the whole disk, and rises after.
    """
    by_ram = -(-ram_bytes // (size.ram_gib * GIB))
    least = max(1, by_ram, math.ceil(vcpus / size.vcpu))
    full = disk_bytes // (size.nvme_gb * GB) if size.nvme_gb else 0
    return {least, max(least, full), max(least, full + 1)} if full else {least}


def _whole(value: Any, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise InputError(f"{name}={value!r}: expected a whole number, 0 or more")
    return number


def _amount(value: Any, name: str) -> Decimal:
    if isinstance(value, str):
        raise InputError(f"{name}={value!r}: expected a number, 0 or more")
    try:
        return to_decimal(value, name)
    except InputError:
        raise InputError(f"{name}={value!r}: expected a finite number, 0 or more") from None


def _look_up(rows: Mapping[str, _Row], name: str, what: str) -> _Row:
    if name not in rows:
        raise UnknownPrice(f"{what} {name!r}: not on the sheet; known: {', '.join(rows)}")
    return rows[name]


@functools.lru_cache(maxsize=1)
def _shipped() -> Infrastructure:
    file = Path(__file__).with_name("data") / "infrastructure.json"
    content = json.loads(file.read_text("utf-8"))
    shared = {name: content[name] for name in ("source", "as_of", "region", "confidence")}
    unit = {"unit": content["unit"]}
    return Infrastructure(
        instances=[_typed(Instance, {**shared, **unit, **row}) for row in content["instances"]],
        units=[_typed(UnitPrice, {**shared, **row}) for row in content["marginal"]],
        stores=[_typed(ManagedStore, {**shared, **row}) for row in content["managed"]],
    )


def _typed(row_type: Any, row: dict[str, Any]) -> Any:
    money = {"usd", "usd_per_hour", "minimum_usd_per_month", "minimum_gb_per_query"}
    fields = {name: Decimal(value) if name in money else value for name, value in row.items()}
    if row_type is ManagedStore:
        rates = {unit: Decimal(value) for unit, value in row["rates"].items()}
        fields["rates"] = MappingProxyType(rates)
        fields.setdefault("minimum_gb_per_query", Decimal(0))
    return row_type(**fields)
